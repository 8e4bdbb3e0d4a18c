// SPDX-License-Identifier: Apache-2.0
// augment_matrices: the random matrices of discriminator augmentation, of every image at once. What
// crosses from the binding to the kernels. fastgan/ops/augment_matrices.py defines them.
#pragma once

#include <cstdint>

#include "../../common/exec.h"
#include "../../common/kernels.h"
#include "../../common/sample_gamma.h"

namespace fastgan {

// Row r belongs to sample first + r·stride; its numbers are made of that sample's words begin,
// begin + 1, …, one word each. Null for what is not drawn.
struct AugmentMatricesParams {
  const float* p;      // []: the probability of a transform
  const int64_t* key;  // []
  float* blit;         // [rows, 3, 3]
  float* inverse;      // [rows, 3, 3]
  bool* is_moved;      // [rows], null where inverse is
  float* color;        // [rows, channels + 1, channels + 1]
  bool* is_colored;    // [rows], null where color is
  int64_t offset, first, stride, begin;
  int64_t rows, height, width;
  int64_t channels;   // 1 or 3
  float color_share;  // p of a colour transform over p
};

struct AugmentMatricesKernels {
  int (*draw)(const AugmentMatricesParams&, const Exec&);
};

FASTGAN_KERNELS(AugmentMatricesKernels, augment_matrices)

}  // namespace fastgan
