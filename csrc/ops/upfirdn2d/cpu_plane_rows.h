// SPDX-License-Identifier: Apache-2.0
// For upfirdn2d_cpu.cpp only: rows of a plane by a four-tap filter; lanes are pixels, two vectors
// of them at a time (Two).
#pragma once

#include "cpu_columns.h"

namespace fastgan::FASTGAN_ISA {
namespace {

// Pixels by, by + 1, … of v followed by next.
template <int by>
FASTGAN_INLINE Two shift_pixels(Two v, Two next, float) {
  return {shift_lanes<by>(v.a, v.b), shift_lanes<by>(v.b, next.a)};
}
template <int by>
FASTGAN_INLINE Two shift_pixels(Two v, Two next, BFloat) {
  if constexpr (by == 1) return {v.b, shift_lanes<1>(v.a, next.a)};
  if constexpr (by == 2) return {shift_lanes<1>(v.a, next.a), shift_lanes<1>(v.b, next.b)};
  return {shift_lanes<1>(v.b, next.b), shift_lanes<2>(v.a, next.a)};
}

// a: even pixels, b: odd ones.
FASTGAN_INLINE Two split_pixels(Two v, float) {
  return {every_second<0>(v.a, v.b), every_second<1>(v.a, v.b)};
}
FASTGAN_INLINE Two split_pixels(Two v, BFloat) { return v; }

// The first n of 2·kTwo pixels: those of e and d in turns.
FASTGAN_INLINE void put_in_turns(float* p, Two e, Two d, int64_t n, bool is_streamed) {
  put_two(p, {interleave<0>(e.a, d.a), interleave<1>(e.a, d.a)}, n, is_streamed);
  put_two(p + kTwo, {interleave<0>(e.b, d.b), interleave<1>(e.b, d.b)}, n - kTwo, is_streamed);
}
FASTGAN_INLINE void put_in_turns(BFloat* p, Two e, Two d, int64_t n, bool is_streamed) {
  const Floats first = pack(e.a, d.a), second = pack(e.b, d.b);
  put_register(p, interleave<0>(first, second), n, is_streamed);
  put_register(p + kTwo, interleave<1>(first, second), n - kTwo, is_streamed);
}

// The first n of kTwo pixels: those of v, then those of w.
FASTGAN_INLINE void put_in_order(float* p, Floats v, Floats w, int64_t n, bool is_streamed) {
  put_two(p, {v, w}, n, is_streamed);
}
FASTGAN_INLINE void put_in_order(BFloat* p, Floats v, Floats w, int64_t n, bool is_streamed) {
  put_register(p, upper_halves(round_at_16(v), round_at_16(w), AllLanes{}, AllLanes{}), n,
               is_streamed);
}

// The taps along a row, read once for all rows: a store to the output could change them for all
// that the compiler knows.
template <int up>
struct RowTaps {
  Floats f[kTaps];  // up 2: two of even outputs, two of odd ones
  int64_t start;    // the first pixel that output 0 meets
  bool is_apart;    // up 2: odd outputs begin a pixel later than even ones

  RowTaps(const Axis& a, const float* taps) : start(-a.pad), is_apart(false) {
    if constexpr (up == 2) {
      const TwoTaps even = two_taps_of(a, 0), odd = two_taps_of(a, 1);
      start = even.i0;
      is_apart = odd.i0 != even.i0;
      f[0] = all_lanes(taps[even.k0]);
      f[1] = all_lanes(taps[even.k0 + 2]);
      f[2] = all_lanes(taps[odd.k0]);
      f[3] = all_lanes(taps[odd.k0 + 2]);
    } else {
      for (int k = 0; k < kTaps; ++k) f[k] = all_lanes(taps[k]);
    }
  }
};

// `rows` output rows of n pixels, from `out` on, of input rows of `width`.
template <int up, int down, int rows, class T, int count>
FASTGAN_INLINE void plane_rows(const Columns<T, count, down, rows>& columns, const RowTaps<up>& t,
                               int64_t width, T* out, int64_t n, bool is_streamed) {
  const Floats f0 = t.f[0], f1 = t.f[1], f2 = t.f[2], f3 = t.f[3];
  Two x[rows], next[rows];
  columns.pixels(t.start, width, x);
  if constexpr (up == 2) {
    for (int64_t o = 0; o < n; o += 2 * kTwo) {
      columns.pixels(t.start + o / 2 + kTwo, width, next);
#pragma GCC unroll 4
      for (int r = 0; r < rows; ++r) {
        const Two x1 = shift_pixels<1>(x[r], next[r], T{});
        const Two even = f0 * x[r] + f1 * x1;
        const Two odd =
            t.is_apart ? f2 * x1 + f3 * shift_pixels<2>(x[r], next[r], T{}) : f2 * x[r] + f3 * x1;
        put_in_turns(out + r * n + o, even, odd, n - o, is_streamed);
        x[r] = next[r];
      }
    }
  } else if constexpr (down == 1) {
    for (int64_t o = 0; o < n; o += kTwo) {
      columns.pixels(t.start + o + kTwo, width, next);
#pragma GCC unroll 4
      for (int r = 0; r < rows; ++r) {
        const Two sum = f0 * x[r] + f1 * shift_pixels<1>(x[r], next[r], T{}) +
                        f2 * shift_pixels<2>(x[r], next[r], T{}) +
                        f3 * shift_pixels<3>(x[r], next[r], T{});
        put_two(out + r * n + o, sum, n - o, is_streamed);
        x[r] = next[r];
      }
    }
  } else {
#pragma GCC unroll 4
    for (int r = 0; r < rows; ++r) x[r] = split_pixels(x[r], T{});
    for (int64_t o = 0; o < n; o += kTwo) {
      Floats sums[2][rows];
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        columns.pixels(t.start + 2 * o + (half + 1) * kTwo, width, next);
#pragma GCC unroll 4
        for (int r = 0; r < rows; ++r) {
          const Two v = split_pixels(next[r], T{});
          sums[half][r] = f0 * x[r].a + f1 * x[r].b + f2 * shift_lanes<1>(x[r].a, v.a) +
                          f3 * shift_lanes<1>(x[r].b, v.b);
          x[r] = v;
        }
      }
#pragma GCC unroll 4
      for (int r = 0; r < rows; ++r)
        put_in_order(out + r * n + o, sums[0][r], sums[1][r], n - o, is_streamed);
    }
  }
}

}  // namespace
}  // namespace fastgan::FASTGAN_ISA
