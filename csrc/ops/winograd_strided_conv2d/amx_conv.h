// SPDX-License-Identifier: Apache-2.0
// The convolution and its adjoint on AMX, as direct sums: one product of matrices over taps and
// channels, whose rows are pixels of y.
//
// Pixels are read from a band of rows that is split into bfloat16 parts while it is in the cache,
// [part, image, phase, chunk of 32 channels, pixel, channel]. The convolution has a phase for even
// and odd rows and columns, in which neighbours of y have neighbours; the adjoint reads dy as it
// is and makes its four phases of dx one by one, of 4, 2, 2 and 1 of 3×3 taps, or 4 each of 4×4. A
// row of pixels ends with one that is not on the map, so that a tile of 16 pixels goes on in the
// next row: what it yields there is left out.
#pragma once

#include "../../common/amx/product.h"
#include "../../common/winograd/params.h"

namespace fastgan::FASTGAN_ISA {
namespace {
namespace amx {

constexpr int64_t kPixelBytes = 64;         // of a part of a chunk
constexpr int64_t kBandBytes = 1 << 20;     // most of a band, where its rows allow; half of L2
constexpr int64_t kWeightBytes = 16 << 20;  // most of the split weights at a time
constexpr int64_t kFloat = sizeof(float);

// Taps that give pixels of one phase of y.
struct Phase {
  int row, column, first, count;
};

template <bool kIsAdjoint, int kSide>
struct DirectConv {
  static constexpr int kTaps = kSide * kSide;
  static constexpr int kPhases = kIsAdjoint ? 4 : 1;      // of the map that is written
  static constexpr int kReadPhases = kIsAdjoint ? 1 : 4;  // of the one that is read
  // Taps of one phase of the adjoint, in one dimension: those whose number is odd, or even.
  static constexpr int taps_of(int odd) { return (kSide + 1 - odd) / 2; }
  static constexpr Phase phase_of(int i) {
    if (!kIsAdjoint) return {0, 0, 0, kTaps};
    const int row = i / 2, column = i % 2;
    const int above = row == 0 ? 0 : taps_of(0) * kSide, left = column == 0 ? 0 : taps_of(0);
    return {row, column, above + taps_of(row) * left, taps_of(row) * taps_of(column)};
  }
  // The i-th tap, where those of a phase follow each other.
  static constexpr int tap_of(int i) {
    if (!kIsAdjoint) return i;
    int phase = 3;
    while (i < phase_of(phase).first) --phase;
    const Phase at = phase_of(phase);
    const int in = i - at.first, columns = taps_of(at.column);
    return (in / columns * 2 + at.row) * kSide + in % columns * 2 + at.column;
  }

  const WinogradConvParams& p;
  const WinogradShape& s;
  const int64_t chunks, width;  // width: pixels of a row, with the one beyond its end
  const int64_t plane;          // pixels of a phase of an image in a band
  const int64_t part_bytes;
  int64_t places[kTaps];  // of taps, from the first pixel

  // Rows and columns of a phase of y: all of them, where each is a map of its own.
  static int64_t rows_of(const WinogradShape& s) {
    return kIsAdjoint ? (s.oh - 1 + s.pad_y) / 2 + 1 : s.oh;
  }
  static int64_t columns_of(const WinogradShape& s) {
    return kIsAdjoint ? (s.ow - 1 + s.pad_x) / 2 + 1 : s.ow;
  }
  // A phase of the adjoint may have a column more than dy has pixels, or two that no tap reaches.
  static int64_t width_of(const WinogradShape& s) {
    return kIsAdjoint ? larger(s.w + 1, columns_of(s)) : s.ow + 1;
  }
  static int64_t plane_of(const WinogradShape& s, int64_t rows) {
    return (rows + 1) * width_of(s) + 1;
  }
  static int64_t image_bytes(const WinogradShape& s, int64_t rows) {
    return kParts * kReadPhases * divide_up(s.c, kDepth) * plane_of(s, rows) * kPixelBytes;
  }
  static int64_t weight_bytes(const WinogradShape& s, int64_t k) {
    return kParts * kTaps * divide_up(s.c, kDepth) * kTileBytes * 2 * divide_up(k, kBlock);
  }

