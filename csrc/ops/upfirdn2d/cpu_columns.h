// SPDX-License-Identifier: Apache-2.0
// For upfirdn2d_cpu.cpp only: the vertical half of a four-tap filter, in registers.
#pragma once

#include "../../common/cpu_two.h"
#include "cpu_filter.h"

namespace fastgan::FASTGAN_ISA {
namespace {

constexpr int kTaps = 4;

// The two taps of up-sampling by 2 that outputs o, o + 2, … meet: f[k0] · x[i0] + f[k0 + 2] · x[i0
// + 1].
struct TwoTaps {
  int64_t k0, i0;
};
inline TwoTaps two_taps_of(const Axis& a, int64_t o) {
  const int64_t base = o - a.pad, i0 = (base + 1) >> 1;
  return {2 * i0 - base, i0};
}

// An image of [height, width] pixels of `step` values each; step 1: a plane.
template <class T>
struct Image {
  const T* at;
  int64_t height, width, step;
  bool is_far;  // rows to come are asked for early
};

// What comes out of memory is asked for early: a hardware prefetcher follows rows to their ends
// only, and loses them there. The rows to come of a plane follow in memory; of pixels, they are at
// the same place of the next rows. Measured: a down-sampled plane of 256² takes 0.6 of the time,
// pixels of 64 float32 channels 0.5.
constexpr int64_t kAheadBytes = 8192;

// Vertical sums of `rows` neighbouring output rows, `down` input rows apart, at any place along
// them.
template <class T, int count, int down, int rows>
struct Columns {
  static constexpr int kInputs = count + (rows - 1) * down;
  static constexpr int kNew = count == 2 ? 1 : down * rows;  // rows that no output before has met
  const T* from[kInputs];
  int64_t keep[kInputs];  // 0 for a row outside the image, whose every pixel is `zeros`, else -1
  Floats taps[count];
  bool is_far;
  int64_t pitch;

  // Input rows first, first + 1, …
  FASTGAN_INLINE Columns(const Image<T>& x, int64_t first, const float* f, int64_t f_step) {
    alignas(64) static const T zeros[kTwo] = {};
    pitch = x.width * x.step;
    is_far = x.is_far;
#pragma GCC unroll 8
    for (int j = 0; j < kInputs; ++j) {
      const int64_t row = first + j;
      const bool is_inside = 0 <= row && row < x.height;
      from[j] = is_inside ? x.at + row * pitch : zeros;
      keep[j] = is_inside ? -1 : 0;
    }
#pragma GCC unroll 4
    for (int j = 0; j < count; ++j) taps[j] = all_lanes(f[j * f_step]);
  }

  template <class V, class Load>
  FASTGAN_INLINE void sum(V (&sums)[rows], Load&& value) const {
#pragma GCC unroll 8
    for (int j = 0; j < kInputs; ++j) {
      const V v = value(j);
#pragma GCC unroll 4
      for (int r = 0; r < rows; ++r) {
        const int k = j - r * down;
        if (k == 0) sums[r] = taps[0] * v;
        if (0 < k && k < count) sums[r] = sums[r] + taps[k] * v;
      }
    }
  }

  FASTGAN_INLINE void load_at(const T* p, Floats& v) const { v = load_vector(p); }
  FASTGAN_INLINE void load_at(const T* p, Two& v) const { v = load_two(p); }

  // Of the channels from value `offset` of the rows on.
  template <class V>
  FASTGAN_INLINE void channels(int64_t offset, V (&sums)[rows]) const {
    if (is_far) {
#pragma GCC unroll 4
      for (int j = kInputs - kNew; j < kInputs; ++j) {
        const T* ahead = from[j] + ((offset + kNew * pitch) & keep[j]);
#pragma GCC unroll 4
        for (int64_t line = 0; line < int64_t(sizeof(V) / 4 * sizeof(T)); line += 64)
          __builtin_prefetch(reinterpret_cast<const char*>(ahead) + line);
      }
    }
    sum(sums, [&](int j) {
      V v;
      load_at(from[j] + (offset & keep[j]), v);
      return v;
    });
  }

  FASTGAN_INLINE void fetch_ahead(int64_t i) const {
#pragma GCC unroll 4
    for (int j = kInputs - kNew; j < kInputs; ++j) {
      const char* ahead = reinterpret_cast<const char*>(from[j] + (i & keep[j])) + kAheadBytes;
#pragma GCC unroll 4
      for (int64_t line = 0; line < kTwo * int64_t(sizeof(T)); line += 64)
        __builtin_prefetch(ahead + line);
    }
  }

  // Of pixels i, i + 1, … of [0, width); 0 outside.
  FASTGAN_INLINE void pixels(int64_t i, int64_t width, Two (&sums)[rows]) const {
    if (i >= 0 && i + kTwo <= width) {
      if (is_far) fetch_ahead(i);
      return sum(sums, [&](int j) { return load_two(from[j] + (i & keep[j])); });
    }
    if (i >= width || i + kTwo <= 0) {
      for (Two& v : sums) v = Two{};
      return;
    }
    const Part part(-i, width - i);
    sum(sums, [&](int j) { return load_two(from[j] + (i & keep[j]), part); });
  }
};

}  // namespace
}  // namespace fastgan::FASTGAN_ISA
