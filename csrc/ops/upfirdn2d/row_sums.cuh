// SPDX-License-Identifier: Apache-2.0
// 4 × 4 taps along a strip of outputs that one thread makes from the top down: a row of input is
// read once, and adds its part to every row of output that it meets. Those wait in registers.
#pragma once

#include "polyphase.cuh"

namespace fastgan::cuda {
namespace {

// Taps in registers, in the order in which the outputs meet them, with the gain.
template <class A, bool kIsSeparable>
struct StripTaps {
  A y[4], x[4];  // the taps are y[j]·x[k]

  __device__ __forceinline__ explicit StripTaps(const SquareTaps<A>& taps) {
#pragma unroll
    for (int k = 0; k < 4; ++k) y[k] = taps.y[k], x[k] = taps.x[k];
  }
};
template <class A>
struct StripTaps<A, false> {
  A grid[16];

  __device__ __forceinline__ explicit StripTaps(const SquareTaps<A>& taps) {
#pragma unroll
    for (int k = 0; k < 16; ++k) grid[k] = taps.grid[k];
  }
};

// kX outputs across, of which output o meets the taps P::tap(o + kPhase, t) on the values
// first(o) + t of a row, for kN channels.
//
// A step takes kTaken rows of input and completes kMade rows of output; the first kWarmUp steps
// complete none. With up = 2, the first of the two rows is the one that meets taps 1 and 3.
template <class A, int kUp, int kDown, int kX, int kPhase, int kN, bool kIsSeparable>
struct RowSums {
  using P = Polyphase<kUp, kDown, 4>;
  static constexpr int kTaken = kDown, kMade = kUp, kWarmUp = kUp * kDown == 1 ? 3 : 1;
  static constexpr int first(int o) { return P::first(o + kPhase) - P::first(kPhase); }
  static constexpr int tap(int o, int t) { return P::tap(o + kPhase, t); }
  static constexpr int kWindow = first(kX - 1) + P::kMet;
  static constexpr int kWaiting = kUp * kDown == 1 ? 3 : 2;

  A waiting[kWaiting][kX][kN] = {};

  // value(q, k): of channel k, column q of row `row` of the step; done() is called after the last
  // use of one. Calls make(j, o, k, sum) for the outputs that the row completes.
  template <class Value, class Done, class Make>
  __device__ __forceinline__ void add(const StripTaps<A, kIsSeparable>& taps, int row,
                                      Value&& value, Done&& done, Make&& make) {
    if constexpr (kIsSeparable) {
      A across[kX][kN];
#pragma unroll
      for (int k = 0; k < kN; ++k) {
        A v[kWindow];
#pragma unroll
        for (int q = 0; q < kWindow; ++q) v[q] = value(q, k);
#pragma unroll
        for (int o = 0; o < kX; ++o) {
          across[o][k] = 0;
#pragma unroll
          for (int t = 0; t < P::kMet; ++t) across[o][k] += taps.x[tap(o, t)] * v[first(o) + t];
        }
      }
      done();
#pragma unroll
      for (int k = 0; k < kN; ++k)
#pragma unroll
        for (int o = 0; o < kX; ++o)
          pass_on(o, k, row, [&](A sum, int j) { return sum + taps.y[j] * across[o][k]; }, make);
    } else {
#pragma unroll
      for (int k = 0; k < kN; ++k) {
        A v[kWindow];
#pragma unroll
        for (int q = 0; q < kWindow; ++q) v[q] = value(q, k);
#pragma unroll
        for (int o = 0; o < kX; ++o)
          pass_on(
              o, k, row,
              [&](A sum, int j) {
#pragma unroll
                for (int t = 0; t < P::kMet; ++t)
                  sum += taps.grid[4 * j + tap(o, t)] * v[first(o) + t];
                return sum;
              },
              make);
      }
      done();
    }
  }

 private:
  // plus(sum, j): `sum` and the row's part for the outputs that meet it by row j of the taps.
  template <class Plus, class Make>
  __device__ __forceinline__ void pass_on(int o, int k, int row, Plus&& plus, Make&& make) {
    A& a = waiting[0][o][k];
    A& b = waiting[1][o][k];
    if constexpr (kUp == 2) {
      make(0, o, k, plus(a, 3));
      make(1, o, k, plus(b, 2));
      a = plus(0, 1);
      b = plus(0, 0);
    } else if constexpr (kDown == 2) {
      if (row == 0) {
        a = plus(a, 2);
        b = plus(0, 0);
      } else {
        make(0, o, k, plus(a, 3));
        a = plus(b, 1);
      }
    } else {
      A& c = waiting[2][o][k];
      make(0, o, k, plus(a, 3));
      a = plus(b, 2);
      b = plus(c, 1);
      c = plus(0, 0);
    }
  }
};

// Rows of output per strip: as many as kMostRows, because a strip reads rows of the next one again,
// and fewer where that leaves too few blocks. blocks(rows) counts them; a multiple of `up`.
constexpr int kMostRows = 32, kFewestRows = 4;
template <class Blocks>
int rows_of_strips(int out, int up, Blocks&& blocks) {
  int rows = kMostRows;
  while (rows > kFewestRows && blocks(rows) < kEnoughBlocks) rows /= 2;
  const int strips = (out + rows - 1) / rows;
  rows = (out + strips - 1) / strips;  // dealt evenly
  return (rows + up - 1) / up * up;
}

}  // namespace
}  // namespace fastgan::cuda