  // tiles: images of a band; parts: bands of an image, where it has several; blocks: bands in all.
  static WinogradPlan plan(const WinogradShape& s, int64_t threads) {
    WinogradPlan plan{};
    threads = at_least_one(threads);
    const int64_t rows = rows_of(s);
    plan.parts = 1;
    while (plan.parts < rows &&
           (image_bytes(s, divide_up(rows, plan.parts)) > kBandBytes || s.n * plan.parts < threads))
      ++plan.parts;
    const int64_t fit = kBandBytes / at_least_one(image_bytes(s, divide_up(rows, plan.parts)));
    plan.tiles = plan.parts > 1 ? 1 : at_least_one(smaller(fit, s.n / threads));
    plan.blocks = divide_up(s.n, plan.tiles) * plan.parts;
    plan.workers = smaller(threads, plan.blocks);
    // Tiles of 16 pixels go beyond the last one.
    plan.scratch = (plan.tiles * image_bytes(s, divide_up(rows, plan.parts)) + kTileBytes) / kFloat;
    const int64_t most = kWeightBytes / at_least_one(weight_bytes(s, kBlock)) * kBlock;
    plan.block_k = smaller(s.k, larger(most, kBlock));
    plan.shared = weight_bytes(s, plan.block_k) / kFloat;
    return plan;
  }

  explicit DirectConv(const WinogradConvParams& params)
      : p(params),
        s(params.shape),
        chunks(divide_up(s.c, kDepth)),
        width(width_of(s)),
        plane(plane_of(s, divide_up(rows_of(s), p.plan.parts))),
        part_bytes(p.plan.tiles * kReadPhases * chunks * plane * kPixelBytes) {
    for (int i = 0; i < kTaps; ++i) {
      const int row = tap_of(i) / kSide, column = tap_of(i) % kSide;
      places[i] = kPixelBytes * (kIsAdjoint ? (1 - row / 2) * width + 1 - column / 2
                                            : (row % 2 * 2 + column % 2) * chunks * plane +
                                                  row / 2 * width + column / 2);
    }
  }

  // 16 output channels from k of 32 input channels from c, as columns of a product.
  void read_weights(const float* w, int64_t k, int64_t c, __m512 (&rows)[kDepth]) const {
    const int64_t count_k = smaller(kRows, s.k - k), count_c = smaller(kDepth, s.c - c);
    w += k * p.stride_k + c * p.stride_c;
    if (p.stride_k == 1) {
      for (int64_t i = 0; i < kDepth; ++i)
        rows[i] = _mm512_maskz_loadu_ps(first_lanes(i < count_c ? count_k : 0),
                                        w + (i < count_c ? i * p.stride_c : 0));
    } else if (p.stride_c == 1) {
      for (int64_t half = 0; half < kDepth; half += kRows) {
        __m512 square[kRows];
        for (int64_t i = 0; i < kRows; ++i)
          square[i] = _mm512_maskz_loadu_ps(first_lanes(i < count_k ? count_c - half : 0),
                                            w + (i < count_k ? i * p.stride_k + half : 0));
        transpose(square);
        for (int64_t i = 0; i < kRows; ++i) rows[half + i] = square[i];
      }
    } else {
      for (int64_t i = 0; i < kDepth; ++i) {
        alignas(64) float lanes[kRows] = {};
        for (int64_t j = 0; j < count_k && i < count_c; ++j)
          lanes[j] = w[i * p.stride_c + j * p.stride_k];
        rows[i] = _mm512_load_ps(lanes);
      }
    }
  }

