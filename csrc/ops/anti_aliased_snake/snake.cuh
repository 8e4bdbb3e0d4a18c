// SPDX-License-Identifier: Apache-2.0
// The activation on one up-sampled sample, and its derivatives.
#pragma once

#include "anti_aliased_snake.h"
#include "half_turn.cuh"

namespace fastgan {

// A row has a block, so its number has 32 bits.
__device__ __forceinline__ int64_t channel_of(const AntiAliasedSnakeParams& p, int64_t row) {
  return unsigned(row) % unsigned(p.channels);
}

template <class A>
struct Snake {
  A alpha, height;  // height = 1 / (β + ε)
};

template <class A>
__device__ __forceinline__ Snake<A> snake_of(const AntiAliasedSnakeParams& p, int64_t channel) {
  return {static_cast<const A*>(p.alpha)[channel],
          A(1) / (static_cast<const A*>(p.beta)[channel] + A(kSnakeEps))};
}

template <class A>
__device__ __forceinline__ A activate(A u, Snake<A> o) {
  const A sine = half_turn(o.alpha * u).sine;
  return u + o.height * sine * sine;
}

// The same with u in another unit, which filters before and after take in without a product: their
// weights are multiplied by `unit` and by 1 / unit. Turns of π, so that α·u/π less a whole number
// is exact; 1 where α is 0. sin²(π·r) is r²·Σ_k c[k]·r^2k, to within 1.4e-8 of it, on |r| ≤ 1/2.
template <class T>
struct Bend {
  using A = compute_t<T>;
  static constexpr int kTerms = 6;
  A unit, c[kTerms];

  __device__ __forceinline__ Bend(const AntiAliasedSnakeParams& p, int64_t channel) {
    constexpr A kSquare[kTerms] = {A(9.86960426),   A(-32.46966236), A(42.72692744),
                                   A(-30.09855323), A(13.03711185),  A(-3.33621098)};
    const Snake<A> o = snake_of<A>(p, channel);
    const bool is_flat = o.alpha < A(1e-30) && o.alpha > A(-1e-30);
    unit = is_flat ? A(1) : o.alpha * A(0.31830988618379067);
    const A height = is_flat ? A(0) : o.height * unit;
#pragma unroll
    for (int k = 0; k < kTerms; ++k) c[k] = height * kSquare[k];
  }
  __device__ __forceinline__ A operator()(A u) const {
    const A rest = u - rintf(u), q = rest * rest;
    A sum = c[kTerms - 1];
#pragma unroll
    for (int k = kTerms - 2; k >= 0; --k) sum = sum * q + c[k];
    return q * sum + u;
  }
};

// float64: u as it is, and the series.
template <>
struct Bend<double> {
  Snake<double> o;
  static constexpr double unit = 1;

  __device__ __forceinline__ Bend(const AntiAliasedSnakeParams& p, int64_t channel)
      : o(snake_of<double>(p, channel)) {}
  __device__ __forceinline__ double operator()(double u) const { return activate(u, o); }
};

// 16 bits: the sine unit, whose error of 5e-7 is far below what y is rounded by, and radians.
struct QuickBend {
  float unit, height;

  __device__ __forceinline__ QuickBend(const AntiAliasedSnakeParams& p, int64_t channel) {
    const Snake<float> o = snake_of<float>(p, channel);
    const bool is_flat = o.alpha < 1e-30f && o.alpha > -1e-30f;
    unit = is_flat ? 1.0f : o.alpha;
    height = is_flat ? 0.0f : o.height * unit;
  }
  __device__ __forceinline__ float operator()(float u) const {
    const float sine = __sinf(u);
    return height * sine * sine + u;
  }
};
template <>
struct Bend<__half> : QuickBend {
  using QuickBend::QuickBend;
};
template <>
struct Bend<__nv_bfloat16> : QuickBend {
  using QuickBend::QuickBend;
};

// Σ dv·∂v/∂α and Σ dv·∂v/∂β.
template <class A>
struct SnakeSums {
  A alpha, beta;
};

// du of one sample; adds to `sums` where it is counted.
template <class A>
__device__ __forceinline__ A activate_backward(A u, A dv, Snake<A> o, bool is_counted,
                                               SnakeSums<A>& sums) {
  const HalfTurn<A> h = half_turn(o.alpha * u);
  const A sine = 2 * h.sine * h.cosine;
  if (is_counted) {
    sums.alpha += o.height * (dv * u * sine);
    sums.beta -= o.height * o.height * (dv * h.sine * h.sine);
  }
  return dv * (1 + o.alpha * o.height * sine);
}

// Adds the sums of a block of whole warps, in an order that is the same every time, and leaves them
// in row `row` (a signal), column `tile` of the scratch that launch_column_sums() adds up. For the
// whole block to call, once.
template <class A>
struct BlockSums {
  SnakeSums<A> sums[kThreads / 32];
};
template <class A>
__device__ __forceinline__ void store_sums(const AntiAliasedSnakeParams& p, SnakeSums<A> sums,
                                           int64_t row, int tile, int tiles) {
  BlockSums<A>& memory = shared<BlockSums<A>>();
#pragma unroll
  for (int offset = 16; offset > 0; offset >>= 1) {
    sums.alpha += __shfl_xor_sync(0xffffffffu, sums.alpha, offset);
    sums.beta += __shfl_xor_sync(0xffffffffu, sums.beta, offset);
  }
  if (threadIdx.x % 32 == 0) memory.sums[threadIdx.x / 32] = sums;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int warp = 1; warp < int(blockDim.x) / 32; ++warp) {
    sums.alpha += memory.sums[warp].alpha;
    sums.beta += memory.sums[warp].beta;
  }
  const int64_t channel = channel_of(p, row), sample = unsigned(row) / unsigned(p.channels);
  A* parts = static_cast<A*>(p.scratch) + (sample * tiles + tile) * p.channels + channel;
  parts[0] = sums.alpha;
  parts[p.rows * tiles] = sums.beta;
}

}  // namespace fastgan
