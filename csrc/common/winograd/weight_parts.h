// SPDX-License-Identifier: Apache-2.0
// The last step of a weight gradient: partial sums [part, tap, c, k] are added, and laid out as dw.
#pragma once

#include "../cpu.h"
#include "params.h"

namespace fastgan::FASTGAN_ISA {
namespace {

constexpr int64_t kSquare = 16;    // channels, on either side
constexpr int64_t kMostTasks = 8;  // beyond which the tiles are not split into parts

template <class T, int kSide>
void add_weight_square(const WinogradWeightParams& p, int64_t c0, int64_t k0) {
  constexpr int64_t taps = kSide * kSide;
  const WinogradShape& s = p.shape;
  T sums[kSquare][taps][kSquare];  // [k, tap, c]
  const T* partial = static_cast<const T*>(p.shared);
  const int64_t width = smaller(kSquare, s.k - k0), height = smaller(kSquare, s.c - c0);
  for (int64_t tap = 0; tap < taps; ++tap) {
    for (int64_t c = 0; c < height; ++c) {
      T sum[kSquare] = {};
      for (int64_t part = 0; part < p.plan.parts; ++part) {
        const T* from = partial + ((part * taps + tap) * s.c + c0 + c) * s.k + k0;
        for (int64_t k = 0; k < width; ++k) sum[k] += from[k];
      }
      for (int64_t k = 0; k < kSquare; ++k) sums[k][tap][c] = sum[k];
    }
  }
  for (int64_t k = 0; k < width; ++k) {
    for (int64_t tap = 0; tap < taps; ++tap) {
      T* to = static_cast<T*>(p.dw) + (k0 + k) * p.stride_k + c0 * p.stride_c +
              tap / kSide * p.stride_row + tap % kSide * p.stride_col;
      for (int64_t c = 0; c < height; ++c) to[c * p.stride_c] = sums[k][tap][c];
    }
  }
}

// dw = Σ_parts partial, from rows of k to any layout by squares of channels: a square is turned in
// a buffer of its own, because the strides of dw can put all its rows into a few cache sets.
template <class T, int kSide = 3>
void add_weight_parts(const WinogradWeightParams& p, const Exec& exec) {
  const WinogradShape& s = p.shape;
  const int64_t squares_k = divide_up(s.k, kSquare);
  auto squares = [&](int64_t begin, int64_t end) {
    for (int64_t square = begin; square < end; ++square)
      add_weight_square<T, kSide>(p, square / squares_k * kSquare, square % squares_k * kSquare);
  };
  const int64_t square_bytes =
      kSquare * kSquare * kSide * kSide * (p.plan.parts + 1) * int64_t(sizeof(T));
  parallel(exec, divide_up(s.c, kSquare) * squares_k, at_least_one(kGrainBytes / square_bytes),
           squares);
}

}  // namespace
}  // namespace fastgan::FASTGAN_ISA
