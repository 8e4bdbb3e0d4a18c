// SPDX-License-Identifier: Apache-2.0
// upfirdn2d: zero-insert, pad or crop, filter, scale, decimate. What crosses from the binding to
// the kernels.
#pragma once

#include <cstdint>

#include "../../common/dtype.h"
#include "../../common/exec.h"
#include "../../common/kernels.h"

namespace fastgan {

// One axis: y[o] = Σ_k f[k] · x[(o·down + k - pad) / up] over the k where that is a whole number
// inside [0, in). `pad` is the padding before the first sample.
struct Axis {
  int64_t in, out, taps;
  int64_t up, down, pad;
};

struct Upfirdn2dParams {
  const void* x;  // [n, c, y.in, x.in], dense in NCHW or NHWC order
  const void* f;  // float64 for float64 x, else float32: [taps] or [y.taps, x.taps]
  void* out;      // [n, c, y.out, x.out] in the same order as x
  int64_t n, c;
  Axis ax, ay;
  double gain;
  bool is_separable;  // f is [taps], applied along both axes
  bool is_flipped;    // correlate: f as it is; else convolve: f reversed
  bool is_channels_last;
  DType dtype;
};

struct Upfirdn2dKernels {
  int (*run)(const Upfirdn2dParams&, const Exec&);
};

FASTGAN_KERNELS(Upfirdn2dKernels, upfirdn2d)

}  // namespace fastgan
