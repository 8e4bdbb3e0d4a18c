// SPDX-License-Identifier: Apache-2.0
// For anti_aliased_snake_cpu.cpp only: FIR filters over windows of a signal in L1, whose samples
// lie in planes by their index modulo the ratio, so that no filter has to step over samples.
#pragma once

#include "../../common/cpu_simd.h"

namespace fastgan::FASTGAN_ISA {
namespace {

inline float larger(float a, float b) { return a < b ? b : a; }
inline double larger(double a, double b) { return a < b ? b : a; }

// Buffers are this much longer than what is asked of them: loops run over whole steps, of half of
// it, and load a vector ahead.
constexpr int64_t kSlack = 8 * kLanes;

// Taps that meet samples one after another: Σ_m weights[m]·from[i + m], m < count.
template <class A>
struct Stretch {
  const A *from, *weights;
  int64_t count;
};

// Values m, m + 1, … of `from`. Where vectors are as wide as a cache line, each one that does not
// begin a line takes two of them: those are made of `here` and `next`, which have been loaded.
template <int m>
FASTGAN_INLINE Floats values_from(const float* from, Floats here, Floats next) {
  if constexpr (m == 0) return here;
  if constexpr (4 * kLanes == 64) return shift_lanes<m>(here, next);
  return load_vector(from + m);
}
template <int m>
FASTGAN_INLINE Doubles values_from(const double* from, Doubles, Doubles) {
  Doubles v;
  std::memcpy(&v, from + m, sizeof v);
  return v;
}

constexpr int kSums = 4;  // vectors of outputs at a time
template <class A, class V, int m, int n>
FASTGAN_INLINE void add_taps(V (&sums)[kSums], const V (&v)[kSums + 1], const A* from,
                             const A* weights) {
  constexpr int64_t kWidth = sizeof(V) / sizeof(A);
  const V weight = weights[m] - V{};
#pragma GCC unroll 4
  for (int k = 0; k < kSums; ++k)
    sums[k] += weight * values_from<m>(from + k * kWidth, v[k], v[k + 1]);
  if constexpr (m + 1 < n) add_taps<A, V, m + 1, n>(sums, v, from, weights);
}
template <int n, class A, class V>
FASTGAN_INLINE void add_taps(V (&sums)[kSums], const A* from, const A* weights) {
  constexpr int64_t kWidth = sizeof(V) / sizeof(A);
  V v[kSums + 1];
#pragma GCC unroll 5
  for (int k = 0; k <= kSums; ++k) std::memcpy(&v[k], from + k * kWidth, sizeof v[k]);
  add_taps<A, V, 0, n>(sums, v, from, weights);
}

// out[i] = Σ over the stretches, i < n, and up to kSlack / 2 - 1 more.
template <class A>
inline void weighted_sum(A* out, int64_t n, const Stretch<A>* stretches, int64_t count) {
  using V = typename VectorOf<A>::type;
  constexpr int64_t kWidth = sizeof(V) / sizeof(A);
  for (int64_t i = 0; i < n; i += kSums * kWidth) {
    V sums[kSums] = {};
    for (int64_t s = 0; s < count; ++s) {
      const A *from = stretches[s].from + i, *weights = stretches[s].weights;
      int64_t left = stretches[s].count;
      for (; left > 6; left -= 6, from += 6, weights += 6) {
        V part[kSums] = {};  // sums of sums keep their last digits
        add_taps<6>(part, from, weights);
#pragma GCC unroll 4
        for (int k = 0; k < kSums; ++k) sums[k] += part[k];
      }
      switch (left) {
        case 6: add_taps<6>(sums, from, weights); break;
        case 5: add_taps<5>(sums, from, weights); break;
        case 4: add_taps<4>(sums, from, weights); break;
        case 3: add_taps<3>(sums, from, weights); break;
        case 2: add_taps<2>(sums, from, weights); break;
        case 1: add_taps<1>(sums, from, weights); break;
        default: break;
      }
    }
#pragma GCC unroll 4
    for (int k = 0; k < kSums; ++k) std::memcpy(out + i + k * kWidth, &sums[k], sizeof sums[k]);
  }
}

// The taps of a filter by their number modulo `ratio`, in the order in which a signal's samples
// meet them: ascending for a filter that reads, descending for one that spreads.
template <class A>
struct PhasedTaps {
  A* data;
  int64_t taps, ratio;
  bool is_descending;

