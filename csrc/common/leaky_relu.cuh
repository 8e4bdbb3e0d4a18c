// SPDX-License-Identifier: Apache-2.0
// clamp(gain · leaky_relu(u), ±clamp) in four instructions for an element, for alpha ≤ 1, where
// leaky_relu(u) = max(u, alpha · u). Relu and linear are among them.
#pragma once

#include "platform.cuh"

namespace fastgan {

template <class A>
struct LeakyRelu {
  A alpha, gain, low, high;

  // `clamp` is NaN where there is none.
  __host__ __device__ LeakyRelu(A alpha, A gain, A clamp)
      : alpha(alpha), gain(gain), low(-clamp), high(clamp) {
    if (clamp != clamp) {
      high = A(INFINITY);
      low = -high;
    }
  }
  // A NaN stays one. alpha · u of an infinite u is NaN where alpha is 0, so relu has a form of its
  // own: f(act) is called with the one that alpha asks for.
  template <class F>
  __device__ __forceinline__ void pick(F&& f) const {
    if (alpha == 0)
      f([this](A u) { return bounded(max_or_nan(u, A(0))); });
    else
      f([this](A u) { return leaky(u); });
  }
  // The one for alpha above 0.
  __device__ __forceinline__ A leaky(A u) const { return bounded(max_or_nan(u, u * alpha)); }

 private:
  __device__ __forceinline__ A bounded(A v) const {
    return max_or_nan(min_or_nan(v * gain, high), low);
  }
};

}  // namespace fastgan
