// For anti_aliased_snake_cpu.cpp only: FIR filters over windows of a signal in L1, whose samples
// lie in planes by their index modulo the ratio, so that no filter has to step over samples.
#pragma once

#include "../../common/cpu_simd.h"

namespace fastgan::FASTGAN_ISA {
namespace {

typedef double Doubles __attribute__((vector_size(4 * kLanes)));
template <class A>
struct VectorOf {
  using type = Floats;
};
template <>
struct VectorOf<double> {
  using type = Doubles;
};

inline int64_t floor_divide(int64_t a, int64_t b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }

// Buffers are this much longer than what is asked of them: loops run over whole steps.
constexpr int64_t kSlack = 4 * kLanes;

template <class A>
struct Tap {
  const A* from;
  A weight;
};

// out[i] = Σ_k weight_k · from_k[i], i < n, and up to kSlack - 1 more.
template <class A>
inline void weighted_sum(A* out, int64_t n, const Tap<A>* taps, int64_t count) {
  using V = typename VectorOf<A>::type;
  constexpr int64_t kWidth = sizeof(V) / sizeof(A), kStep = 4 * kWidth;
  for (int64_t i = 0; i < n; i += kStep) {
    V sums[4] = {};
    for (int64_t k = 0; k < count; ++k) {
      const A* from = taps[k].from + i;
      const V weight = taps[k].weight - V{};
#pragma GCC unroll 4
      for (int v = 0; v < 4; ++v) {
        V values;
        std::memcpy(&values, from + v * kWidth, sizeof values);
        sums[v] += weight * values;
      }
    }
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) std::memcpy(out + i + v * kWidth, &sums[v], sizeof sums[v]);
  }
}

// to[i - begin] = row[i] for begin ≤ i < end; beyond the row its ends, or 0.
template <class T, class A>
inline void load_window(A* to, const T* row, int64_t length, int64_t begin, int64_t end,
                        bool repeats_ends) {
  const int64_t first = smaller(larger(begin, 0), end), last = larger(smaller(end, length), first);
  const A before = repeats_ends ? A(load(row[0])) : A(0);
  const A after = repeats_ends ? A(load(row[length - 1])) : A(0);
  for (int64_t i = begin; i < first; ++i) to[i - begin] = before;
#pragma omp simd
  for (int64_t i = first; i < last; ++i) to[i - begin] = load(row[i]);
  for (int64_t i = last; i < end; ++i) to[i - begin] = after;
}

// Samples of a signal from index ratio·origin on: sample ratio·i + q at plane(q)[i - origin].
template <class A>
struct Planes {
  A* data;
  int64_t pitch, ratio, origin;

  A* at(int64_t j) const {
    const int64_t i = floor_divide(j, ratio);
    return data + (j - i * ratio) * pitch + (i - origin);
  }
};

// Samples ratio·i + phase of [begin, end): the first of them, and how many.
struct Run {
  int64_t first, count;
};
inline Run run_of(int64_t phase, int64_t ratio, int64_t begin, int64_t end) {
  const int64_t i = -floor_divide(phase - begin, ratio);
  const int64_t last = floor_divide(end - 1 - phase, ratio);
  return {i * ratio + phase, larger(last - i + 1, 0)};
}

// s[j] = Σ_i weight[j + lead - ratio·i] · window[i - first], begin ≤ j < end: up-sampling, and the
// adjoint of down-sampling. `taps` has room for all taps, `row` for a phase of samples.
template <class A>
struct UpSampler {
  const A* weights;
  int64_t count, ratio, lead;

  // Of the samples [begin, end): the window that they need.
  int64_t window_begin(int64_t begin) const {
    return floor_divide(begin + lead - count, ratio) + 1;
  }
  int64_t window_end(int64_t end) const { return floor_divide(end - 1 + lead, ratio) + 1; }

  void run(const A* window, int64_t first, int64_t begin, int64_t end, const Planes<A>& out,
           Tap<A>* taps, A* row) const {
    for (int64_t phase = 0; phase < ratio; ++phase) {
      const Run r = run_of(phase, ratio, begin, end);
      if (r.count == 0) continue;
      int64_t n = 0;
      const int64_t top = r.first + lead;  // tap k meets sample (top - k) / ratio of the window
      for (int64_t k = top - floor_divide(top, ratio) * ratio; k < count; k += ratio)
        taps[n++] = {window + ((top - k) / ratio - first), weights[k]};
      if (ratio == out.ratio) {
        weighted_sum(out.at(r.first), r.count, taps, n);
        continue;
      }
      weighted_sum(row, r.count, taps, n);
      for (int64_t k = 0; k < r.count; ++k) *out.at(r.first + k * ratio) = row[k];
    }
  }
};

// out[i] = Σ_k weight[k] · s[ratio·(begin + i) + k - lead], i < n, ratio that of the planes:
// down-sampling, and the adjoint of up-sampling.
template <class A>
inline void down_sample(A* out, int64_t begin, int64_t n, const Planes<A>& s, const A* weights,
                        int64_t count, int64_t lead, Tap<A>* taps) {
  for (int64_t k = 0; k < count; ++k) taps[k] = {s.at(s.ratio * begin + k - lead), weights[k]};
  weighted_sum(out, n, taps, count);
}

}  // namespace
}  // namespace fastgan::FASTGAN_ISA
