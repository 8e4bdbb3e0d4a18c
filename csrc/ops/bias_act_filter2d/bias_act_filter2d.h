// SPDX-License-Identifier: Apache-2.0
// bias_act_filter2d: leaky ReLU of x + b, then 4 × 4 taps, in one pass; its gradient, and the
// gradient of that. What crosses from the binding to the kernels.
#pragma once

#include "../upfirdn2d/upfirdn2d.h"

namespace fastgan {

// All maps are channels_last. Codes: two bits for each element of the map before the filter,
// [n, height, width, channels / 4], the first of four in the lowest bits: 0 where the slope is
// gain, 1 where it is gain·alpha, 2 or 3 where the clamp holds.
struct BiasActFilter2dParams {
  // up = down = 1 and 4 taps. Padding before: 2 where the filter comes last, 1 where it comes
  // first. x, out: in and out of the op. f without a gain.
  Upfirdn2dParams filter;
  const void* b;              // forward: [c] or null
  void* codes;                // forward: out, or null. else in
  void* db;                   // backward: [c] or null
  void* scratch;              // backward with db: [scratch(p)] in the compute type
  double alpha, gain, clamp;  // 0 < alpha ≤ 1; clamp is NaN where there is none
};

struct BiasActFilter2dKernels {
  int64_t (*scratch)(const BiasActFilter2dParams&);
  int (*forward)(const BiasActFilter2dParams&, const Exec&);
  int (*backward)(const BiasActFilter2dParams&, const Exec&);  // the filter, then the slopes
  int (*masked)(const BiasActFilter2dParams&, const Exec&);    // the slopes, then the filter
};

FASTGAN_KERNELS(BiasActFilter2dKernels, bias_act_filter2d)

}  // namespace fastgan
