// SPDX-License-Identifier: Apache-2.0
// Slope, gain and clamp in the type that T is computed in.
#pragma once

#include "../../common/platform.cuh"
#include "noise_bias_act.h"

namespace fastgan::cuda {
namespace {

template <class T>
struct Options {
  using A = compute_t<T>;
  A alpha, gain, clamp;

  explicit Options(const NoiseBiasActParams& p)
      : alpha(A(p.alpha)), gain(A(p.gain)), clamp(A(p.clamp)) {}
};

}  // namespace
}  // namespace fastgan::cuda
