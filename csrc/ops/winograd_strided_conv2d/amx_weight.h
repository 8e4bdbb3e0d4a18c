// SPDX-License-Identifier: Apache-2.0
// The weight gradient on AMX: for each tap a product of matrices over pixels, channels of x by
// channels of dy.
//
// A task is a part of the images and a block of channels on either side. Band by band it turns x
// into rows of pixels, [part, phase, channel, pixel], and dy into [part, 16 channels, pair of
// pixels, channel, 2]; a tap's product starts so many pixels later in x. As in the convolution a
// row of pixels ends with one that is not on the map; there dy is 0.
#pragma once

#include "../../common/winograd/weight_parts.h"
#include "amx_conv.h"

namespace fastgan::FASTGAN_ISA {
namespace {
namespace amx {

constexpr int64_t kWeightC = 64, kWeightK = 128;  // most channels of a task
constexpr int64_t kWeightBandBytes = 3 << 18;     // most of a band, where its rows allow

template <int kSide>
struct DirectWeight {
  static constexpr int kTaps = kSide * kSide;
  static constexpr int kPhases = 4;

  const WinogradWeightParams& p;
  const WinogradShape& s;
  const int64_t width, rows;  // pixels of a row, rows of an image in a band
  const int64_t image;        // pixels from one image to the next in a band
  const int64_t pixels;       // of dy in a band
  const int64_t pitch;        // pixels of x in a band
  const int64_t x_part, dy_part;
  const int64_t blocks_c, blocks_k;

  static int64_t width_of(const WinogradShape& s) { return s.ow + 1; }
  static int64_t image_of(const WinogradShape& s, int64_t rows) { return (rows + 1) * width_of(s); }
  static int64_t pixels_of(const WinogradShape& s, int64_t images, int64_t rows) {
    return round_up((images - 1) * image_of(s, rows) + rows * width_of(s), kDepth);
  }
  // An odd number of cache lines keeps rows out of each other's cache sets.
  static int64_t pitch_of(const WinogradShape& s, int64_t images, int64_t rows) {
    return divide_up(pixels_of(s, images, rows) + width_of(s) + 1, kDepth) / 2 * 2 * kDepth +
           kDepth;
  }
  static int64_t x_bytes(const WinogradPlan& plan, const WinogradShape& s, int64_t images,
                         int64_t rows) {
    return kPhases * round_up(plan.block_c, kBlock) * pitch_of(s, images, rows) * 2;
  }
  static int64_t dy_bytes(const WinogradPlan& plan, const WinogradShape& s, int64_t images,
                          int64_t rows) {
    return round_up(plan.block_k, kBlock) * pixels_of(s, images, rows) * 2;
  }
  static int64_t band_bytes(const WinogradPlan& plan, const WinogradShape& s, int64_t images,
                            int64_t rows) {
    return kParts * (x_bytes(plan, s, images, rows) + dy_bytes(plan, s, images, rows));
  }

  // tiles: images of a band; edges: bands of an image, where it has several; blocks: rows of a
  // band.
  static WinogradPlan plan(const WinogradShape& s, int64_t threads) {
    WinogradPlan plan{};
    plan.block_c = at_least_one(smaller(s.c, kWeightC));
    plan.block_k = at_least_one(smaller(s.k, kWeightK));
    const int64_t tasks = divide_up(s.c, plan.block_c) * divide_up(s.k, plan.block_k);
    plan.edges = 1;
    while (plan.edges < s.oh &&
           band_bytes(plan, s, 1, divide_up(s.oh, plan.edges)) > kWeightBandBytes)
      ++plan.edges;
    plan.blocks = at_least_one(divide_up(s.oh, plan.edges));
    plan.tiles = 1;
    if (plan.edges == 1)
      while (plan.tiles < s.n &&
             band_bytes(plan, s, plan.tiles + 1, plan.blocks) <= kWeightBandBytes)
        ++plan.tiles;
    const int64_t bands = divide_up(s.n, plan.tiles) * plan.edges;
    plan.parts = at_least_one(smaller(bands, kMostTasks / at_least_one(tasks)));
    plan.workers = smaller(at_least_one(threads), at_least_one(tasks * plan.parts));
    plan.scratch = (band_bytes(plan, s, plan.tiles, plan.blocks) + kTileBytes) / kFloat;
    plan.shared = plan.parts * kTaps * s.c * s.k;
    return plan;
  }

