// SPDX-License-Identifier: Apache-2.0
// For upfirdn2d_cpu.cpp only: rows of pixels by a four-tap filter where channels vary fastest;
// lanes are channels.
#pragma once

#include "cpu_plane_rows.h"

namespace fastgan::FASTGAN_ISA {
namespace {

// Values of a pixel, one or two vectors at a time.
template <class V>
constexpr int64_t kValues = sizeof(V) / 4;

FASTGAN_INLINE void put_values(float* p, Floats v, bool is_streamed) {
  put_register(p, v, kLanes, is_streamed);
}
FASTGAN_INLINE void put_values(BFloat* p, Floats v, bool) { store_vector(p, v); }
template <class T>
FASTGAN_INLINE void put_values(T* p, Two v, bool is_streamed) {
  put_two(p, v, kTwo, is_streamed);
}

// Pixels [first, last) of `rows` output rows of n pixels of `step` values, at `units` V of these
// from value q on; out is where pixel 0 begins, and `first` is even.
template <int up, int down, int rows, class V, int units, class T, int count>
FASTGAN_INLINE void channels_rows(const Columns<T, count, down, rows>& columns,
                                  const RowTaps<up>& t, int64_t width, int64_t step, int64_t q,
                                  T* out, int64_t n, int64_t first, int64_t last,
                                  bool is_streamed) {
  const Floats f0 = t.f[0], f1 = t.f[1], f2 = t.f[2], f3 = t.f[3];
  const int64_t row_values = n * step;
  using Sums = V[units][rows];
  const auto sum = [&](int64_t i, Sums& sums) {
    if (0 <= i && i < width) {
#pragma GCC unroll 4
      for (int k = 0; k < units; ++k) columns.channels(i * step + q + k * kValues<V>, sums[k]);
    } else {
      for (auto& v : sums)
        for (V& w : v) w = V{};
    }
  };
  const auto each = [](auto&& body) {
#pragma GCC unroll 4
    for (int k = 0; k < units; ++k)
#pragma GCC unroll 4
      for (int r = 0; r < rows; ++r) body(k, r);
  };
  Sums x0, x1, x2, x3;
  const int64_t start = t.start + first * down / up;
  sum(start, x0);
  sum(start + 1, x1);
  if constexpr (up == 2) {
    for (int64_t o = first; o < last; o += 2) {
      sum(t.start + o / 2 + 2, x2);
      each([&](int k, int r) {
        T* to = out + r * row_values + o * step + q + k * kValues<V>;
        put_values(to, f0 * x0[k][r] + f1 * x1[k][r], is_streamed);
        const V odd = t.is_apart ? f2 * x1[k][r] + f3 * x2[k][r] : f2 * x0[k][r] + f3 * x1[k][r];
        if (o + 1 < last) put_values(to + step, odd, is_streamed);
        x0[k][r] = x1[k][r];
        x1[k][r] = x2[k][r];
      });
    }
  } else {
    if (down == 1) sum(start + 2, x2);
    for (int64_t o = first; o < last; ++o) {
      const int64_t i = t.start + o * down;
      if (down == 2) sum(i + 2, x2);
      sum(i + 3, x3);
      each([&](int k, int r) {
        put_values(out + r * row_values + o * step + q + k * kValues<V>,
                   f0 * x0[k][r] + f1 * x1[k][r] + f2 * x2[k][r] + f3 * x3[k][r], is_streamed);
        x0[k][r] = down == 1 ? x1[k][r] : x2[k][r];
        x1[k][r] = down == 1 ? x2[k][r] : x3[k][r];
        if (down == 1) x2[k][r] = x3[k][r];
      });
    }
  }
}

}  // namespace
}  // namespace fastgan::FASTGAN_ISA
