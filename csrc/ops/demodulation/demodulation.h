// demodulation: d[n, o] = 1 / √(Σ_i s[n, i]² · e[o, i] + eps) with e[o, i] = Σ_k w[o, i, k]².
// What crosses from the binding to the kernels.
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
  bool is_taps_outer;  // the native CPU kernel alone takes it: channels_last weights
};

struct DemodulationKernels {
  int (*forward)(const DemodulationParams&, const Exec&);
};

FASTGAN_KERNELS(DemodulationKernels, demodulation)

}  // namespace fastgan
