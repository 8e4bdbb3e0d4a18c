// SPDX-License-Identifier: Apache-2.0
// For bias_act_cpu.cpp only: the nine activations and their slopes, over blocks in the type that is
// computed in. A block is long enough that the choice between them, made once a block, costs
// nothing: each is compiled once for float32 and once for float64, whatever the storage types.
#pragma once

#include "../../common/cpu_math.h"
#include "bias_act.h"

namespace fastgan::FASTGAN_ISA {
namespace {

constexpr int64_t kBlock = 512;  // elements: a block and its reference wait in L1

// Options go by value everywhere: read through a reference, a branch of a select becomes a load
// that must not happen early, and the loop stays scalar.
template <class A>
struct Options {
  A alpha, gain, clamp;
};

// value(u) and slope(u) = dvalue/du, both before the gain.
struct PiecewiseLinear {
  template <class A>
  static A value(A u, A alpha) {
    return u > 0 ? u : alpha == 0 && u < 0 ? A(0) : u * alpha;  // relu(-inf) is 0, relu(NaN) NaN
  }
  template <class A>
  static A slope(A u, A alpha) {
    return u > 0 ? A(1) : alpha;
  }
};
struct Tanh {
  template <class A>
  static A value(A u, A) {
    return hyperbolic_tangent(u);
  }
  template <class A>
  static A slope(A u, A) {
    const A t = hyperbolic_tangent(u);
    return A(1) - t * t;
  }
};
struct Sigmoid {
  template <class A>
  static A value(A u, A) {
    return sigmoid(u);
  }
  template <class A>
  static A slope(A u, A) {
    const A s = sigmoid(u);
    return s * (A(1) - s);
  }
};
struct Elu {
  template <class A>
  static A value(A u, A) {
    return u > 0 ? u : expm1_below_zero(u > 0 ? A(0) : u);
  }
  template <class A>
  static A slope(A u, A) {
    return u > 0 ? A(1) : exponential(u > 0 ? A(0) : u);
  }
};
struct Selu {
  static constexpr double kScale = 1.0507009873554805, kAlpha = 1.6732632423543772;
  template <class A>
  static A value(A u, A alpha) {
    const A e = Elu::value(u, alpha);
    return A(kScale) * (u > 0 ? e : A(kAlpha) * e);
  }
  template <class A>
  static A slope(A u, A alpha) {
    const A e = Elu::slope(u, alpha);
    return A(kScale) * (u > 0 ? e : A(kAlpha) * e);
  }
};
struct Softplus {
  template <class A>
  static A value(A u, A) {
    return (u > 0 ? u : A(0)) + log1p_below_one(exponential(u > 0 ? -u : u));
  }
  template <class A>
  static A slope(A u, A) {
    return sigmoid(u);
  }
};
struct Swish {
  template <class A>
  static A value(A u, A) {
    return u * sigmoid(u);
  }
  template <class A>
  static A slope(A u, A) {
    const A s = sigmoid(u);
    return s + u * s * (A(1) - s);
  }
};

// f(Act{}) for the activation that `act` names.
template <class F>
void dispatch_activation(Activation act, F&& f) {
  switch (act) {
    case Activation::kLinear:
    case Activation::kRelu:
    case Activation::kLrelu: f(PiecewiseLinear{}); break;
    case Activation::kTanh: f(Tanh{}); break;
    case Activation::kSigmoid: f(Sigmoid{}); break;
    case Activation::kElu: f(Elu{}); break;
    case Activation::kSelu: f(Selu{}); break;
    case Activation::kSoftplus: f(Softplus{}); break;
    case Activation::kSwish: f(Swish{}); break;
  }
}

// u becomes clamp(gain · act(u)).
template <class A>
void activate(Activation act, A* u, int64_t n, Options<A> o) {
  dispatch_activation(act, [&](auto type) {
    using Act = decltype(type);
#pragma omp simd
    for (int64_t k = 0; k < n; ++k) {
      const A v = o.gain * Act::value(u[k], o.alpha);
      const A low = v < -o.clamp ? -o.clamp : v;  // a NaN passes through both comparisons
      u[k] = low > o.clamp ? o.clamp : low;
    }
  });
}

// d times dy/du, which is read off u.
template <class A>
void multiply_by_slope(Activation act, A* d, const A* u, int64_t n, Options<A> o) {
  dispatch_activation(act, [&](auto type) {
    using Act = decltype(type);
#pragma omp simd
    for (int64_t k = 0; k < n; ++k) {
      const A v = o.gain * Act::value(u[k], o.alpha);
      const A size = v < 0 ? -v : v;
      d[k] = size >= o.clamp ? A(0) : d[k] * (o.gain * Act::slope(u[k], o.alpha));
    }
  });
}

// The same for a piecewise-linear activation with gain > 0 and alpha ≥ 0, read off y, whose clamp
// bound is rounded to the storage type as y itself was.
template <class A>
void multiply_by_slope_of_y(A* d, const A* y, int64_t n, Options<A> o) {
#pragma omp simd
  for (int64_t k = 0; k < n; ++k) {
    const A slope = y[k] > 0 ? o.gain : o.gain * o.alpha;
    const A size = y[k] < 0 ? -y[k] : y[k];
    d[k] = size >= o.clamp ? A(0) : d[k] * slope;  // a NaN is never hidden
  }
}

}  // namespace
}  // namespace fastgan::FASTGAN_ISA
