// SPDX-License-Identifier: Apache-2.0
// Tiles of maps: which pixels they cover, and the transforms of all their channels.
//
// A Winograd scheme is a struct with, in one dimension,
//   kOut, kStep            pixels of y in a tile, and of x from one tile to the next
//   Input<T>, Output<T>    transforms of the pixels of x, and to the pixels of y
//   Weight<T>              transform of the 3 taps
//   first(w), count(w)     the positions at which the w-th transformed tap is multiplied
// where a transform is a struct with kFrom, kTo and apply(const V*, V*). Both dimensions of a tile
// are transformed alike.
#pragma once

#include "multiply.h"
#include "params.h"

namespace fastgan::FASTGAN_ISA {
namespace {

// The map of the two that a tile covers kOut × kOut pixels of without overlap decides their number.
struct Tiles {
  int64_t rows, columns, count;
  Tiles(int64_t n, int64_t h, int64_t w, int64_t size)
      : rows(divide_up(h, size)), columns(divide_up(w, size)), count(n * rows * columns) {}
};

struct Place {
  int64_t n, row, column;  // sample, and place of the tile in it
  Place(const Tiles& tiles, int64_t tile)
      : n(tile / (tiles.rows * tiles.columns)),
        row(tile / tiles.columns % tiles.rows),
        column(tile % tiles.columns) {}
};

// Where kSize × kSize pixels from (y, x) of a map [n, h, w, c] are; outside, `zeros`.
template <int kSize, class T>
inline void find_pixels(const T* map, int64_t h, int64_t w, int64_t c, int64_t n, int64_t y,
                        int64_t x, const T* zeros, const T* (&pixels)[kSize][kSize]) {
  for (int i = 0; i < kSize; ++i) {
    const bool is_row = y + i >= 0 && y + i < h;
    const T* row = map + (n * h + (is_row ? y + i : 0)) * w * c;
    for (int j = 0; j < kSize; ++j)
      pixels[i][j] = is_row && x + j >= 0 && x + j < w ? row + (x + j) * c : zeros;
  }
}

// Channels [0, count) of one tile from `pixels` to out[position · plane + channel].
template <class V, class Transform, class T>
inline int64_t transform_pixels(const T* const (&pixels)[Transform::kFrom][Transform::kFrom],
                                int64_t begin, int64_t count, T* out, int64_t plane) {
  constexpr int64_t lanes = int64_t(sizeof(V) / sizeof(T));
  int64_t c = begin;
  for (; c + lanes <= count; c += lanes) {
    transform_tile<V, Transform>(
        [&](int i, int j) { return load_lanes<V>(pixels[i][j] + c); },
        [&](int i, int j, V v) { store_lanes(out + (i * Transform::kTo + j) * plane + c, v); });
  }
  return c;
}

template <class M, class Transform>
__attribute__((noinline)) void transform_channels(
    const typename M::T* const (&pixels)[Transform::kFrom][Transform::kFrom], int64_t count,
    typename M::T* out, int64_t plane) {
  using T = typename M::T;
  const int64_t done = transform_pixels<typename M::V, Transform>(pixels, 0, count, out, plane);
  transform_pixels<T, Transform>(pixels, done, count, out, plane);
}

}  // namespace
}  // namespace fastgan::FASTGAN_ISA
