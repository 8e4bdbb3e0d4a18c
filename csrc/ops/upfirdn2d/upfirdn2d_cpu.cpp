// SPDX-License-Identifier: Apache-2.0
// CPU kernel of upfirdn2d, compiled once per instruction set.
//
// An output row is the sum over filter rows of a horizontally filtered input row. A separable
// filter (also a 2-D one that is an outer product, as StyleGAN's are) sums the input rows first and
// filters the sum once; any other filters each input row with its own row of taps. Rows are
// float32 (float64 for float64) in a buffer with a halo of zeros, so that no inner loop has a
// bound to check. Both axes are decomposed into phases: output o uses only the taps k0, k0 + up, …
// that meet a sample, so inserted zeros cost nothing.
#include "upfirdn2d.h"

#include "cpu_filter.h"
#include "cpu_four_taps.h"

namespace fastgan::FASTGAN_ISA {
namespace {

// out[q] (+)= Σ_j taps[j] · t[q·kStep + j], the core of every case with one input step per output.
template <int kTaps, int kStep, bool kAccumulate, class A>
inline void correlate_row(A* out, int64_t out_step, const A* t, const A* taps, int64_t count,
                          int64_t n) {
  if (kTaps > 0) {
    A w[kTaps > 0 ? kTaps : 1];
    for (int j = 0; j < kTaps; ++j) w[j] = taps[j];
#pragma omp simd
    for (int64_t q = 0; q < n; ++q) {
      A sum = 0;
      for (int j = 0; j < kTaps; ++j) sum += w[j] * t[q * kStep + j];
      out[q * out_step] = kAccumulate ? out[q * out_step] + sum : sum;
    }
    return;
  }
  if (!kAccumulate)
    for (int64_t q = 0; q < n; ++q) out[q * out_step] = 0;
  for (int64_t j = 0; j < count; ++j) {
    const A w = taps[j];
#pragma omp simd
    for (int64_t q = 0; q < n; ++q) out[q * out_step] += w * t[q * kStep + j];
  }
}

template <int kStep, bool kAccumulate, class A>
void correlate(A* out, int64_t out_step, const A* t, const A* taps, int64_t count, int64_t n) {
  switch (count) {
    case 2: correlate_row<2, kStep, kAccumulate>(out, out_step, t, taps, count, n); break;
    case 4: correlate_row<4, kStep, kAccumulate>(out, out_step, t, taps, count, n); break;
    case 6: correlate_row<6, kStep, kAccumulate>(out, out_step, t, taps, count, n); break;
    case 12: correlate_row<12, kStep, kAccumulate>(out, out_step, t, taps, count, n); break;
    default: correlate_row<0, kStep, kAccumulate>(out, out_step, t, taps, count, n); break;
  }
}

// Horizontal pass over one row of `width` pixels of `c` interleaved channels (c = 1: a plane).
// `t` points at pixel 0; pixels outside [0, in) that taps meet are zeros of the halo.
template <bool kAccumulate, class A>
void horizontal(A* out, const A* t, const Axis& a, const PhasedTaps<A>& taps, int64_t c) {
  if (c == 1 && a.up == 1) {
    const A* from = t - a.pad;
    if (a.down == 1) {
      correlate<1, kAccumulate>(out, 1, from, taps.at(0), a.taps, a.out);
      return;
    }
    if (a.down == 2) {
      correlate<2, kAccumulate>(out, 1, from, taps.at(0), a.taps, a.out);
      return;
    }
  }
  if (c == 1 && a.down == 1) {  // each phase is a correlation with step 1
    for (int64_t o = 0; o < a.up && o < a.out; ++o) {
      const Phase s = phase_of(a, o);
      correlate<1, kAccumulate>(out + o, a.up, t + s.i0, taps.at(s.k0), s.count,
                                divide_up(a.out - o, a.up));
    }
    return;
  }
  if (a.up == 1 && a.down == 1) {  // pixels are a shift of c values: the whole row at once
    const A* from = t - a.pad * c;
    const int64_t n = a.out * c;
    for (int64_t j = 0; j < a.taps; ++j) {
      const A w = taps.at(0)[j];
      const A* shifted = from + j * c;
      if (j == 0 && !kAccumulate) {
#pragma omp simd
        for (int64_t q = 0; q < n; ++q) out[q] = w * shifted[q];
      } else {
#pragma omp simd
        for (int64_t q = 0; q < n; ++q) out[q] += w * shifted[q];
      }
    }
    return;
  }
  for (int64_t o = 0; o < a.out; ++o) {
    const Phase s = phase_of(a, o);
    const A *w = taps.at(s.k0 < a.taps ? s.k0 : 0), *from = t + s.i0 * c;
    A* to = out + o * c;
    if (s.count == 2) {
      const A w0 = w[0], w1 = w[1];
#pragma omp simd
      for (int64_t q = 0; q < c; ++q) {
        const A sum = w0 * from[q] + w1 * from[q + c];
        to[q] = kAccumulate ? to[q] + sum : sum;
      }
    } else if (s.count == 4) {
      const A w0 = w[0], w1 = w[1], w2 = w[2], w3 = w[3];
#pragma omp simd
      for (int64_t q = 0; q < c; ++q) {
        const A sum = w0 * from[q] + w1 * from[q + c] + w2 * from[q + 2 * c] + w3 * from[q + 3 * c];
        to[q] = kAccumulate ? to[q] + sum : sum;
      }
    } else {
      for (int64_t q = 0; !kAccumulate && q < c; ++q) to[q] = 0;
      for (int64_t j = 0; j < s.count; ++j) {
        const A wj = w[j];
#pragma omp simd
        for (int64_t q = 0; q < c; ++q) to[q] += wj * from[j * c + q];
      }
    }
  }
}

// t[0 … n) = Σ_j taps[j] · rows of x, `stride` apart; rows outside the image count as zero.
template <class T, class A>
void vertical(A* t, const T* x, int64_t stride, const Axis& a, const Phase& s, const A* taps,
              int64_t n) {
  const int64_t first = larger(0, -s.i0), last = smaller(s.count, a.in - s.i0);
  const T* from = x + (s.i0 + first) * stride;
  const A* w = taps + first;
  const int64_t count = last - first;
  if (count == 2) {
    const A w0 = w[0], w1 = w[1];
#pragma omp simd
    for (int64_t q = 0; q < n; ++q) t[q] = w0 * load(from[q]) + w1 * load(from[q + stride]);
    return;
  }
  if (count == 4) {
    const A w0 = w[0], w1 = w[1], w2 = w[2], w3 = w[3];
#pragma omp simd
    for (int64_t q = 0; q < n; ++q)
      t[q] = w0 * load(from[q]) + w1 * load(from[q + stride]) + w2 * load(from[q + 2 * stride]) +
             w3 * load(from[q + 3 * stride]);
    return;
  }
  if (count <= 0) {
    for (int64_t q = 0; q < n; ++q) t[q] = 0;
    return;
  }
  for (int64_t j = 0; j < count; ++j) {
    const A wj = w[j];
    const T* row = from + j * stride;
    if (j == 0) {
#pragma omp simd
      for (int64_t q = 0; q < n; ++q) t[q] = wj * load(row[q]);
    } else {
#pragma omp simd
      for (int64_t q = 0; q < n; ++q) t[q] += wj * load(row[q]);
    }
  }
}

template <class T, class A>
inline void store_row(T* out, const A* row, int64_t n) {
#pragma omp simd
  for (int64_t q = 0; q < n; ++q) store(out + q, row[q]);
}

constexpr int64_t kRowsAtOnce = 8;  // summed rows wait in L1: storing and reloading one would stall

template <class T>
struct Job {
  using A = compute_t<T>;
  const Upfirdn2dParams& p;
  const Filter<A>& f;
  int64_t c;           // interleaved channels of a plane
  int64_t halo;        // zeros before pixel 0 in a buffered row
  int64_t row_values;  // of a buffered row, halo included
};

// Output rows [begin, end) of the plane at x and out.
template <class T>
void run_rows(const Job<T>& job, const T* x, T* out, int64_t begin, int64_t end,
              compute_t<T>* buffer) {
  using A = compute_t<T>;
  const auto& [p, f, c, halo, row_values] = job;
  const int64_t width = p.ax.in * c, out_width = p.ax.out * c;
  A* result = buffer + kRowsAtOnce * row_values;
  for (int64_t oy = begin; oy < end; oy += kRowsAtOnce) {
    const int64_t rows = smaller(kRowsAtOnce, end - oy);
    if (f.is_separable) {
      for (int64_t r = 0; r < rows; ++r) {
        const Phase s = phase_of(p.ay, oy + r);
        vertical<T, A>(buffer + r * row_values + halo, x, width, p.ay, s,
                       f.along_y.at(s.k0 < p.ay.up ? s.k0 : 0), width);
      }
      for (int64_t r = 0; r < rows; ++r) {
        horizontal<false, A>(result, buffer + r * row_values + halo, p.ax, f.along_x, c);
        store_row(out + (oy + r) * out_width, result, out_width);
      }
      continue;
    }
    for (int64_t r = 0; r < rows; ++r) {
      const Phase s = phase_of(p.ay, oy + r);
      const A one = 1;
      for (int64_t q = 0; q < out_width; ++q) result[q] = 0;
      for (int64_t j = 0; j < s.count; ++j) {
        if (s.i0 + j < 0 || s.i0 + j >= p.ay.in) continue;
        vertical<T, A>(buffer + halo, x, width, p.ay, Phase{0, s.i0 + j, 1}, &one, width);
        const int64_t k = s.k0 + j * p.ay.up;
        const PhasedTaps<A> taps{f.along_x.data + k * p.ax.up * f.along_x.length, f.along_x.length};
        horizontal<true, A>(result, buffer + halo, p.ax, taps, c);
      }
      store_row(out + (oy + r) * out_width, result, out_width);
    }
  }
}

template <class T>
constexpr bool has_four_tap_kernels = false;
template <>
constexpr bool has_four_tap_kernels<float> = kHasWideVectors;
template <>
constexpr bool has_four_tap_kernels<BFloat> = kHasWideVectors;

template <class T>
int run_typed(const Upfirdn2dParams& p, const Exec& exec) {
  using A = compute_t<T>;
  const Filter<A> f = make_filter<A>(p);
  if (!f.memory) return 1;
  if constexpr (has_four_tap_kernels<T>)
    if (has_four_taps(p, f) && (!p.is_channels_last || p.c >= kLanes)) {
      const int error = run_four_taps<T>(p, f, exec);
      std::free(f.memory);
      return error;
    }
  const int64_t c = p.is_channels_last ? p.c : 1, planes = p.is_channels_last ? p.n : p.n * p.c;
  const Phase first = phase_of(p.ax, 0), last = phase_of(p.ax, p.ax.out - 1);
  const int64_t before = larger(0, -first.i0);
  // A phase that meets no tap may start past the row's end; correlations read up to `length` taps.
  const int64_t after = larger(0, last.i0 + f.along_x.length - p.ax.in) + 1;
  const int64_t row_values = (before + p.ax.in + after) * c;
  const Job<T> job{p, f, c, before * c, row_values};
  const int64_t out_row_bytes = p.ax.out * c * int64_t(sizeof(T));
  // A task is a few whole planes, or a piece of one; pieces are fixed by the shape alone.
  const int64_t rows_per_task = smaller(
      p.ay.out, divide_up(at_least_one(kGrainBytes / at_least_one(out_row_bytes)), kRowsAtOnce) *
                    kRowsAtOnce);
  const int64_t tasks_per_plane = divide_up(p.ay.out, rows_per_task);
  const int64_t grain = at_least_one(kGrainBytes / at_least_one(rows_per_task * out_row_bytes));
  bool failed = false;
  auto range = [&](int64_t begin, int64_t end) {
    const int64_t values = kRowsAtOnce * row_values + p.ax.out * c;
    A* buffer = static_cast<A*>(scratch_bytes<A>(values));
    if (!buffer) {
      __atomic_store_n(&failed, true, __ATOMIC_RELAXED);
      return;
    }
    for (int64_t i = 0; i < values; ++i) buffer[i] = 0;
    for (int64_t task = begin; task < end; ++task) {
      const int64_t plane = task / tasks_per_plane, piece = task % tasks_per_plane;
      const T* x = static_cast<const T*>(p.x) + plane * p.ay.in * p.ax.in * c;
      T* out = static_cast<T*>(p.out) + plane * p.ay.out * p.ax.out * c;
      run_rows<T>(job, x, out, piece * rows_per_task,
                  smaller(p.ay.out, (piece + 1) * rows_per_task), buffer);
    }
    std::free(buffer);
  };
  parallel(exec, planes * tasks_per_plane, grain, range);
  std::free(f.memory);
  return failed ? 1 : 0;
}

int run(const Upfirdn2dParams& p, const Exec& exec) {
  int error = 0;
  dispatch(p.dtype, [&](auto type) { error = run_typed<decltype(type)>(p, exec); });
  return error;
}

}  // namespace

extern const Upfirdn2dKernels upfirdn2d;
const Upfirdn2dKernels upfirdn2d = {run};

}  // namespace fastgan::FASTGAN_ISA
