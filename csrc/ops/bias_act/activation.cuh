// The nine activations and their slopes on the device, before the gain.
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

struct PiecewiseLinear {
  template <class A>
  static __device__ __forceinline__ A value(A u, A alpha) {
    return u > 0 ? u : alpha == 0 && u < 0 ? A(0) : u * alpha;  // relu(-inf) is 0, relu(NaN) NaN
  }
  template <class A>
  static __device__ __forceinline__ A slope(A u, A alpha) {
    return u > 0 ? A(1) : alpha;
  }
};
struct Tanh {
  template <class A>
  static __device__ __forceinline__ A value(A u, A) {
    return hyperbolic_tangent(u);
  }
  template <class A>
  static __device__ __forceinline__ A slope(A u, A) {
    const A t = hyperbolic_tangent(u);
    return A(1) - t * t;
  }
};
struct Sigmoid {
  template <class A>
  static __device__ __forceinline__ A value(A u, A) {
    return sigmoid(u);
  }
  template <class A>
  static __device__ __forceinline__ A slope(A u, A) {
    const A s = sigmoid(u);
    return s * (A(1) - s);
  }
};
struct Elu {
  template <class A>
  static __device__ __forceinline__ A value(A u, A) {
    return u > 0 ? u : exponential_minus_1(u);
  }
  template <class A>
  static __device__ __forceinline__ A slope(A u, A) {
    return u > 0 ? A(1) : exponential(u);
  }
};
struct Selu {
  template <class A>
  static __device__ __forceinline__ A value(A u, A alpha) {
    const A e = Elu::value(u, alpha);
    return A(1.0507009873554805) * (u > 0 ? e : A(1.6732632423543772) * e);
  }
  template <class A>
  static __device__ __forceinline__ A slope(A u, A alpha) {
    const A e = Elu::slope(u, alpha);
    return A(1.0507009873554805) * (u > 0 ? e : A(1.6732632423543772) * e);
  }
};
struct Softplus {
  template <class A>
  static __device__ __forceinline__ A value(A u, A) {
    return (u > 0 ? u : A(0)) + log_plus_1(exponential(u > 0 ? -u : u));
  }
  template <class A>
  static __device__ __forceinline__ A slope(A u, A) {
    return sigmoid(u);
  }
};
struct Swish {
  template <class A>
  static __device__ __forceinline__ A value(A u, A) {
    return u * sigmoid(u);
  }
  template <class A>
  static __device__ __forceinline__ A slope(A u, A) {
    const A s = sigmoid(u);
    return s + u * s * (A(1) - s);
  }
};

template <class F>
int dispatch_activation(Activation act, F&& f) {
  switch (act) {
    case Activation::kLinear:
    case Activation::kRelu:
    case Activation::kLrelu: return f(PiecewiseLinear{});
    case Activation::kTanh: return f(Tanh{});
    case Activation::kSigmoid: return f(Sigmoid{});
    case Activation::kElu: return f(Elu{});
    case Activation::kSelu: return f(Selu{});
    case Activation::kSoftplus: return f(Softplus{});
    case Activation::kSwish: return f(Swish{});
  }
  return 1;
}

}  // namespace fastgan::cuda
