// SPDX-License-Identifier: Apache-2.0
// The forward pass along a strip of kColumns columns, from the top down: each value is activated as
// it enters, and kept in the compute type. Wider strips activate a value less often.
#pragma once

#include "../upfirdn2d/channels_last.cuh"
#include "bias_act_filter2d.h"

namespace fastgan::cuda {
namespace {

// Columns of output; a window has 3 more. 16 bits are bound by instructions.
template <class T>
constexpr int kColumns = sizeof(T) == 2   ? 4
                         : sizeof(T) == 4 ? 3
                                          : 2;

// clamp(leaky_relu(u)), whose gain is in the taps and taken out of the clamp; NaN: no clamp.
template <class A>
struct Bounded {
  A alpha, clamp, high;

  Bounded(A alpha, A clamp)
      : alpha(alpha), clamp(clamp), high(clamp == clamp ? clamp : A(INFINITY)) {}
  __device__ __forceinline__ A operator()(A u) const {
    return max_or_nan(min_or_nan(max_or_nan(u, u * alpha), high), -high);
  }
  // Of channel k, at its place: 2 or 3 where the clamp holds.
  __device__ __forceinline__ unsigned plus_code(unsigned codes, A v, int k) const {
    return codes + (fabs(v) >= clamp ? 2u << 2 * k : 0u) + (v > 0 ? 0u : 1u << 2 * k);
  }
};

template <bool kIsSeparable, class T, int kN>
__device__ __forceinline__ void forward_strip(const SquareTaps<compute_t<T>>& square, const T* x,
                                              T* y, uint8_t* codes, const ChannelsLast& s,
                                              const StripOfPixels& strip,
                                              const Bounded<compute_t<T>>& act,
                                              const compute_t<T> (&bias)[kN]) {
  using A = compute_t<T>;
  constexpr int kX = kColumns<T>;
  using Sums = RowSums<A, 1, 1, kX, 0, kN, kIsSeparable>;
  constexpr int kWindow = Sums::kWindow, kPad = 2;
  constexpr unsigned kAll = (1u << kWindow) - 1;
  const StripTaps<A, kIsSeparable> taps(square);
  const int out_x = strip.x * kX, out_y = strip.y * s.rows;
  const int below = s.y.out - out_y, rows = below < s.rows ? below : s.rows;
  const uint32_t pitch = uint32_t(s.x.in) * s.channels, out_pitch = uint32_t(s.x.out) * s.channels;

  // Pixels outside x are read from its border, and replaced.
  uint32_t at[kWindow];
  unsigned inside = 0;
#pragma unroll
  for (int q = 0; q < kWindow; ++q) {
    const int column = out_x - kPad + q, last = s.x.in - 1;
    at[q] = uint32_t(column < 0 ? 0 : column > last ? last : column) * s.channels;
    if (column >= 0 && column <= last) inside |= 1u << q;
  }
  const auto line_of = [&](int number) {
    const int last = s.y.in - 1;
    return int64_t(NarrowIndex(number < 0 ? 0 : number > last ? last : number) * pitch);
  };
  Pixel<T, kN> pixels[kWindow];
  const auto read = [&](int number) {
    const T* from = x + line_of(number);
#pragma unroll
    for (int q = 0; q < kWindow; ++q) pixels[q].read(from + at[q]);
  };
  y += int64_t(out_x) * s.channels;

  Sums sums;
  read(out_y - kPad);
#pragma unroll 1
  for (int step = 0; step < rows + Sums::kWarmUp; ++step) {
    const int number = out_y - kPad + step;
    const unsigned here = number >= 0 && number < s.y.in ? inside : 0;
    if (here != kAll) {  // Values of which bias and activation make 0.
      keep_branch();
      A none[kN];
#pragma unroll
      for (int k = 0; k < kN; ++k) none[k] = -bias[k];
#pragma unroll
      for (int q = 0; q < kWindow; ++q)
        if (!(here >> q & 1)) pixels[q].set(none);
    }
    unsigned code[kX] = {};
    A made[kX][kN];
    sums.add(
        taps, 0,
        [&](int q, int k) {
          const A v = act(pixels[q].channel(k) + bias[k]);
          if (q >= kPad && q < kPad + kX) code[q - kPad] = act.plus_code(code[q - kPad], v, k);
          return v;
        },
        [&] {
          if (step + 1 == rows + Sums::kWarmUp) return;
          keep_branch();
          read(number + 1);
        },
        [&](int, int o, int k, A sum) { made[o][k] = sum; });
    if (codes && step >= kPad && step < kPad + rows) {
      uint8_t* to = codes + line_of(number) / kN;
#pragma unroll
      for (int o = 0; o < kX; ++o)
        if (here >> (o + kPad) & 1) to[at[o + kPad] / kN] = uint8_t(code[o]);
    }
    if (step < Sums::kWarmUp) continue;
    T* to = y + int64_t(NarrowIndex(out_y + step - Sums::kWarmUp) * out_pitch);
#pragma unroll
    for (int o = 0; o < kX; ++o)
      if (out_x + o < s.x.out) write_pixel(to + o * s.channels, made[o]);
  }
}

// How kColumns columns a strip divide the map.
template <class T, int kN>
ChannelsLast forward_layout(const Upfirdn2dParams& p) {
  ChannelsLast s = channels_last_of<kN, 1, 1>(p);
  const int vectors = s.channels / kN;
  s.strips_x = (s.x.out + kColumns<T> - 1) / kColumns<T>;
  const auto threads_of = [&](int rows) {
    return int64_t(vectors) * s.strips_x * ((s.y.out + rows - 1) / rows);
  };
  s.rows = rows_of_strips(s.y.out, 1, [&](int rows) { return threads_of(rows) * p.n / kThreads; });
  s.strips_y = (s.y.out + s.rows - 1) / s.rows;
  s.threads = uint32_t(threads_of(s.rows));
  s.blocks = (s.threads + kThreads - 1) / kThreads;
  s.by_strips_x = Divisor<NarrowIndex>(s.strips_x);
  s.by_strips_y = Divisor<NarrowIndex>(s.strips_y);
  s.by_blocks = Divisor<uint32_t>(s.blocks);
  return s;
}

}  // namespace
}  // namespace fastgan::cuda
