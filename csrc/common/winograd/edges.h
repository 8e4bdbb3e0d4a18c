// SPDX-License-Identifier: Apache-2.0
// Tiles of an adjoint overlap: the last row and column that a tile yields are the first ones of its
// neighbours. Each tile keeps them apart, [tile, pixel, k], and they are added when all tiles are
// done, in an order that no number of threads changes.
#pragma once

#include "tiles.h"

namespace fastgan::FASTGAN_ISA {
namespace {

template <class T>
struct Edges {
  static constexpr int kSize = 8, kPixels = 2 * kSize + 1;

  // The last column from top to bottom, then the last row, its corner at the end.
  static int index(int i, int j) { return i < kSize ? i : kSize + j; }

  // Rows of tiles [begin, end) of n · (tiles.rows + 1): what lies beyond the last tiles has
  // neighbours too. What no tile reaches, after the last tap of the last pixel, is zero.
  static void add(const WinogradConvParams& p, const Tiles& tiles, int64_t begin, int64_t end) {
    const WinogradShape& s = p.shape;
    for (int64_t index = begin; index < end; ++index) {
      const int64_t n = index / (tiles.rows + 1), row = index % (tiles.rows + 1);
      for (int64_t column = 0; column <= tiles.columns; ++column)
        add_tile(p, tiles, n, row, column);
      const int64_t first = larger(0, row * kSize - s.pad_y);
      const int64_t last = smaller(s.oh, (row + 1) * kSize - s.pad_y);
      const int64_t bottom = 2 * s.h + 1 - s.pad_y, right = 2 * s.w + 1 - s.pad_x;
      for (int64_t y = first; y < last; ++y) {
        const int64_t x0 = y < bottom ? smaller(right, s.ow) : 0;
        T* at = static_cast<T*>(p.y) + ((n * s.oh + y) * s.ow + x0) * s.k;
        for (int64_t i = 0; i < (s.ow - x0) * s.k; ++i) at[i] = 0;
      }
    }
  }

 private:
  static void add_tile(const WinogradConvParams& p, const Tiles& tiles, int64_t n, int64_t row,
                       int64_t column) {
    const WinogradShape& s = p.shape;
    const int64_t tile = (n * tiles.rows + row) * tiles.columns + column;
    const T* edges = static_cast<const T*>(p.edges);
    auto edge = [&](int64_t of, int pixel) { return edges + (of * kPixels + pixel) * s.k; };
    const bool has_row = row < tiles.rows, has_column = column < tiles.columns;
    for (int i = 0; i < kPixels - 2; ++i) {
      const int dy = i < kSize ? 0 : i - kSize + 1, dx = i < kSize ? i : 0;
      const int64_t y = row * kSize + dy - s.pad_y, x = column * kSize + dx - s.pad_x;
      if (y < 0 || y >= s.oh || x < 0 || x >= s.ow) continue;
      const T* from[3];
      int count = 0;
      if (dx == 0 && column > 0 && has_row) from[count++] = edge(tile - 1, dy);
      if (dy == 0 && row > 0 && has_column) from[count++] = edge(tile - tiles.columns, kSize + dx);
      if (i == 0 && row > 0 && column > 0)
        from[count++] = edge(tile - tiles.columns - 1, kPixels - 1);
      const bool is_own = has_row && has_column;
      if (is_own && count == 0) continue;
      add_pixels(static_cast<T*>(p.y) + ((n * s.oh + y) * s.ow + x) * s.k, is_own, from, count,
                 s.k);
    }
  }

  static void add_pixels(T* y, bool is_own, const T* const (&from)[3], int count, int64_t k) {
    for (int64_t c = 0; c < k; ++c) {
      T sum = is_own ? y[c] : T(0);
      for (int i = 0; i < count; ++i) sum += from[i][c];
      y[c] = sum;
    }
  }
};

}  // namespace
}  // namespace fastgan::FASTGAN_ISA
