// SPDX-License-Identifier: Apache-2.0
// demodulation: d[n, o] = 1 / √(Σ_i s[n, i]² · e[o, i] + eps) with e[o, i] = Σ_k w[o, i, k]², and
// its backward pass. What crosses from the binding to the kernels.
#pragma once

#include <cstdint>

#include "../../common/dtype.h"
#include "../../common/exec.h"
#include "../../common/kernels.h"

namespace fastgan {

struct DemodulationParams {
  const void* w;  // [outputs, inputs, taps], or [outputs, taps, inputs] where is_taps_outer; dense
  const void* s;  // [n, inputs], dense, in the compute type of w
  void* d;        // [n, outputs] in the compute type
  void* energy;   // [outputs, inputs] in the compute type: e, which the gradient needs
  int64_t n, outputs, inputs, taps;
  double eps;
  DType dtype;         // of w
  bool is_taps_outer;  // weights in channels_last
};

// With g[n, o] = dd[n, o] · d[n, o]³:
//   dw[o, i, k] = w[o, i, k] · (2 · de[o, i] - Σ_n g[n, o] · s[n, i]²)
//   ds[n, i] = -s[n, i] · Σ_o g[n, o] · energy[o, i]
// All but w and dw are in the compute type of w, and dense.
struct DemodulationBackwardParams {
  const void* dd;      // [n, outputs]
  const void* de;      // [outputs, inputs]; null: 0
  const void* w;       // as in DemodulationParams
  const void* s;       // [n, inputs]
  const void* d;       // [n, outputs]
  const void* energy;  // [outputs, inputs]
  void* dw;            // like w; null where it is not wanted
  void* ds;            // [n, inputs]; null where it is not wanted
  int64_t n, outputs, inputs, taps;
  DType dtype;  // of w
  bool is_taps_outer;
};

struct DemodulationKernels {
  int (*forward)(const DemodulationParams&, const Exec&);
  int (*backward)(const DemodulationBackwardParams&, const Exec&);
};

FASTGAN_KERNELS(DemodulationKernels, demodulation)

}  // namespace fastgan
