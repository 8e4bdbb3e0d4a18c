// SPDX-License-Identifier: Apache-2.0
// filtered_lrelu: up-sample and filter, leaky ReLU and clamp (or the slopes that an earlier pass
// kept), filter and down-sample. What crosses from the binding to the kernels.
#pragma once

#include <cstdint>

#include "../../common/dtype.h"
#include "../../common/exec.h"
#include "../../common/kernels.h"

namespace fastgan {

// One axis, with a filter f before and g after the activation, both as they are correlated:
//   v[j] = Σ_k f[k] · u[(j + k - pad) / up]    over the k where that is a whole number in [0, in)
//   y[o] = Σ_k g[k] · w[o·down + k]            0 ≤ o < out
// w[j] goes with the slope code at j + sign_offset.
struct FilteredAxis {
  int64_t in, out, up_taps, down_taps, pad, sign_offset;
};

// Two bits for each v, the lowest first, four to a byte; rows begin at whole bytes, and what is
// left of their last bytes is 0. Those of a v that no output's taps meet may be any.
enum class SlopeCode : uint8_t { kOne = 0, kSlope = 1, kClamped = 2 };  // dw/dv / gain: 1, slope, 0

enum class Signs : uint8_t { kNone, kWrite, kRead };

struct FilteredLreluParams {
  const void* x;   // [planes, y.in, x.in]
  const void* b;   // of x's dtype, [channels], or null; u = x + b
  const void* fu;  // of the compute type, [taps] or [y.up_taps, x.up_taps]
  const void* fd;  // of the compute type, [taps] or [y.down_taps, x.down_taps]
  uint8_t* signs;  // [planes, sign_rows, sign_bytes], or null
  void* out;       // [planes, y.out, x.out]
  int64_t planes, channels;
  FilteredAxis ax, ay;
  int64_t up, down;
  int64_t sign_rows, sign_columns, sign_bytes;
  double up_gain;             // of the first filter
  double gain, slope, clamp;  // w = clamp(gain · (v > 0 ? v : slope · v), ±clamp); NaN: none
  Signs mode;                 // kRead: w = v · (1, slope or 0), by the code; 0 outside of the codes
  bool fu_is_separable, fd_is_separable;
  bool is_flipped;  // correlate: filters as they are; else convolve: both reversed
  DType dtype;
};

// What run() returns where a tile of the smallest size does not fit on the chip.
constexpr int kFilterTooLarge = -1;

struct FilteredLreluKernels {
  int (*run)(const FilteredLreluParams&, const Exec&);
};

FASTGAN_KERNELS(FilteredLreluKernels, filtered_lrelu)

}  // namespace fastgan
