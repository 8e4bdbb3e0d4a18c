// SPDX-License-Identifier: Apache-2.0
// A separable filter first, of factors and taps that are known when compiled: those of StyleGAN3-T
// and of their adjoints, and, with a radial second filter, those of StyleGAN3-R.
#pragma once

#include "march.cuh"
#include "radial.cuh"

namespace fastgan::cuda {

// The first half of a step: rows of w from rows of x.
template <class T, class F, bool is_read>
struct SeparableUp {
  Rows<T, F> rows;
  std::conditional_t<is_read, CodesGiven<F>, CodesMade<F>> codes;
  Weights<F::kUpTaps> f;
  float h[F::kMeets][kColumns] = {};  // rows of x, filtered along x
  const float* from;
  float* in;
  int pitch, place_size;

  template <class B>
  __device__ __forceinline__ SeparableUp(const FilteredLreluParams& p, const March& t,
                                         const Walker<F>& w, float* tile, B)
      : rows(p, t, w),
        codes(made_of(p, w)),
        f(p.fu, p.is_flipped, false),
        from(tile + w.lane * (kColumns / F::kUp)),
        in(tile),
        pitch(B::kInPitch),
        place_size(B::kIn) {}

  static __device__ __forceinline__ auto made_of(const FilteredLreluParams& p, const Walker<F>& w) {
    if constexpr (is_read)
      return CodesGiven<F>(p, w, 0);
    else
      return CodesMade<F>(p, w);
  }

  // h moves on by one row of x.
  __device__ __forceinline__ void across(const float* row) {
#pragma unroll
    for (int m = 0; m + 1 < F::kMeets; ++m)
#pragma unroll
      for (int k = 0; k < kColumns; ++k) h[m][k] = h[m + 1][k];
    float c[F::kColumnsMet];
    load_numbers<F::kColumnsMet, kColumns / F::kUp>(c, row);
#pragma unroll
    for (int j = 0; j < kColumns; ++j) {
      const int place = j > F::kPhase ? (j - F::kPhase + F::kUp - 1) / F::kUp : 0;
      const int tap = F::kPhase + place * F::kUp - j;
      float sum = 0;
#pragma unroll
      for (int m = 0; m < F::kMeets; ++m) sum += f.w[tap + m * F::kUp] * c[place + m];
      h[F::kMeets - 1][j] = sum;
    }
  }

  // Brings the next rows of x to the place that the next step reads.
  __device__ __forceinline__ void bring(int place) {
    rows.put(in + place * place_size, pitch);
    rows.fetch();
  }

  __device__ __forceinline__ void begin() {
    rows.fetch();
    bring(F::kBefore & 1);
    if constexpr (is_read) codes.fetch();
    __syncthreads();
#pragma unroll 1
    for (int before = F::kBefore; before > 0; --before) {
      const int place = before & 1;
#pragma unroll
      for (int i = 0; i < F::kIn; ++i) across(from + place * place_size + i * pitch);
      bring(place ^ 1);
      __syncthreads();
    }
  }

  // Calls use(t, w) for each of the step's rows.
  template <class Use>
  __device__ __forceinline__ void step(const March& t, int place, Use&& use) {
#pragma unroll
    for (int i = 0; i < F::kIn; ++i) {
      across(from + place * place_size + i * pitch);
#pragma unroll
      for (int j = 0; j < F::kUp; ++j) {
        float v[kColumns] = {};
#pragma unroll
        for (int m = 0; m < F::kMeets; ++m)
#pragma unroll
          for (int k = 0; k < kColumns; ++k) v[k] += f.w[F::kUp - 1 - j + m * F::kUp] * h[m][k];
        if constexpr (is_read)
          apply_codes(v, codes.of(i * F::kUp + j), t.slope);
        else
          codes.write(activate(v, t.slope, t.clamp));
        use(i * F::kUp + j, v);
      }
    }
    bring(place ^ 1);
    if constexpr (is_read) codes.fetch();
  }
};

constexpr int kMarchThreads = 256, kMarchLanes = 64;
template <class F>
using SeparableBuffers = Buffers<F, kMarchLanes, F::kOut>;

template <class T, class F, bool is_read>
__global__ void __launch_bounds__(kMarchThreads, 2)
    separable_kernel(FilteredLreluParams p, March t) {
  using B = SeparableBuffers<F>;
  const Walker<F> w(p, t);
  float* tile = dynamic_shared<float>() + w.unit_here * B::kSize;
  float* wide = tile + 2 * B::kIn + w.lane * kColumns;
  SeparableUp<T, F, is_read> up(p, t, w, tile, B());
  Outputs<T, F> outputs(p, w);
  const Weights<F::kDownTaps> g(p.fd, p.is_flipped, p.gain < 0);
  float sums[F::kUnderWay][kColumns] = {};
  up.begin();
  for (int steps = 0; steps < t.steps; steps += kUnroll) {
#pragma unroll
    for (int step = 0; step < kUnroll; ++step) {
      const int place = step & 1;
      up.step(t, place,
              [&](int row, const float (&v)[kColumns]) { down_into<F>(sums, v, row, g); });
#pragma unroll
      for (int q = 0; q < F::kOut; ++q)
        store_columns(wide + place * B::kWide + q * B::kWidePitch, sums[q]);
      move_on<F>(sums);
      __syncthreads();
#pragma unroll
      for (int q = 0; q < F::kOut; ++q) {
        float y[F::kOuts];
        down_across<F, 0>(y, wide + place * B::kWide + q * B::kWidePitch, g);
        outputs.store(y);
      }
    }
  }
}

// The filter down is radial, or of any other values; one that is radial costs less than half.
template <class T, class F, bool is_read>
__global__ void __launch_bounds__(kRadialThreads, 3)
    radial_down_kernel(FilteredLreluParams p, March t) {
  using B = RadialBuffers<F>;
  const Walker<F> w(p, t);
  float* tile = dynamic_shared<float>() + w.unit_here * B::kSize;
  float* wide = tile + 2 * B::kIn + w.lane * kColumns;
  SeparableUp<T, F, is_read> up(p, t, w, tile, B());
  Outputs<T, F> outputs(p, w);
  const float sign = p.gain < 0 ? -1.0f : 1.0f;
  const bool is_radial_filter = is_radial(p.fd);
  const RadialWeights g(p.fd, sign);
  float sums[F::kUnderWay][F::kOuts] = {};
  up.begin();
  for (int steps = 0; steps < t.steps; steps += kUnroll) {
#pragma unroll
    for (int step = 0; step < kUnroll; ++step) {
      const int place = step & 1;
      up.step(t, place, [&](int row, const float (&v)[kColumns]) {
        store_columns(wide + place * B::kWide + row * B::kWidePitch, v);
      });
      __syncthreads();
#pragma unroll
      for (int row = 0; row < F::kGroup; ++row) {
        const float* from = wide + place * B::kWide + row * B::kWidePitch;
        if (is_radial_filter)
          radial_down_into<F>(sums, from, row, g);
        else
          any_down_into<F>(sums, from, row, p, sign);
      }
#pragma unroll
      for (int q = 0; q < F::kOut; ++q) outputs.store(sums[q]);
      move_on<F>(sums);
    }
  }
}

}  // namespace fastgan::cuda
