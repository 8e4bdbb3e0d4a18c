// SPDX-License-Identifier: Apache-2.0
// Sums over a block, in an order that is the same every time.
#pragma once

#include "platform.cuh"

namespace fastgan {

template <class A>
struct WarpSums {
  A sums[kThreads / 32];
};

// Sum of `v` over a block of kThreads threads; the result is valid in thread 0. May be called again
// after a __syncthreads().
template <class A>
__device__ __forceinline__ A block_sum(A v) {
  WarpSums<A>& memory = shared<WarpSums<A>>();
#pragma unroll
  for (int offset = 16; offset > 0; offset >>= 1) v += __shfl_xor_sync(0xffffffffu, v, offset);
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  if (lane == 0) memory.sums[warp] = v;
  __syncthreads();
  if (warp != 0) return v;
  v = lane < kThreads / 32 ? memory.sums[lane] : A(0);
#pragma unroll
  for (int offset = 16; offset > 0; offset >>= 1) v += __shfl_xor_sync(0xffffffffu, v, offset);
  return v;
}

}  // namespace fastgan