  // Blocks [begin, end) of [panel of 32 output channels, tap, chunk] from output channel k0 →
  // shared [panel, tap, chunk, part, column tile, pair of channels, column, 2].
  void split_weights(int64_t k0, int64_t begin, int64_t end) const {
    for (int64_t index = begin; index < end; ++index) {
      const int64_t chunk = index % chunks, i = index / chunks % kTaps,
                    panel = index / chunks / kTaps;
      const int tap = tap_of(int(i));
      const float* w = static_cast<const float*>(p.weight) + tap / kSide * p.stride_row +
                       tap % kSide * p.stride_col;
      char* out = static_cast<char*>(p.shared) + index * kParts * 2 * kTileBytes;
      for (int64_t tile = 0; tile < 2; ++tile) {
        __m512 rows[kDepth];
        read_weights(w, k0 + panel * kBlock + tile * kRows, chunk * kDepth, rows);
        for (int64_t pair = 0; pair < kDepth / 2; ++pair) {
          const Parts a = split(rows[2 * pair]), b = split(rows[2 * pair + 1]);
          for (int part = 0; part < kParts; ++part)
            _mm512_storeu_si512(out + (part * 2 + tile) * kTileBytes + pair * 64,
                                pair_lanes(a.part[part], b.part[part]));
        }
      }
    }
  }

  // All channels of one pixel, or zeros, to its place in part h.
  void split_pixel(const float* from, char* to) const {
    for (int64_t chunk = 0; chunk < chunks; ++chunk, to += plane * kPixelBytes) {
      __m512i joined[kParts] = {};
      if (from != nullptr) {
        const int64_t c = chunk * kDepth, left = s.c - c;
        const Parts a = split(_mm512_maskz_loadu_ps(first_lanes(left), from + c));
        const Parts b = split(_mm512_maskz_loadu_ps(first_lanes(left - kRows),
                                                    left > kRows ? from + c + kRows : from));
        for (int part = 0; part < kParts; ++part)
          joined[part] = join_lanes(a.part[part], b.part[part]);
      }
      for (int part = 0; part < kParts; ++part)
        _mm512_storeu_si512(to + part * part_bytes, joined[part]);
    }
  }

  // The rows of one image that rows [row0, row0 + rows) of y need, to `band`.
  void split_image(int64_t n, int64_t row0, int64_t rows, char* band) const {
    constexpr int step = kIsAdjoint ? 1 : 2;
    const int64_t pad_y = kIsAdjoint ? 1 : s.pad_y, pad_x = kIsAdjoint ? 1 : s.pad_x;
    const float* x = static_cast<const float*>(p.x) + n * s.h * s.w * s.c;
    for (int phase = 0; phase < kReadPhases; ++phase) {
      char* to = band + phase * chunks * plane * kPixelBytes;
      for (int64_t row = 0; row <= rows + 1; ++row) {
        const int64_t y = step * (row0 + row) + phase / 2 - pad_y;
        const bool is_row = row <= rows && y >= 0 && y < s.h;
        const int64_t count = row <= rows ? width : 1;
        for (int64_t i = 0; i < count; ++i, to += kPixelBytes) {
          const int64_t column = step * i + phase % 2 - pad_x;
          const bool is_on = is_row && column >= 0 && column < s.w;
          split_pixel(is_on ? x + (y * s.w + column) * s.c : nullptr, to);
        }
      }
    }
  }

  // Sums of pixels from `first` of one phase → y, where they are on the map.
  void write(const float* sums, const Phase& phase, int64_t n, int64_t row0, int64_t first,
             int64_t count, int64_t k, int64_t columns) const {
    constexpr int step = kIsAdjoint ? 2 : 1;
    const int64_t pad_y = kIsAdjoint ? s.pad_y : 0, pad_x = kIsAdjoint ? s.pad_x : 0;
    for (int64_t i = 0; i < count; ++i, sums += kBlock) {
      const int64_t y = step * (row0 + (first + i) / width) + phase.row - pad_y;
      const int64_t x = step * ((first + i) % width) + phase.column - pad_x;
      if (y < 0 || y >= s.oh || x < 0 || x >= s.ow) continue;
      float* to = static_cast<float*>(p.y) + ((n * s.oh + y) * s.ow + x) * s.k + k;
      _mm512_mask_storeu_ps(to, first_lanes(columns), _mm512_loadu_ps(sums));
      if (columns > kRows)
        _mm512_mask_storeu_ps(to + kRows, first_lanes(columns - kRows),
                              _mm512_loadu_ps(sums + kRows));
    }
  }

