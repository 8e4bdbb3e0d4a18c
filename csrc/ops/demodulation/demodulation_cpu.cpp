// CPU kernel of demodulation: one reading of the weights, compiled once per instruction set.
#include "../../common/cpu_math.h"
#include "demodulation.h"

namespace fastgan::FASTGAN_ISA {
namespace {

// e[i] = Σ_k w[i, k]² of one output channel.
template <class T, class A>
void energy_of(const DemodulationParams& p, const T* w, A* e) {
  if (p.is_taps_outer) {
    for (int64_t i = 0; i < p.inputs; ++i) e[i] = A(0);
    for (int64_t k = 0; k < p.taps; ++k) {
      const T* row = w + k * p.inputs;
#pragma omp simd
      for (int64_t i = 0; i < p.inputs; ++i) e[i] += load(row[i]) * load(row[i]);
    }
    return;
  }
  for (int64_t i = 0; i < p.inputs; ++i) {
    const T* row = w + i * p.taps;
    A sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t k = 0; k < p.taps; ++k) sum += load(row[k]) * load(row[k]);
    e[i] = sum;
  }
}

inline float root(float v) { return ::sqrtf(v); }
inline double root(double v) { return ::sqrt(v); }

template <class T>
void outputs(const DemodulationParams& p, int64_t begin, int64_t end) {
  using A = compute_t<T>;
  const A *s = static_cast<const A*>(p.s), eps = A(p.eps);
  for (int64_t o = begin; o < end; ++o) {
    A* e = static_cast<A*>(p.energy) + o * p.inputs;
    energy_of<T, A>(p, static_cast<const T*>(p.w) + o * p.inputs * p.taps, e);
    for (int64_t n = 0; n < p.n; ++n) {
      const A* style = s + n * p.inputs;
      A sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t i = 0; i < p.inputs; ++i) sum += style[i] * style[i] * e[i];
      static_cast<A*>(p.d)[n * p.outputs + o] = A(1) / root(sum + eps);
    }
  }
}

int forward(const DemodulationParams& p, const Exec& exec) {
  const int64_t bytes = p.dtype == DType::kFloat64 ? 8 : p.dtype == DType::kFloat32 ? 4 : 2;
  const int64_t row = at_least_one(p.inputs * (p.taps * bytes + p.n * 4));
  dispatch(p.dtype, [&](auto type) {
    using T = decltype(type);
    auto range = [&](int64_t begin, int64_t end) { outputs<T>(p, begin, end); };
    parallel(exec, p.outputs, at_least_one(kGrainBytes / row), range);
  });
  return 0;
}

}  // namespace

extern const DemodulationKernels demodulation;
const DemodulationKernels demodulation = {forward};

}  // namespace fastgan::FASTGAN_ISA
