// SPDX-License-Identifier: Apache-2.0
// A filter of 12 × 12 taps that is radially symmetric: f[i][j] = f[11-i][j] = f[i][11-j] = f[j][i].
// 21 numbers tell it, and columns that it weighs alike are added before they are multiplied.
#pragma once

#include "march.cuh"

namespace fastgan::cuda {

constexpr int kRadialTaps = 12, kHalf = kRadialTaps / 2;
constexpr int kRadialThreads = 128, kRadialLanes = 48;
template <class F>
using RadialBuffers = Buffers<F, kRadialLanes, F::kGroup>;

// For whole warps to call: whether the filter is, but for what rounding may have done to it.
__device__ __forceinline__ bool is_radial(const void* filter) {
  const float* f = static_cast<const float*>(filter);
  bool differs = false;
#pragma unroll 1
  for (int i = int(threadIdx.x) % 32; i < kRadialTaps * kRadialTaps; i += 32) {
    const int ky = i / kRadialTaps, kx = i % kRadialTaps;
    const int a = ky < kHalf ? ky : kRadialTaps - 1 - ky;
    const int b = kx < kHalf ? kx : kRadialTaps - 1 - kx;
    const float same = f[a < b ? a * kRadialTaps + b : b * kRadialTaps + a];
    differs |= !(fabsf(f[i] - same) <= 5e-7f * fabsf(same));
  }
  return !__any_sync(0xffffffffu, differs);
}

struct RadialWeights {
  float w[kHalf * (kHalf + 1) / 2];

  __device__ __forceinline__ RadialWeights(const void* filter, float sign) {
#pragma unroll
    for (int i = 0; i < kHalf; ++i)
#pragma unroll
      for (int j = i; j < kHalf; ++j)
        w[index(i, j)] = static_cast<const float*>(filter)[i * kRadialTaps + j] * sign;
  }
  static __device__ __forceinline__ constexpr int index(int i, int j) {
    return i < j ? j * (j + 1) / 2 + i : i * (i + 1) / 2 + j;
  }
};

// Adds row `t` of the step, whose columns from a thread's own on are at `from`.
template <class F>
__device__ __forceinline__ void radial_down_into(float (&sums)[F::kUnderWay][F::kOuts],
                                                 const float* from, int t, const RadialWeights& g) {
  constexpr int kCount = (F::kOuts - 1) * F::kDown + kRadialTaps;
  float c[kCount], folded[F::kOuts][kHalf];
  load_numbers<kCount, 4>(c, from);
#pragma unroll
  for (int q = 0; q < F::kOuts; ++q)
#pragma unroll
    for (int k = 0; k < kHalf; ++k)
      folded[q][k] = c[q * F::kDown + k] + c[q * F::kDown + kRadialTaps - 1 - k];
#pragma unroll
  for (int d = 0; d < F::kUnderWay; ++d) {
    const int tap = t - F::kSkip - (d - F::kLast) * F::kDown;
    if (tap < 0 || tap >= kRadialTaps) continue;
    const int row = tap < kHalf ? tap : kRadialTaps - 1 - tap;
#pragma unroll
    for (int k = 0; k < kHalf; ++k)
#pragma unroll
      for (int q = 0; q < F::kOuts; ++q)
        sums[d][q] += g.w[RadialWeights::index(row, k)] * folded[q][k];
  }
}

// The same for a filter of any values, which is read where it lies.
template <class F>
__device__ __forceinline__ void any_down_into(float (&sums)[F::kUnderWay][F::kOuts],
                                              const float* from, int t,
                                              const FilteredLreluParams& p, float sign) {
  const float* f = static_cast<const float*>(p.fd);
#pragma unroll 1
  for (int k = 0; k < kRadialTaps; ++k) {
    float c[F::kOuts];
#pragma unroll
    for (int q = 0; q < F::kOuts; ++q) c[q] = from[q * F::kDown + k] * sign;
#pragma unroll
    for (int d = 0; d < F::kUnderWay; ++d) {
      const int tap = t - F::kSkip - (d - F::kLast) * F::kDown;
      if (tap < 0 || tap >= kRadialTaps) continue;
      const int i = tap * kRadialTaps + k;
      const float weight = f[p.is_flipped ? i : kRadialTaps * kRadialTaps - 1 - i];
#pragma unroll
      for (int q = 0; q < F::kOuts; ++q) sums[d][q] += weight * c[q];
    }
  }
}

}  // namespace fastgan::cuda
