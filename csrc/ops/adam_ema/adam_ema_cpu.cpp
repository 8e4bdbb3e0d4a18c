// SPDX-License-Identifier: Apache-2.0
// CPU kernels of adam_ema_: a pass over the gradient that counts what is not finite, then the
// update. Every operation is rounded by itself, in the order of the reference, whose bits these
// are: a product contracted into a fused multiplication and addition would give others.
// Both passes ask for lines ahead: a core that walks five buffers at once is waited for by memory
// longer than its own prefetchers look ahead.
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

// 1 for NaN and the infinities, whose exponent is all ones. In integers, since a comparison of
// floats here is not turned into vector code.
inline int32_t is_nonfinite(float v) { return (to_bits(v) & 0x7f800000u) == 0x7f800000u ? 1 : 0; }
inline int64_t is_nonfinite(double v) {
  uint64_t bits;
  std::memcpy(&bits, &v, 8);
  constexpr uint64_t kExponent = uint64_t(0x7ff) << 52;
  return (bits & kExponent) == kExponent ? 1 : 0;
}

constexpr int64_t kLine = 64;  // bytes that a prefetch fetches

// Asks for the bytes [first, first + bytes), which may lie behind the end of a buffer.
template <bool is_written, class T>
inline void prefetch(const T* first, int64_t bytes) {
  const char* from = reinterpret_cast<const char*>(first);
  for (int64_t i = 0; i < bytes; i += kLine) __builtin_prefetch(from + i, is_written ? 1 : 0);
}

// Elements whose count is one partial sum: there are at most kAdamPartials.
int64_t elements_per_partial(int64_t numel) {
  return larger(divide_up(numel, kAdamPartials), kGrainBytes / 4);
}

// Bytes of the gradient that the counting pass takes at once, and how far ahead it fetches.
constexpr int64_t kCountBytes = 1024, kCountAhead = 8192;

// How many of the n elements from grad on are not finite once they are scaled.
template <class T>
int64_t count_in(const T* grad, int n, compute_t<T> scale) {
  decltype(is_nonfinite(scale)) bad = 0;
#pragma omp simd reduction(+ : bad)
  for (int i = 0; i < n; ++i) bad += is_nonfinite(load(grad[i]) * scale);
  return bad;
}

template <class T>
int64_t count_nonfinite(const AdamEmaParams& p, const Exec& exec) {
  constexpr int64_t kAtOnce = kCountBytes / sizeof(T);
  const int64_t length = elements_per_partial(p.numel), partials = divide_up(p.numel, length);
  auto range = [&](int64_t begin, int64_t end) {
    const T* grad = static_cast<const T*>(p.grad);
    const auto scale = compute_t<T>(p.grad_scale);
    for (int64_t k = begin; k < end; ++k) {
      const int64_t last = smaller(p.numel, (k + 1) * length);
      int64_t count = 0;
      for (int64_t first = k * length; first < last; first += kAtOnce) {
        prefetch<false>(grad + first + kCountAhead / sizeof(T), kCountBytes);
        count += count_in<T>(grad + first, int(smaller(last - first, kAtOnce)), scale);
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
  A step_size;  // lr / (1 - β1^t)
  A rescale;    // 1 / √(1 - β2^t)
  A eps, weight_decay, grad_scale;
};

template <class A>
Coefficients<A> coefficients_of(const AdamEmaParams& p) {
  const double step = double(*p.step + 1);
  const A ema_weight = p.ema ? *static_cast<const A*>(p.ema_weight) : A(0);
  const double beta2 = p.beta2_tensor ? *p.beta2_tensor : p.beta2;
  return {Toward<A>(1 - p.beta1),
          Toward<A>(1 - beta2),
          Toward<A>(ema_weight),
          A(double(*static_cast<const A*>(p.lr)) / (1 - ::pow(p.beta1, step))),
          A(1 / ::sqrt(1 - ::pow(beta2, step))),
          A(p.eps),
          A(p.weight_decay),
          A(p.grad_scale)};
}

// Elements that the update takes at once, and how far ahead it fetches.
constexpr int64_t kUpdateAtOnce = 64, kUpdateAhead = 256;

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
    for (int64_t first = begin; first < end; first += kUpdateAtOnce) {
      const int64_t last = smaller(end, first + kUpdateAtOnce), next = first + kUpdateAhead;
      prefetch<false>(grad + next, kUpdateAtOnce * sizeof(T));
      prefetch<true>(param + next, kUpdateAtOnce * sizeof(A));
      prefetch<true>(exp_avg + next, kUpdateAtOnce * sizeof(A));
      prefetch<true>(exp_avg_sq + next, kUpdateAtOnce * sizeof(A));
      if constexpr (has_ema) prefetch<true>(ema + next, kUpdateAtOnce * sizeof(A));
#pragma omp simd
      for (int64_t i = first; i < last; ++i) {
        const A old = param[i];
        A g = load(grad[i]) * k.grad_scale;
        if constexpr (has_decay) g = g + k.weight_decay * old;
        A m = g;
        if constexpr (has_memory) m = k.first(exp_avg[i], g);
        const A v = k.second(exp_avg_sq[i], g * g);
        const A x = old - k.step_size * m / (root(v) * k.rescale + k.eps);
        exp_avg[i] = m;
        exp_avg_sq[i] = v;
        param[i] = x;
        if constexpr (has_ema) ema[i] = k.average(ema[i], x);
      }
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
