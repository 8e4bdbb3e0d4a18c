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
