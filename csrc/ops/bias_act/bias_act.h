// SPDX-License-Identifier: Apache-2.0
// bias_act: y = clamp(gain · act(x + b), ±clamp). What crosses from the binding to the kernels.
#pragma once

#include <cstdint>

#include "../../common/dtype.h"
#include "../../common/exec.h"
#include "../../common/kernels.h"

namespace fastgan {

enum class Activation : int {
  kLinear,
  kRelu,
  kLrelu,
  kTanh,
  kSigmoid,
  kElu,
  kSelu,
  kSoftplus,
  kSwish
};

// All tensors are dense and hold [outer, channels, inner] in this order.
struct BiasActParams {
  const void* x;   // forward: in. backward: in, or null where y tells the branch
  const void* b;   // [channels] or null
  const void* y;   // backward of a piecewise-linear activation: the forward output, else null
  const void* dy;  // backward: in
  void* out;       // forward: y. backward: dx
  void* db;        // backward: [channels] or null
  void* scratch;   // backward with db: [bias_act_slices(p), channels] in the compute type
  int64_t outer, channels, inner;
  double alpha, gain, clamp;  // clamp is NaN where there is none: all comparisons fail
  Activation act;
  DType dtype;
};

struct BiasActKernels {
  int64_t (*slices)(const BiasActParams&);  // rows of scratch that a backward with db needs
  int (*forward)(const BiasActParams&, const Exec&);
  int (*backward)(const BiasActParams&, const Exec&);
};

FASTGAN_KERNELS(BiasActKernels, bias_act)

}  // namespace fastgan
