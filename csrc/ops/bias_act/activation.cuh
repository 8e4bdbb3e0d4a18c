// SPDX-License-Identifier: Apache-2.0
// The nine activations and their slopes on the device, before the gain, and the sets of them among
// which a kernel chooses at run time: the branch is the same for all threads.
#pragma once

#include "../../common/platform.cuh"
#include "bias_act.h"

namespace fastgan::cuda {

__device__ __forceinline__ float exponential(float v) { return expf(v); }
__device__ __forceinline__ double exponential(double v) { return exp(v); }
__device__ __forceinline__ float exponential_minus_1(float v) { return expm1f(v); }
__device__ __forceinline__ double exponential_minus_1(double v) { return expm1(v); }
__device__ __forceinline__ float log_plus_1(float v) { return log1pf(v); }
__device__ __forceinline__ double log_plus_1(double v) { return log1p(v); }
__device__ __forceinline__ float hyperbolic_tangent(float v) { return tanhf(v); }
__device__ __forceinline__ double hyperbolic_tangent(double v) { return tanh(v); }

template <class A>
__device__ __forceinline__ A sigmoid(A u) {
  return A(1) / (A(1) + exponential(-u));
}

// value(u, alpha) and slope(u, alpha) = dvalue/du.
struct PiecewiseLinear {
  template <class A>
  __device__ __forceinline__ A value(A u, A alpha) const {
    return u > 0 ? u : alpha == 0 && u < 0 ? A(0) : u * alpha;  // relu(-inf) is 0, relu(NaN) NaN
  }
  template <class A>
  __device__ __forceinline__ A slope(A u, A alpha) const {
    return u > 0 ? A(1) : alpha;
  }
};
struct Tanh {
  template <class A>
  __device__ __forceinline__ A value(A u, A) const {
    return hyperbolic_tangent(u);
  }
  template <class A>
  __device__ __forceinline__ A slope(A u, A) const {
    const A t = hyperbolic_tangent(u);
    return A(1) - t * t;
  }
};
struct SigmoidOrSwish {
  bool is_swish;

  template <class A>
  __device__ __forceinline__ A value(A u, A) const {
    const A s = sigmoid(u);
    return is_swish ? u * s : s;
  }
  template <class A>
  __device__ __forceinline__ A slope(A u, A) const {
    const A s = sigmoid(u), ds = s * (A(1) - s);
    return is_swish ? s + u * ds : ds;
  }
};
struct EluOrSelu {
  bool is_selu;

  template <class A>
  __device__ __forceinline__ A value(A u, A) const {
    return scale(u) * (u > 0 ? u : exponential_minus_1(u));
  }
  template <class A>
  __device__ __forceinline__ A slope(A u, A) const {
    return scale(u) * (u > 0 ? A(1) : exponential(u));
  }

 private:
  template <class A>
  __device__ __forceinline__ A scale(A u) const {
    constexpr double kScale = 1.0507009873554805, kAlpha = 1.6732632423543772;
    return !is_selu ? A(1) : u > 0 ? A(kScale) : A(kScale * kAlpha);
  }
};
struct Softplus {
  template <class A>
  __device__ __forceinline__ A value(A u, A) const {
    return (u > 0 ? u : A(0)) + log_plus_1(exponential(u > 0 ? -u : u));
  }
  template <class A>
  __device__ __forceinline__ A slope(A u, A) const {
    return sigmoid(u);
  }
};

// Sets of activations: pick(act, f) calls f with the one that `act` names.
struct PiecewiseLinearOnly {
  template <class F>
  static __device__ __forceinline__ void pick(Activation, F&& f) {
    f(PiecewiseLinear{});
  }
};
struct SmoothOnly {
  template <class F>
  static __device__ __forceinline__ void pick(Activation act, F&& f) {
    if (act == Activation::kTanh)
      f(Tanh{});
    else if (act == Activation::kSoftplus)
      f(Softplus{});
    else if (act == Activation::kElu || act == Activation::kSelu)
      f(EluOrSelu{act == Activation::kSelu});
    else
      f(SigmoidOrSwish{act == Activation::kSwish});
  }
};
inline __host__ __device__ bool is_piecewise_linear(Activation act) {
  return act == Activation::kLinear || act == Activation::kRelu || act == Activation::kLrelu;
}
struct AnyActivation {
  template <class F>
  static __device__ __forceinline__ void pick(Activation act, F&& f) {
    if (is_piecewise_linear(act))
      f(PiecewiseLinear{});
    else
      SmoothOnly::pick(act, f);
  }
};

}  // namespace fastgan::cuda
