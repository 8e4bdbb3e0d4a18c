// SPDX-License-Identifier: Apache-2.0
// CPU kernels of adam_ema_: a pass over the gradient that counts what is not finite, then the
// update. Every operation is rounded by itself, in the order of the reference, whose bits these
// are: a product contracted into a fused multiplication and addition would give others.
#if defined(__clang__)
#pragma clang fp contract(off)
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif

#include "adam_ema.h"

#include <cmath>

#include "../../common/cpu.h"

namespace fastgan::FASTGAN_ISA {
namespace {

inline float root(float v) { return ::sqrtf(v); }
inline double root(double v) { return ::sqrt(v); }

// Elements whose count is one partial sum: there are at most kAdamPartials.
int64_t elements_per_partial(int64_t numel) {
  return larger(divide_up(numel, kAdamPartials), kGrainBytes / 4);
}

template <class T>
int64_t count_nonfinite(const AdamEmaParams& p, const Exec& exec) {
  using A = compute_t<T>;
  const T* grad = static_cast<const T*>(p.grad);
  const A scale = A(p.grad_scale);
  const int64_t length = elements_per_partial(p.numel), partials = divide_up(p.numel, length);
  auto range = [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      const int64_t last = smaller(p.numel, (k + 1) * length);
      int64_t count = 0;
      for (int64_t first = k * length; first < last; first += 4096) {
        const int n = int(smaller(last - first, 4096));
        int32_t bad = 0;
#pragma omp simd reduction(+ : bad)
        for (int i = 0; i < n; ++i) {
          const A v = load(grad[first + i]) * scale;
          bad += v - v == A(0) ? 0 : 1;
        }
        count += bad;
      }
      p.scratch[1 + k] = count;
    }
  };
  parallel(exec, partials, 1, range);
  int64_t count = 0;
  for (int64_t k = 0; k < partials; ++k) count += p.scratch[1 + k];
  return count;
}

// old + weight·(new - old), exact at weight 0 and at 1.
template <class A>
struct Toward {
  A weight, rest;
  bool is_near;
  explicit Toward(A w) : weight(w), rest(A(1) - w), is_near(w < A(0.5)) {}
  Toward(double w)
    requires(sizeof(A) == 4)
      : weight(A(w)), rest(A(1 - w)), is_near(w < 0.5) {}
  A operator()(A old, A next) const {
    const A difference = next - old;
    return is_near ? old + weight * difference : next - rest * difference;
  }
};

// What is the same for every element.
template <class A>
struct Coefficients {
  Toward<A> first, second, average;
  A correction1, correction2, lr, eps, weight_decay, grad_scale;
};

template <class A>
Coefficients<A> coefficients_of(const AdamEmaParams& p) {
  const double step = double(*p.step + 1);
  const A ema_weight = p.ema ? *static_cast<const A*>(p.ema_weight) : A(0);
  const double beta2 = p.beta2_tensor ? *p.beta2_tensor : p.beta2;
  return {Toward<A>(1 - p.beta1),
          Toward<A>(1 - beta2),
          Toward<A>(ema_weight),
          A(1 - ::pow(p.beta1, step)),
          A(1 - ::pow(beta2, step)),
          *static_cast<const A*>(p.lr),
          A(p.eps),
          A(p.weight_decay),
          A(p.grad_scale)};
}

template <class T, bool has_ema, bool has_memory, bool has_decay>
void update(const AdamEmaParams& p, const Exec& exec) {
  using A = compute_t<T>;
  const Coefficients<A> c = coefficients_of<A>(p);
  auto range = [&](int64_t begin, int64_t end) {
    const Coefficients<A> k = c;
    const T* grad = static_cast<const T*>(p.grad);
    A* param = static_cast<A*>(p.param);
    A* exp_avg = static_cast<A*>(p.exp_avg);
    A* exp_avg_sq = static_cast<A*>(p.exp_avg_sq);
    A* ema = static_cast<A*>(p.ema);
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) {
      const A old = param[i];
      A g = load(grad[i]) * k.grad_scale;
      if constexpr (has_decay) g = g + k.weight_decay * old;
      A m = g;
      if constexpr (has_memory) m = k.first(exp_avg[i], g);
      const A v = k.second(exp_avg_sq[i], g * g);
      const A x = old - k.lr * (m / k.correction1) / (root(v / k.correction2) + k.eps);
      exp_avg[i] = m;
      exp_avg_sq[i] = v;
      param[i] = x;
      if constexpr (has_ema) ema[i] = k.average(ema[i], x);
    }
  };
  parallel(exec, p.numel, kGrainBytes / 16, range);
}

template <class T>
void step_typed(const AdamEmaParams& p, const Exec& exec) {
  if (const int64_t count = count_nonfinite<T>(p, exec)) {
    *p.nonfinite += count;
    return;
  }
  const int options = (p.ema ? 4 : 0) + (p.beta1 != 0 ? 2 : 0) + (p.weight_decay != 0 ? 1 : 0);
  switch (options) {
    case 0: update<T, false, false, false>(p, exec); break;
    case 1: update<T, false, false, true>(p, exec); break;
    case 2: update<T, false, true, false>(p, exec); break;
    case 3: update<T, false, true, true>(p, exec); break;
    case 4: update<T, true, false, false>(p, exec); break;
    case 5: update<T, true, false, true>(p, exec); break;
    case 6: update<T, true, true, false>(p, exec); break;
    default: update<T, true, true, true>(p, exec); break;
  }
  *p.step += 1;
}

// Also where numel is 0: the step's number advances with an empty buffer as with any other.
int step(const AdamEmaParams& p, const Exec& exec) {
  dispatch(p.dtype, [&](auto type) { step_typed<decltype(type)>(p, exec); });
  return 0;
}

}  // namespace

extern const AdamEmaKernels adam_ema;
const AdamEmaKernels adam_ema = {step};

}  // namespace fastgan::FASTGAN_ISA
