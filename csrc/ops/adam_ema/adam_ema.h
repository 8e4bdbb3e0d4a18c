// SPDX-License-Identifier: Apache-2.0
// adam_ema_: one Adam step and one step of an exponential moving average over flat buffers.
// What crosses from the binding to the kernels.
#pragma once

#include <cstdint>

#include "../../common/dtype.h"
#include "../../common/exec.h"
#include "../../common/kernels.h"

namespace fastgan {

// Partial counts that the counting pass leaves at most: its blocks, all resident at once on the
// largest GPU, so that the update pass has few to sum.
constexpr int64_t kAdamPartials = 132 * 8;
// Numbers of 8 bytes in scratch: four coefficients and the step's number before the counts.
constexpr int64_t kAdamScratch = 5 + kAdamPartials;

// All tensors are contiguous. `wide` below is float64 for a float64 gradient, else float32.
struct AdamEmaParams {
  void* param;                 // [numel], wide: in and out, like the next three
  const void* grad;            // [numel], dtype
  void* exp_avg;               // [numel], wide
  void* exp_avg_sq;            // [numel], wide
  void* ema;                   // [numel], wide, or null
  int64_t* step;               // []: in and out
  int64_t* nonfinite;          // []: in and out
  const void* lr;              // [], wide
  const void* ema_weight;      // [], wide; null where ema is
  const double* beta2_tensor;  // []: β2 of this step, or null, and it is beta2
  int64_t* scratch;            // [kAdamScratch]
  int64_t numel;
  double beta1, beta2, eps, weight_decay, grad_scale;
  DType dtype;
};

struct AdamEmaKernels {
  int (*step)(const AdamEmaParams&, const Exec&);
};

FASTGAN_KERNELS(AdamEmaKernels, adam_ema)

}  // namespace fastgan
