// SPDX-License-Identifier: Apache-2.0
// dx, and with it what each block has of the sums for scale, strength and b.
#pragma once

#include "../../common/partial_sums.cuh"
#include "../../common/run.cuh"
#include "noise_bias_act.h"
#include "options.cuh"

namespace fastgan::cuda {
namespace {

// du of one element. y > 0 where u > 0, and holds the clamp as its dtype rounds it.
template <class T>
struct Slope {
  using A = compute_t<T>;
  A above, below, clamp;

  __device__ __forceinline__ explicit Slope(const Options<T>& o)
      : above(o.gain), below(o.gain * o.alpha), clamp(load(narrow<T>(o.clamp))) {}
  __device__ __forceinline__ A du(A dy, A y) const {
    return (y < 0 ? -y : y) >= clamp ? A(0) : dy * (y > 0 ? above : below);
  }
};

// How the backward kernels go over one sample, counted in runs of kN elements (an index that is not
// visibly a multiple of kN costs the compiler its 16-byte stores). `blocks` blocks side by side
// take all channels; each of `slices` slices is `length` runs of every plane or, of channels_last,
// `length` positions. No division is left to the threads but one of 32 bits.
struct Walk {
  int width, blocks, slices;
  int64_t length;
};

// What a block leaves of each sum; null where it is not wanted. The first two are
// [slices, outer, channels].
template <class A>
struct Parts {
  A *dscale, *db, *dstrength;
};

// Planes. Groups of `width` adjacent threads, the least power of two that covers a plane (up to the
// whole block), take adjacent channels of one sample: a warp reads adjacent memory also where
// planes are small, and a block is full where there are kThreads / width channels.
template <class T, int kN>
__global__ void __launch_bounds__(kThreads)
    backward_planes_kernel(NoiseBiasActParams p, Options<T> o, Walk walk,
                           Parts<compute_t<T>> parts) {
  using A = compute_t<T>;
  const Slope<T> slope(o);
  const int lane = int(threadIdx.x) & (walk.width - 1), group = int(threadIdx.x) / walk.width;
  const int64_t n = blockIdx.x / unsigned(walk.blocks);
  const int64_t c = int64_t(blockIdx.x % unsigned(walk.blocks)) * (kThreads / walk.width) + group;
  const int64_t runs = p.inner / kN, plane = n * p.channels + c;
  const int64_t begin = int64_t(blockIdx.y) * walk.length;
  const int64_t end = begin + walk.length < runs ? begin + walk.length : runs;
  A sums[3] = {};  // du·x, du, du·noise
  if (c < p.channels) {
    const T* noises = static_cast<const T*>(p.noise);
    const A scale = p.scale ? static_cast<const A*>(p.scale)[plane] : A(1);
    const int64_t noise_at = p.is_noise_shared ? 0 : n * runs;
    for (int64_t r = begin + lane; r < end; r += walk.width) {
      const int64_t i = (plane * runs + r) * kN;
      Run<T, kN> run = load_run<kN>(static_cast<const T*>(p.dy) + i), y, x, noise;
      if (p.y) y = load_run<kN>(static_cast<const T*>(p.y) + i);
      if (p.x) x = load_run<kN>(static_cast<const T*>(p.x) + i);
      if (noises) noise = load_run<kN>(noises + (noise_at + r) * kN);
#pragma unroll
      for (int k = 0; k < kN; ++k) {
        const A du = slope.du(load(run.v[k]), p.y ? load(y.v[k]) : A(0));
        if (p.x) sums[0] += du * load(x.v[k]);
        sums[1] += du;
        if (noises) sums[2] += du * load(noise.v[k]);
        run.v[k] = narrow<T>(scale * du);
      }
      store_run<kN>(static_cast<T*>(p.out) + i, run);
    }
  }
  if (!parts.dscale && !parts.db && !parts.dstrength) return;
  group_sums(sums, walk.width);
  if (lane != 0 || c >= p.channels) return;
  const int64_t at = int64_t(blockIdx.y) * p.outer * p.channels + plane;
  if (parts.dscale) parts.dscale[at] = sums[0];
  if (parts.db) parts.db[at] = sums[1];
  if (parts.dstrength) parts.dstrength[at] = sums[2];
}

// channels_last. A thread owns kN adjacent channels of one sample; `width` threads lie side by
// side, the least power of two that covers a row of channels (up to a warp), and the block's
// kThreads / width rows of threads walk over the positions of a slice together.
template <class T, int kN>
__global__ void __launch_bounds__(kThreads, 4)  // at most 64 registers
    backward_columns_kernel(NoiseBiasActParams p, Options<T> o, Walk walk,
                            Parts<compute_t<T>> parts) {
  using A = compute_t<T>;
  const Slope<T> slope(o);
  const unsigned row_of_blocks = blockIdx.x / unsigned(walk.blocks);
  const int64_t n = row_of_blocks / unsigned(walk.slices);
  const int64_t slice = row_of_blocks % unsigned(walk.slices);
  const int64_t block = int64_t(blockIdx.x % unsigned(walk.blocks)) * walk.width;
  const int64_t runs = p.channels / kN, column = block + (int(threadIdx.x) & (walk.width - 1));
  const int64_t begin = slice * walk.length;
  const int64_t end = begin + walk.length < p.inner ? begin + walk.length : p.inner;
  A by_x[kN] = {}, plain[kN] = {}, by_noise[1] = {};
  if (column < runs) {
    const T* noises = static_cast<const T*>(p.noise);
    const A* scales = static_cast<const A*>(p.scale);
    const int64_t at_once = kThreads / walk.width, noise_at = p.is_noise_shared ? 0 : n * p.inner;
    for (int64_t s = begin + int(threadIdx.x) / walk.width; s < end; s += at_once) {
      const int64_t i = ((n * p.inner + s) * runs + column) * kN;
      Run<T, kN> run = load_run<kN>(static_cast<const T*>(p.dy) + i), y, x;
      if (p.y) y = load_run<kN>(static_cast<const T*>(p.y) + i);
      if (p.x) x = load_run<kN>(static_cast<const T*>(p.x) + i);
      Run<A, kN> scale;
      if (scales) scale = load_run<kN>(scales + (n * runs + column) * kN);
      A sum = 0;
#pragma unroll
      for (int k = 0; k < kN; ++k) {
        const A du = slope.du(load(run.v[k]), p.y ? load(y.v[k]) : A(0));
        if (p.x) by_x[k] += du * load(x.v[k]);
        plain[k] += du;
        sum += du;
        run.v[k] = narrow<T>(scales ? scale.v[k] * du : du);
      }
      if (noises) by_noise[0] += sum * load(noises[noise_at + s]);
      store_run<kN>(static_cast<T*>(p.out) + i, run);
    }
  }
  const int64_t own = block * kN + threadIdx.x;
  const bool is_owner = int(threadIdx.x) < walk.width * kN && own < p.channels;
  const int64_t at = (slice * p.outer + n) * p.channels + own;
  if (parts.dscale) {
    const A sum = column_sum(by_x, walk.width);
    if (is_owner) parts.dscale[at] = sum;
    __syncthreads();
  }
  if (parts.db) {
    const A sum = column_sum(plain, walk.width);
    if (is_owner) parts.db[at] = sum;
  }
  if (parts.dstrength) {
    group_sums(by_noise, kThreads);
    if (threadIdx.x == 0) parts.dstrength[blockIdx.x] = by_noise[0];
  }
}

}  // namespace
}  // namespace fastgan::cuda