  int64_t count(int64_t phase) const {
    return phase < taps ? (taps - phase + ratio - 1) / ratio : 0;
  }
  A* at(int64_t phase) const { return data + phase * pitch(taps, ratio); }
  static int64_t pitch(int64_t taps, int64_t ratio) { return divide_up(taps, ratio); }

  void fill(const A* f, A scale) const {
    for (int64_t phase = 0; phase < ratio; ++phase) {
      const int64_t n = count(phase);
      for (int64_t m = 0; m < n; ++m)
        at(phase)[is_descending ? n - 1 - m : m] = f[phase + m * ratio] * scale;
    }
  }
};

// to[i - begin] = row[i] for begin ≤ i < end; beyond the row its ends, or 0. The largest magnitude.
template <class T, class A>
inline A load_window(A* to, const T* row, int64_t length, int64_t begin, int64_t end,
                     bool repeats_ends) {
  const int64_t first = smaller(larger(begin, 0), end), last = larger(smaller(end, length), first);
  const A before = repeats_ends ? A(load(row[0])) : A(0);
  const A after = repeats_ends ? A(load(row[length - 1])) : A(0);
  for (int64_t i = begin; i < first; ++i) to[i - begin] = before;
  A most = 0;
#pragma omp simd reduction(max : most)
  for (int64_t i = first; i < last; ++i) {
    const A v = load(row[i]), size = v < 0 ? -v : v;
    to[i - begin] = v;
    most = most < size ? size : most;
  }
  for (int64_t i = last; i < end; ++i) to[i - begin] = after;
  return larger(larger(most, before), larger(after, larger(-before, -after)));
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

// s[j] = Σ_i f[j + lead - ratio·i] · window[i - first], begin ≤ j < end: up-sampling, and the
// adjoint of down-sampling. `row` has room for a phase of samples.
template <class A>
struct Spread {
  PhasedTaps<A> f;
  int64_t lead;

  // Of the samples [begin, end): the window that they need.
  int64_t window_begin(int64_t begin) const {
    return floor_divide(begin + lead - f.taps, f.ratio) + 1;
  }
  int64_t window_end(int64_t end) const { return floor_divide(end - 1 + lead, f.ratio) + 1; }

  void run(const A* window, int64_t first, int64_t begin, int64_t end, const Planes<A>& out,
           A* row) const {
    for (int64_t phase = 0; phase < f.ratio; ++phase) {
      const Run r = run_of(phase, f.ratio, begin, end);
      if (r.count == 0) continue;
      const int64_t last = floor_divide(r.first + lead, f.ratio);  // meets the phase's first tap
      const int64_t k = r.first + lead - last * f.ratio, n = f.count(k);
      const Stretch<A> stretch = {window + (last - n + 1 - first), f.at(k), n};
      if (f.ratio == out.ratio) {
        weighted_sum(out.at(r.first), r.count, &stretch, 1);
        continue;
      }
      weighted_sum(row, r.count, &stretch, 1);
      for (int64_t i = 0; i < r.count; ++i) *out.at(r.first + i * f.ratio) = row[i];
    }
  }
};

// out[i] = Σ_k f[k] · s[ratio·(begin + i) + k - lead], i < n, ratio that of the planes:
// down-sampling, and the adjoint of up-sampling. `stretches` has room for one of each phase.
template <class A>
inline void gather(A* out, int64_t begin, int64_t n, const Planes<A>& s, const PhasedTaps<A>& f,
                   int64_t lead, Stretch<A>* stretches) {
  int64_t count = 0;
  for (int64_t phase = 0; phase < smaller(f.ratio, f.taps); ++phase)
    stretches[count++] = {s.at(s.ratio * begin + phase - lead), f.at(phase), f.count(phase)};
  weighted_sum(out, n, stretches, count);
}

}  // namespace
}  // namespace fastgan::FASTGAN_ISA
