// SPDX-License-Identifier: Apache-2.0
// noise_bias_act: u = scale·x + strength·noise + b, y = clamp(gain·act(u), ±clamp), act piecewise
// linear. What crosses from the binding to the kernels.
#pragma once

#include <cstdint>

#include "../../common/dtype.h"
#include "../../common/exec.h"
#include "../../common/kernels.h"

namespace fastgan {

// x, y, dy and out are dense: [outer, channels, inner], or [outer, inner, channels] where
// is_channels_last. They and noise are of `dtype`; everything smaller is of its compute type.
struct NoiseBiasActParams {
  const void* x;         // forward: in. backward: in, or null where dscale is not wanted
  const void* y;         // backward: the forward output, or null where act is linear, unclamped
  const void* dy;        // backward: in
  const void* noise;     // [outer or 1, inner] or null; backward: null where dstrength is unwanted
  const void* scale;     // [outer, channels] or null, which is 1
  const void* strength;  // forward: [] or null, which is 1
  const void* b;         // forward: [channels] or null
  void* out;             // forward: y. backward: dx
  void* dscale;          // backward: [outer, channels]; written where x is given
  void* dstrength;       // backward: []; written where noise is given
  void* db;              // backward: [channels] or null
  void* scratch;         // backward: noise_bias_act_kernels().scratch(p) elements
  int64_t outer, channels, inner;
  bool is_channels_last, is_noise_shared;
  double alpha, gain, clamp;  // slope below 0; clamp is NaN where there is none
  DType dtype;
};

struct NoiseBiasActKernels {
  int64_t (*scratch)(const NoiseBiasActParams&);
  int (*forward)(const NoiseBiasActParams&, const Exec&);
  int (*backward)(const NoiseBiasActParams&, const Exec&);
};

FASTGAN_KERNELS(NoiseBiasActKernels, noise_bias_act)

}  // namespace fastgan
