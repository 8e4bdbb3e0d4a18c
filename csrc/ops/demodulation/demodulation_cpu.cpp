// SPDX-License-Identifier: Apache-2.0
// CPU kernels of demodulation and its backward pass: each reads the weights once. Compiled once per
// instruction set.
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

constexpr int64_t kStrip = 64;    // inputs, of which a pass over other numbers makes sums
constexpr int64_t kSamples = 4;   // that are summed at once
constexpr int64_t kOutputs = 64;  // that are summed before they join the sum: its error grows
                                  // with the number of its terms
constexpr int64_t kInputs = 512;  // inputs, whose factors stay in a cache

// g of one output channel and sample.
template <class A>
inline A of_sum(const DemodulationBackwardParams& p, int64_t n, int64_t o) {
  const A d = static_cast<const A*>(p.d)[n * p.outputs + o];
  return static_cast<const A*>(p.dd)[n * p.outputs + o] * (d * d * d);
}

// dw = w · c of `count` inputs of one output channel, from `input` on. kTaps > 0: so many taps.
template <class T, class A, int kTaps>
void multiply(const DemodulationBackwardParams& p, int64_t o, int64_t input, int64_t count,
              const A* c) {
  const T* w = static_cast<const T*>(p.w) + o * p.inputs * p.taps;
  T* dw = static_cast<T*>(p.dw) + o * p.inputs * p.taps;
  if (p.is_taps_outer) {
    for (int64_t k = 0; k < p.taps; ++k) {
      const T* from = w + k * p.inputs + input;
      T* to = dw + k * p.inputs + input;
#pragma omp simd
      for (int64_t i = 0; i < count; ++i) store(to + i, load(from[i]) * c[i]);
    }
    return;
  }
  const int64_t taps = kTaps > 0 ? kTaps : p.taps;
  w += input * taps;
  dw += input * taps;
  for (int64_t i = 0; i < count; ++i)
    for (int64_t k = 0; k < taps; ++k) store(dw + i * taps + k, load(w[i * taps + k]) * c[i]);
}

template <class T>
void weight_gradients(const DemodulationBackwardParams& p, int64_t begin, int64_t end) {
  using A = compute_t<T>;
  A c[kInputs];
  for (int64_t o = begin; o < end; ++o) {
    for (int64_t input = 0; input < p.inputs; input += kInputs) {
      const int64_t count = smaller(kInputs, p.inputs - input);
      const A* de = p.de ? static_cast<const A*>(p.de) + o * p.inputs + input : nullptr;
      for (int64_t i = 0; i < count; ++i) c[i] = A(0);
      int64_t n = 0;
      for (; n + kSamples <= p.n; n += kSamples) {
        const A* style = static_cast<const A*>(p.s) + n * p.inputs + input;
        A g[kSamples];
        for (int64_t k = 0; k < kSamples; ++k) g[k] = of_sum<A>(p, n + k, o);
#pragma omp simd
        for (int64_t i = 0; i < count; ++i) {
          A sum = c[i];
          for (int64_t k = 0; k < kSamples; ++k) {
            const A value = style[k * p.inputs + i];
            sum += g[k] * (value * value);
          }
          c[i] = sum;
        }
      }
      for (; n < p.n; ++n) {
        const A* style = static_cast<const A*>(p.s) + n * p.inputs + input;
        const A g = of_sum<A>(p, n, o);
#pragma omp simd
        for (int64_t i = 0; i < count; ++i) c[i] += g * (style[i] * style[i]);
      }
      for (int64_t i = 0; i < count; ++i) c[i] = (de ? A(2) * de[i] : A(0)) - c[i];
      switch (p.taps) {
        case 1: multiply<T, A, 1>(p, o, input, count, c); break;
        case 9: multiply<T, A, 9>(p, o, input, count, c); break;
        default: multiply<T, A, 0>(p, o, input, count, c); break;
      }
    }
  }
}

template <class A>
void style_gradients(const DemodulationBackwardParams& p, int64_t begin, int64_t end) {
  const int64_t strips = divide_up(p.inputs, kStrip);
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t sample = unit / strips * kSamples, input = unit % strips * kStrip;
    const int64_t samples = smaller(kSamples, p.n - sample);
    const int64_t count = smaller(kStrip, p.inputs - input);
    A sums[kSamples][kStrip] = {};
    for (int64_t first = 0; first < p.outputs; first += kOutputs) {
      A part[kSamples][kStrip] = {};
      for (int64_t o = first; o < smaller(first + kOutputs, p.outputs); ++o) {
        const A* e = static_cast<const A*>(p.energy) + o * p.inputs + input;
        for (int64_t k = 0; k < samples; ++k) {
          const A g = of_sum<A>(p, sample + k, o);
          if (count == kStrip) {
#pragma omp simd
            for (int64_t i = 0; i < kStrip; ++i) part[k][i] += g * e[i];
          } else {
            for (int64_t i = 0; i < count; ++i) part[k][i] += g * e[i];
          }
        }
      }
      for (int64_t k = 0; k < samples; ++k)
        for (int64_t i = 0; i < kStrip; ++i) sums[k][i] += part[k][i];
    }
    for (int64_t k = 0; k < samples; ++k) {
      const int64_t at = (sample + k) * p.inputs + input;
      const A* s = static_cast<const A*>(p.s) + at;
      A* ds = static_cast<A*>(p.ds) + at;
      for (int64_t i = 0; i < count; ++i) ds[i] = -s[i] * sums[k][i];
    }
  }
}

int backward(const DemodulationBackwardParams& p, const Exec& exec) {
  const int64_t bytes = p.dtype == DType::kFloat64 ? 8 : p.dtype == DType::kFloat32 ? 4 : 2;
  const int64_t row = at_least_one(p.inputs * (2 * p.taps * bytes + p.n * 4));
  dispatch(p.dtype, [&](auto type) {
    using T = decltype(type);
    auto weights = [&](int64_t begin, int64_t end) { weight_gradients<T>(p, begin, end); };
    auto styles = [&](int64_t begin, int64_t end) { style_gradients<compute_t<T>>(p, begin, end); };
    if (p.dw) parallel(exec, p.outputs, at_least_one(kGrainBytes / row), weights);
    if (!p.ds) return;
    const int64_t units = divide_up(p.inputs, kStrip) * divide_up(p.n, kSamples);
    const int64_t unit = at_least_one(p.outputs * kStrip * kSamples);
    parallel(exec, units, at_least_one(kGrainBytes / unit), styles);
  });
  return 0;
}

}  // namespace

extern const DemodulationKernels demodulation;
const DemodulationKernels demodulation = {forward, backward};

}  // namespace fastgan::FASTGAN_ISA
