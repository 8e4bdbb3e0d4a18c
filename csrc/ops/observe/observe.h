// SPDX-License-Identifier: Apache-2.0
// observe_: adds the mean of a tensor to two running sums of one statistic, or counts it where it
// is not finite. What crosses from the binding to the kernels.
#pragma once

#include <cstdint>

#include "../../common/dtype.h"
#include "../../common/exec.h"
#include "../../common/kernels.h"

namespace fastgan {

struct ObserveParams {
  const void* values;  // [numel], contiguous
  float* totals;       // [2, rows, 3], contiguous: in and out
  int64_t numel, rows, row;
  float share;
  DType dtype;  // of values
};

struct ObserveKernels {
  int (*observe)(const ObserveParams&, const Exec&);
};

FASTGAN_KERNELS(ObserveKernels, observe)

}  // namespace fastgan