  explicit DirectWeight(const WinogradWeightParams& params)
      : p(params),
        s(params.shape),
        width(width_of(s)),
        rows(p.plan.blocks),
        image(image_of(s, rows)),
        pixels(pixels_of(s, p.plan.tiles, rows)),
        pitch(pitch_of(s, p.plan.tiles, rows)),
        x_part(x_bytes(p.plan, s, p.plan.tiles, rows)),
        dy_part(dy_bytes(p.plan, s, p.plan.tiles, rows)),
        blocks_c(divide_up(s.c, p.plan.block_c)),
        blocks_k(divide_up(s.k, p.plan.block_k)) {}

  // Where pixels [first, first + 16) of a band lie in a map, null where they are not on it.
  template <int kStep>
  void find(const float* map, int64_t h, int64_t w, int64_t channels, int64_t n0, int64_t row0,
            int64_t first, int64_t up, int64_t left, const float* (&at)[kRows]) const {
    int64_t in = first / image, row = first % image / width, column = first % width;
    for (int64_t i = 0; i < kRows; ++i) {
      const int64_t y = kStep * (row0 + row) - up, x = kStep * column - left;
      // The row after the last one is x's only.
      const bool is_on = in < p.plan.tiles && n0 + in < s.n && row < rows + kStep - 1 && y >= 0 &&
                         y < h && x >= 0 && x < w;
      at[i] = is_on ? map + (((n0 + in) * h + y) * w + x) * channels : nullptr;
      if (++column == width) {
        column = 0;
        if (++row > rows) row = 0, ++in;
      }
    }
  }

  void split_x(int64_t n0, int64_t row0, int64_t c0, int64_t count, char* to) const {
    const int64_t height = round_up(p.plan.block_c, kBlock);
    for (int phase = 0; phase < kPhases; ++phase) {
      for (int64_t first = 0; first < pitch; first += kRows) {
        const float* at[kRows];
        find<2>(static_cast<const float*>(p.x) + c0, s.h, s.w, s.c, n0, row0, first,
                s.pad_y - phase / 2, s.pad_x - phase % 2, at);
        for (int64_t c = 0; c < height; c += kRows) {
          __m512 square[kRows];
          for (int64_t i = 0; i < kRows; ++i)
            square[i] = at[i] == nullptr || c >= count
                            ? _mm512_setzero_ps()
                            : _mm512_maskz_loadu_ps(first_lanes(count - c), at[i] + c);
          transpose(square);
          char* out = to + ((phase * height + c) * pitch + first) * 2;
          for (int64_t i = 0; i < kRows; ++i, out += pitch * 2) {
            const Parts parts = split(square[i]);
            for (int part = 0; part < kParts; ++part)
              _mm256_storeu_si256(
                  reinterpret_cast<__m256i*>(out + part * x_part),
                  _mm512_maskz_cvtepi32_epi16(__mmask16(-1), lower(parts.part[part])));
          }
        }
      }
    }
  }

  void split_dy(int64_t n0, int64_t row0, int64_t k0, int64_t count, char* to) const {
    const int64_t tile_bytes = pixels / 2 * 64, panels = round_up(p.plan.block_k, kBlock) / kRows;
    for (int64_t first = 0; first < pixels; first += kRows) {
      const float* at[kRows];
      find<1>(static_cast<const float*>(p.dy) + k0, s.oh, s.ow, s.k, n0, row0, first, 0, 0, at);
      for (int64_t panel = 0; panel < panels; ++panel) {
        const int64_t k = panel * kRows;
        auto load = [&](const float* from) {
          return from == nullptr || k >= count
                     ? _mm512_setzero_ps()
                     : _mm512_maskz_loadu_ps(first_lanes(count - k), from + k);
        };
        for (int64_t i = 0; i < kRows; i += 2) {
          const Parts a = split(load(at[i])), b = split(load(at[i + 1]));
          char* out = to + panel * tile_bytes + (first + i) / 2 * 64;
          for (int part = 0; part < kParts; ++part)
            _mm512_storeu_si512(out + part * dy_part, pair_lanes(a.part[part], b.part[part]));
        }
      }
    }
  }

