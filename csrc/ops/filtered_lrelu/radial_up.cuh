// SPDX-License-Identifier: Apache-2.0
// A radial filter of 12 × 12 taps first, with up = 2, and a separable one after the slopes that an
// earlier pass kept: the adjoint of StyleGAN3-R's layers.
//
// Two neighbouring columns of v, an odd and an even one, meet the same six columns of x, with
// weights that are each other's mirror image. So with P[m] = X[m] + X[5-m] and D[m] = X[m] - X[5-m]
//   A = Σ_m ½(f[2m] + f[2m+1]) · P[m],   B = Σ_m ½(f[2m] - f[2m+1]) · D[m]     0 ≤ m < 3
// the one is A - B and the other A + B: half the products.
#pragma once

#include "march.cuh"
#include "radial.cuh"

namespace fastgan::cuda {

struct PairWeights {
  float sum[kHalf][kHalf / 2], difference[kHalf][kHalf / 2];

  __device__ __forceinline__ PairWeights(const void* filter) {
#pragma unroll
    for (int i = 0; i < kHalf; ++i)
#pragma unroll
      for (int m = 0; m < kHalf / 2; ++m) {
        const float* f = static_cast<const float*>(filter) + i * kRadialTaps + 2 * m;
        sum[i][m] = 0.5f * (f[0] + f[1]);
        difference[i][m] = 0.5f * (f[0] - f[1]);
      }
  }
};

// v of two rows, and of two pairs of columns, that meet six rows of x from `slot` rows ago on.
struct PairSums {
  float a[2][2], b[2][2];  // [row][pair]
};

// Rows of v under way, six pairs of them, get a row of x; the first pair is complete.
__device__ __forceinline__ void add_row(PairSums (&under_way)[kHalf], const float* from,
                                        const PairWeights& f) {
  float c[kHalf + 1];
  load_numbers<kHalf + 1, 2>(c, from);
#pragma unroll
  for (int pair = 0; pair < 2; ++pair) {
    float sum[kHalf / 2], difference[kHalf / 2];
#pragma unroll
    for (int m = 0; m < kHalf / 2; ++m) {
      sum[m] = c[pair + m] + c[pair + kHalf - 1 - m];
      difference[m] = c[pair + m] - c[pair + kHalf - 1 - m];
    }
#pragma unroll
    for (int slot = 0; slot < kHalf; ++slot)
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const int tap = 1 - j + 2 * (kHalf - 1 - slot);
        const int row = tap < kHalf ? tap : kRadialTaps - 1 - tap;
#pragma unroll
        for (int m = 0; m < kHalf / 2; ++m) {
          under_way[slot].a[j][pair] += f.sum[row][m] * sum[m];
          under_way[slot].b[j][pair] += f.difference[row][m] * difference[m];
        }
      }
  }
}

__device__ __forceinline__ void next_pair(PairSums (&under_way)[kHalf]) {
#pragma unroll
  for (int slot = 0; slot + 1 < kHalf; ++slot) under_way[slot] = under_way[slot + 1];
  under_way[kHalf - 1] = PairSums{};
}

// v of row j, for a filter of any values, from x itself. row, column: the place of x that they meet
// first.
template <class T>
__device__ __forceinline__ void any_up(float (&v)[kColumns], const FilteredLreluParams& p,
                                       int plane, int row, int column, int j, float scale) {
  const int height = int(p.ay.in), width = int(p.ax.in);
  const T* x = static_cast<const T*>(p.x) + int64_t(plane) * height * width;
#pragma unroll
  for (int k = 0; k < kColumns; ++k) v[k] = 0;
#pragma unroll 1
  for (int i = 0; i < kHalf * kHalf; ++i) {
    const int my = i / kHalf, mx = i - my * kHalf, iy = row + my;
    if (iy < 0 || iy >= height) continue;
#pragma unroll
    for (int k = 0; k < kColumns; ++k) {
      const int ix = column + k / 2 + mx;
      const int tap = (1 - j + 2 * my) * kRadialTaps + 1 - k % 2 + 2 * mx;
      const int at = p.is_flipped ? tap : kRadialTaps * kRadialTaps - 1 - tap;
      if (ix >= 0 && ix < width)
        v[k] += static_cast<const float*>(p.fu)[at] * (load(x[int64_t(iy) * width + ix]) * scale);
    }
  }
}

template <class T, class F>
__global__ void __launch_bounds__(kRadialThreads, F::kIn > 1 ? 2 : 3)  // so that nothing spills
    radial_up_kernel(FilteredLreluParams p, March t) {
  using B = RadialBuffers<F>;
  static_assert(F::kUp == 2 && F::kUpTaps == kRadialTaps);
  const Walker<F> w(p, t);
  float* in = dynamic_shared<float>() + w.unit_here * B::kSize;
  float* wide = in + 2 * B::kIn + w.lane * kColumns;
  const float* from = in + w.lane * 2;
  Rows<T, F> rows(p, t, w);
  CodesGiven<F> codes(p, w, F::kSkip);
  Outputs<T, F> outputs(p, w);
  const bool is_radial_filter = is_radial(p.fu);
  const PairWeights f(p.fu);
  const Weights<F::kDownTaps> g(p.fd, p.is_flipped, p.gain < 0);
  PairSums under_way[kHalf] = {};
  float sums[F::kUnderWay][F::kOuts] = {};
  rows.fetch();
  rows.put(in + (F::kBefore & 1) * B::kIn, B::kInPitch);
  rows.fetch();
  codes.fetch();
  __syncthreads();
#pragma unroll 1
  for (int before = F::kBefore; before > 0; --before) {
    const int place = before & 1;
#pragma unroll
    for (int i = 0; i < F::kIn; ++i) {
      add_row(under_way, from + place * B::kIn + i * B::kInPitch, f);
      next_pair(under_way);
    }
    rows.put(in + (place ^ 1) * B::kIn, B::kInPitch);
    rows.fetch();
    __syncthreads();
  }
  for (int steps = 0; steps < t.steps; steps += kUnroll) {
#pragma unroll
    for (int step = 0; step < kUnroll; ++step) {
      const int place = step & 1;
#pragma unroll
      for (int i = 0; i < F::kIn; ++i) {
        add_row(under_way, from + place * B::kIn + i * B::kInPitch, f);
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          float v[kColumns];
#pragma unroll
          for (int k = 0; k < kColumns; ++k) {
            const float a = under_way[0].a[j][k / 2], b = under_way[0].b[j][k / 2];
            v[k] = k % 2 ? a + b : a - b;
          }
          if (!is_radial_filter)
            any_up<T>(v, p, w.plane, Walker<F>::first_of(p.ay, w.y) + (steps + step) * F::kIn + i,
                      Walker<F>::first_of(p.ax, w.x) + w.lane * 2, j, t.scale);
          apply_codes(v, codes.of(2 * i + j), t.slope);
          store_columns(wide + place * B::kWide + (2 * i + j) * B::kWidePitch, v);
        }
        next_pair(under_way);
      }
      rows.put(in + (place ^ 1) * B::kIn, B::kInPitch);
      rows.fetch();
      codes.fetch();
      __syncthreads();
#pragma unroll
      for (int row = 0; row < F::kGroup; ++row) {
        float y[F::kOuts];
        down_across<F, F::kSkip>(y, wide + place * B::kWide + row * B::kWidePitch, g);
        down_into<F>(sums, y, row, g);
      }
#pragma unroll
      for (int q = 0; q < F::kOut; ++q) outputs.store(sums[q]);
      move_on<F>(sums);
    }
  }
}

}  // namespace fastgan::cuda
