// SPDX-License-Identifier: Apache-2.0
// augment_positions: where the pixels of moved images come from, of the inverse matrices of the
// transforms. What crosses from the binding to the kernels; fastgan/ops/augment_positions.py
// defines them.
#pragma once

#include <cstdint>

#include "../../common/dtype.h"
#include "../../common/exec.h"
#include "../../common/kernels.h"

namespace fastgan {

struct AugmentPositionsParams {
  const void* inverse;  // [images, 3, 3], dtype
  void* out;            // index: int64 [images, height, width]; grid: [images, rows, columns, 2]
  int64_t images, height, width;
  int64_t rows, columns;  // of out
  int64_t lead;           // grid: samples before the image's first one
  double center;          // grid: how far a filter's centre lies behind its sample
  DType dtype;            // float32 or float64
};

struct AugmentPositionsKernels {
  int (*index)(const AugmentPositionsParams&, const Exec&);
  int (*grid)(const AugmentPositionsParams&, const Exec&);
};

FASTGAN_KERNELS(AugmentPositionsKernels, augment_positions)

}  // namespace fastgan