  // sums → partial [c, k] of one tap, or added to it
  void add(const float* sums, bool is_first, int64_t count_c, int64_t count_k,
           float* partial) const {
    for (int64_t c = 0; c < smaller(kBlock, count_c); ++c) {
      for (int64_t k = 0; k < smaller(kBlock, count_k); k += kRows) {
        const __mmask16 mask = first_lanes(count_k - k);
        float* to = partial + c * s.k + k;
        __m512 sum = _mm512_loadu_ps(sums + c * kBlock + k);
        if (!is_first) sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask, to));
        _mm512_mask_storeu_ps(to, mask, sum);
      }
    }
  }

  // No images, no first sums.
  void clear(int64_t part, int64_t c0, int64_t k0, int64_t count_c, int64_t count_k) const {
    for (int64_t tap = 0; tap < kTaps; ++tap)
      for (int64_t c = 0; c < count_c; ++c)
        for (int64_t k = 0; k < count_k; ++k)
          static_cast<float*>(p.shared)[((part * kTaps + tap) * s.c + c0 + c) * s.k + k0 + k] = 0;
  }

  void run_task(int64_t task, char* xs, char* dys) const {
    alignas(64) float sums[kBlock * kBlock];
    const int64_t zero = 0, part = task / (blocks_c * blocks_k);
    const int64_t c0 = task / blocks_k % blocks_c * p.plan.block_c,
                  k0 = task % blocks_k * p.plan.block_k;
    const int64_t count_c = smaller(p.plan.block_c, s.c - c0),
                  count_k = smaller(p.plan.block_k, s.k - k0);
    const int64_t height = round_up(p.plan.block_c, kBlock), tile_bytes = pixels / 2 * 64;
    const int64_t bands = divide_up(s.n, p.plan.tiles) * p.plan.edges;
    const int64_t begin = part * bands / p.plan.parts, end = (part + 1) * bands / p.plan.parts;
    if (begin == end) clear(part, c0, k0, count_c, count_k);
    for (int64_t band = begin; band < end; ++band) {
      const int64_t n0 = band / p.plan.edges * p.plan.tiles, row0 = band % p.plan.edges * rows;
      split_x(n0, row0, c0, count_c, xs);
      split_dy(n0, row0, k0, count_k, dys);
      for (int tap = 0; tap < kTaps; ++tap) {
        const int row = tap / kSide, column = tap % kSide, phase = row % 2 * 2 + column % 2;
        for (int64_t c = 0; c < count_c; c += kBlock) {
          for (int64_t k = 0; k < count_k; k += kBlock) {
            const Walk walk = {
                xs + ((phase * height + c) * pitch + row / 2 * width + column / 2) * 2,
                kRows * pitch * 2,
                pitch * 2,
                x_part,
                kDepth * 2,
                &zero,
                1,
                pixels / kDepth,
                dys + k / kRows * tile_bytes,
                tile_bytes,
                dy_part,
                kTileBytes};
            multiply(walk, count_c - c, count_k - k, sums);
            float* partial = static_cast<float*>(p.shared) +
                             ((part * kTaps + tap) * s.c + c0 + c) * s.k + k0 + k;
            add(sums, band == begin, count_c - c, count_k - k, partial);
          }
        }
      }
    }
  }

  void run(const Exec& exec) const {
    auto workers = [&](int64_t begin, int64_t end) {
      const Tiles tiles;
      for (int64_t worker = begin; worker < end; ++worker) {
        char* xs = static_cast<char*>(p.scratch) + worker * p.plan.scratch * kFloat;
        const int64_t tasks = p.plan.parts * blocks_c * blocks_k, count = p.plan.workers;
        for (int64_t task = worker * tasks / count; task < (worker + 1) * tasks / count; ++task)
          run_task(task, xs, xs + kParts * x_part);
      }
    };
    parallel(exec, p.plan.workers, 1, workers);
    add_weight_parts<float, kSide>(p, exec);
  }
};

}  // namespace amx
}  // namespace
}  // namespace fastgan::FASTGAN_ISA
