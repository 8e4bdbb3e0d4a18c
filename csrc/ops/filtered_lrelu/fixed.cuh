// Factors and separable filters that are known when compiled, those of StyleGAN3 and of their
// adjoints. A thread slides a filter over a stretch of a row or column that is in registers.
#pragma once

#include "tile.cuh"

namespace fastgan::cuda {

constexpr int kRun = 4;  // groups of `up` numbers, or outputs, that a thread makes at a time

template <int up_factor, int up_taps, int down_factor, int down_taps>
struct Factors {
  static constexpr int kUp = up_factor, kUpTaps = up_taps, kDown = down_factor;
  static constexpr int kDownTaps = down_taps, kMeets = up_taps / up_factor;
  static_assert(up_taps % up_factor == 0);
};

template <class A, int n>
struct Weights {
  A w[n];

  __device__ __forceinline__ Weights(const void* f, bool is_flipped, A gain) {
#pragma unroll
    for (int k = 0; k < n; ++k) w[k] = static_cast<const A*>(f)[is_flipped ? k : n - 1 - k] * gain;
  }
};

// `count` groups of kUp numbers from a line whose places are `step` apart, kRun groups from `group`
// on; group q meets places q … q + kMeets.
template <class F, class A>
__device__ __forceinline__ void up_line(A* to, int to_step, const A* from, int step,
                                        const Weights<A, F::kUpTaps>& f) {
  A c[kRun + F::kMeets];
#pragma unroll
  for (int m = 0; m < kRun + F::kMeets; ++m) c[m] = from[m * step];
#pragma unroll
  for (int q = 0; q < kRun; ++q)
#pragma unroll
    for (int r = 0; r < F::kUp; ++r) {
      A sum = 0;
#pragma unroll
      for (int m = 0; m < F::kMeets; ++m)
        sum += f.w[(r ? F::kUp - r : 0) + m * F::kUp] * c[q + m + (r ? 1 : 0)];
      to[(q * F::kUp + r) * to_step] = sum;
    }
}

template <class F, class A>
__device__ __forceinline__ void down_line(A* to, int to_step, const A* from, int step,
                                          const Weights<A, F::kDownTaps>& f) {
  A sums[kRun] = {};
#pragma unroll
  for (int k = 0; k < (kRun - 1) * F::kDown + F::kDownTaps; ++k) {
    const A c = from[k * step];
#pragma unroll
    for (int q = 0; q < kRun; ++q)
      if (k >= q * F::kDown && k - q * F::kDown < F::kDownTaps)
        sums[q] += f.w[k - q * F::kDown] * c;
  }
#pragma unroll
  for (int q = 0; q < kRun; ++q) to[q * to_step] = sums[q];
}

template <class T, class F>
__global__ void __launch_bounds__(kThreads) fixed_kernel(FilteredLreluParams p, Tiling t) {
  using A = compute_t<T>;
  const Block<T> b(p, t);
  load_tile(p, t, b);
  __syncthreads();
  {
    const Weights<A, F::kUpTaps> f(p.fu, p.is_flipped, A(1));
    const int runs = t.wide.x / (kRun * F::kUp);
    for (int i = threadIdx.x; i < t.in.y * runs; i += kThreads) {  // lanes one above the other
      const int run = i / t.in.y, row = i - run * t.in.y;
      up_line<F>(b.across + row * b.wide_pitch + run * kRun * F::kUp, 1,
                 b.in + row * b.in_pitch + run * kRun, 1, f);
    }
  }
  __syncthreads();
  {
    const Weights<A, F::kUpTaps> f(p.fu, p.is_flipped, A(p.up_gain));
    const int runs = t.wide.y / (kRun * F::kUp);
    for (int i = threadIdx.x; i < runs * t.wide.x; i += kThreads) {  // lanes side by side
      const int run = i / t.wide.x, column = i - run * t.wide.x;
      up_line<F>(b.wide + run * kRun * F::kUp * b.wide_pitch + column, b.wide_pitch,
                 b.across + run * kRun * b.wide_pitch + column, b.wide_pitch, f);
    }
  }
  __syncthreads();
  activate_tile(p, b);
  __syncthreads();
  const Weights<A, F::kDownTaps> g(p.fd, p.is_flipped, A(1));
  for (int i = threadIdx.x; i < t.out.y / kRun * t.wide.x; i += kThreads) {
    const int run = i / t.wide.x, column = i - run * t.wide.x, row = run * kRun;
    down_line<F>(b.down + row * b.wide_pitch + column, b.wide_pitch,
                 b.wide + (b.y.origin + row * F::kDown) * b.wide_pitch + column, b.wide_pitch, g);
  }
  __syncthreads();
  for (int i = threadIdx.x; i < t.out.y * (t.out.x / kRun); i += kThreads) {
    const int run = i / t.out.y, row = i - run * t.out.y;
    down_line<F>(b.result + row * b.out_pitch + run * kRun, 1,
                 b.down + row * b.wide_pitch + b.x.origin + run * kRun * F::kDown, 1, g);
  }
  __syncthreads();
  store_tile(p, b);
}

}  // namespace fastgan::cuda