  void multiply_image(const char* image, const char* weights, int64_t n, int64_t row0, int64_t rows,
                      int64_t k, int64_t columns) const {
    alignas(64) float sums[kBlock * kBlock];
    for (int i = 0; i < kPhases; ++i) {
      const Phase phase = phase_of(i);
      if (kIsAdjoint && 2 * (row0 + rows - 1) + phase.row - s.pad_y >= s.oh) --rows;
      const int64_t pixels = rows * width;
      for (int64_t first = 0; first < pixels; first += kBlock) {
        const int64_t count = smaller(kBlock, pixels - first);
        const Walk walk = {image + first * kPixelBytes,
                           kRows * kPixelBytes,
                           kPixelBytes,
                           part_bytes,
                           plane * kPixelBytes,
                           places + phase.first,
                           phase.count,
                           chunks,
                           weights + phase.first * chunks * kParts * 2 * kTileBytes,
                           kTileBytes,
                           2 * kTileBytes,
                           kParts * 2 * kTileBytes};
        multiply(walk, count, columns, sums);
        write(sums, phase, n, row0, first, count, k, columns);
      }
    }
  }

  void run_band(int64_t k0, int64_t band, char* images) const {
    const int64_t n0 = band / p.plan.parts * p.plan.tiles,
                  images_here = smaller(p.plan.tiles, s.n - n0);
    const int64_t most = divide_up(rows_of(s), p.plan.parts), row0 = band % p.plan.parts * most;
    const int64_t rows = smaller(most, rows_of(s) - row0);
    if (rows <= 0) return;
    const int64_t bytes = kReadPhases * chunks * plane * kPixelBytes;
    for (int64_t i = 0; i < images_here; ++i) split_image(n0 + i, row0, rows, images + i * bytes);
    const int64_t end = smaller(s.k, k0 + p.plan.block_k);
    for (int64_t k = k0; k < end; k += kBlock) {
      const char* weights = static_cast<const char*>(p.shared) +
                            (k - k0) / kBlock * kTaps * chunks * kParts * 2 * kTileBytes;
      for (int64_t i = 0; i < images_here; ++i)
        multiply_image(images + i * bytes, weights, n0 + i, row0, rows, k,
                       smaller(kBlock, end - k));
    }
  }

  void run(const Exec& exec) const {
    for (int64_t k0 = 0; k0 < s.k; k0 += p.plan.block_k) {
      auto weights = [&](int64_t begin, int64_t end) { split_weights(k0, begin, end); };
      const int64_t panels = divide_up(smaller(p.plan.block_k, s.k - k0), kBlock);
      parallel(exec, panels * kTaps * chunks, kGrainBytes / (kParts * 2 * kTileBytes), weights);
      auto workers = [&](int64_t begin, int64_t end) {
        const Tiles tiles;
        for (int64_t worker = begin; worker < end; ++worker) {
          char* images = static_cast<char*>(p.scratch) + worker * p.plan.scratch * kFloat;
          for (int64_t band = worker * p.plan.blocks / p.plan.workers;
               band < (worker + 1) * p.plan.blocks / p.plan.workers; ++band)
            run_band(k0, band, images);
        }
      };
      parallel(exec, p.plan.workers, 1, workers);
    }
  }
};

}  // namespace amx
}  // namespace
}  // namespace fastgan::FASTGAN_ISA
