// SPDX-License-Identifier: Apache-2.0
// minibatch_stddev: how much the samples of a group differ, averaged over runs of channels. What
// crosses from the binding to the kernels.
#pragma once

#include <cstdint>

#include "../../common/dtype.h"
#include "../../common/exec.h"
#include "../../common/kernels.h"

namespace fastgan {

// x is dense, [group, groups, elements]: sample n = g·groups + m belongs to group m. Run f of a
// sample is `rows` pieces of `width` elements; piece r starts at r·row_stride + f·width.
struct MinibatchStddevParams {
  const void* x;
  const void* dy;  // backward: [group·groups, runs] in x's type
  void* out;       // forward: y, like dy. backward: dx, like x
  void* scratch;   // forward: [slices, groups, runs] in the compute type; null for one slice
  int64_t slices;  // forward
  int64_t group, groups, runs, elements, rows, width, row_stride;
  double eps;
  DType dtype;
};

struct MinibatchStddevKernels {
  int64_t (*slices)(int64_t run_elements);  // partial sums per run: fixed by its length alone
  int (*forward)(const MinibatchStddevParams&, const Exec&);
  int (*backward)(const MinibatchStddevParams&, const Exec&);
};

FASTGAN_KERNELS(MinibatchStddevKernels, minibatch_stddev)

}  // namespace fastgan
