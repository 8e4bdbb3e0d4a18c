// A separable filter first, of factors and taps that are known when compiled: those of StyleGAN3-T
// and of their adjoints, and, with a radial second filter, those of StyleGAN3-R.
#pragma once

#include "march.cuh"

namespace fastgan::cuda {

// v's values of a thread's columns in one row of x that is in shared memory.
template <class F>
__device__ __forceinline__ void up_across(float (&to)[kColumns], const float* from,
                                          const Weights<F::kUpTaps>& f) {
  float c[F::kColumnsMet];
  load_numbers<F::kColumnsMet, kColumns / F::kUp>(c, from);
#pragma unroll
  for (int j = 0; j < kColumns; ++j) {
    const int place = j > F::kPhase ? (j - F::kPhase + F::kUp - 1) / F::kUp : 0;
    const int tap = F::kPhase + place * F::kUp - j;
    float sum = 0;
#pragma unroll
    for (int m = 0; m < F::kMeets; ++m) sum += f.w[tap + m * F::kUp] * c[place + m];
    to[j] = sum;
  }
}

// Adds a row of w, the step's `t`-th, to the outputs under way.
template <class F, int n>
__device__ __forceinline__ void down_into(float (&sums)[F::kUnderWay][n], const float (&w)[n],
                                          int t, const Weights<F::kDownTaps>& g) {
#pragma unroll
  for (int d = 0; d < F::kUnderWay; ++d) {
    const int tap = t - F::kSkip - (d - F::kLast) * F::kDown;
    if (tap < 0 || tap >= F::kDownTaps) continue;
#pragma unroll
    for (int k = 0; k < n; ++k) sums[d][k] += g.w[tap] * w[k];
  }
}

template <class F, int n>
__device__ __forceinline__ void move_on(float (&sums)[F::kUnderWay][n]) {
#pragma unroll
  for (int d = 0; d < F::kUnderWay; ++d)
#pragma unroll
    for (int k = 0; k < n; ++k) sums[d][k] = d + F::kOut < F::kUnderWay ? sums[d + F::kOut][k] : 0;
}

constexpr int kMarchThreads = 256, kMarchLanes = 64, kUnroll = 2;

// h, the rows of x filtered along x, moves on by one row.
template <class F>
__device__ __forceinline__ void next_row(float (&h)[F::kMeets][kColumns], const float* from,
                                         const Weights<F::kUpTaps>& f) {
#pragma unroll
  for (int m = 0; m + 1 < F::kMeets; ++m)
#pragma unroll
    for (int k = 0; k < kColumns; ++k) h[m][k] = h[m + 1][k];
  up_across<F>(h[F::kMeets - 1], from, f);
}

// w of row j of those that meet the same rows of x.
template <class F>
__device__ __forceinline__ void up_down(float (&v)[kColumns], const float (&h)[F::kMeets][kColumns],
                                        int j, const Weights<F::kUpTaps>& f) {
#pragma unroll
  for (int k = 0; k < kColumns; ++k) v[k] = 0;
#pragma unroll
  for (int m = 0; m < F::kMeets; ++m)
#pragma unroll
    for (int k = 0; k < kColumns; ++k) v[k] += f.w[F::kUp - 1 - j + m * F::kUp] * h[m][k];
}

template <class T, class F>
__global__ void __launch_bounds__(kMarchThreads, 2)
    separable_kernel(FilteredLreluParams p, March t) {
  using B = Buffers<F, kMarchLanes, F::kOut>;
  const Walker<F> w(p, t);
  float* in = dynamic_shared<float>() + w.unit_here * B::kSize;
  float* wide = in + 2 * B::kIn + w.lane * kColumns;
  const float* from = in + w.lane * (kColumns / F::kUp);
  Rows<T, F> rows(p, t, w);
  Codes<F> codes(p, w, w.lane * kColumns);
  Outputs<T, F> outputs(p, w);
  const Weights<F::kUpTaps> f(p.fu, p.is_flipped, false);
  const Weights<F::kDownTaps> g(p.fd, p.is_flipped, p.gain < 0);
  const bool is_read = p.mode == Signs::kRead;
  float h[F::kMeets][kColumns] = {}, sums[F::kUnderWay][kColumns] = {};
  rows.fetch();
  rows.put(in + (F::kBefore & 1) * B::kIn, B::kInPitch);
  rows.fetch();
  if (is_read) codes.fetch();
  __syncthreads();
#pragma unroll
  for (int before = F::kBefore; before > 0; --before) {
#pragma unroll
    for (int i = 0; i < F::kIn; ++i)
      next_row<F>(h, from + (before & 1) * B::kIn + i * B::kInPitch, f);
    rows.put(in + (~before & 1) * B::kIn, B::kInPitch);
    rows.fetch();
    __syncthreads();
  }
  for (int steps = 0; steps < t.steps; steps += kUnroll) {
#pragma unroll
    for (int step = 0; step < kUnroll; ++step) {
      const int place = step & 1;
#pragma unroll
      for (int i = 0; i < F::kIn; ++i) {
        next_row<F>(h, from + place * B::kIn + i * B::kInPitch, f);
#pragma unroll
        for (int j = 0; j < F::kUp; ++j) {
          float v[kColumns];
          up_down<F>(v, h, j, f);
          if (is_read)
            apply_codes(v, codes.next[i * F::kUp + j] >> codes.shift, t.slope);
          else
            codes.write(activate(v, t.slope, t.clamp));
          down_into<F>(sums, v, i * F::kUp + j, g);
        }
      }
      rows.put(in + (place ^ 1) * B::kIn, B::kInPitch);
      rows.fetch();
      if (is_read) codes.fetch();
#pragma unroll
      for (int q = 0; q < F::kOut; ++q)
        store_columns(wide + place * B::kWide + q * B::kWidePitch, sums[q]);
      move_on<F>(sums);
      __syncthreads();
#pragma unroll
      for (int q = 0; q < F::kOut; ++q) {
        constexpr int kCount = (F::kOuts - 1) * F::kDown + F::kDownTaps;
        float c[kCount], y[F::kOuts] = {};
        load_numbers<kCount, 4>(c, wide + place * B::kWide + q * B::kWidePitch);
#pragma unroll
        for (int k = 0; k < F::kDownTaps; ++k)
#pragma unroll
          for (int o = 0; o < F::kOuts; ++o) y[o] += g.w[k] * c[o * F::kDown + k];
        outputs.store(y);
      }
    }
  }
}

}  // namespace fastgan::cuda
