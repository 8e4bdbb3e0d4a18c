// SPDX-License-Identifier: Apache-2.0
// The arithmetic of zero insertion that is known when a kernel is compiled, and the taps.
#pragma once

#include "../../common/platform.cuh"
#include "upfirdn2d.h"

namespace fastgan::cuda {

constexpr int kEnoughBlocks = 4 * 132;  // for the largest GPU, before a thread or block takes more

// One axis whose output 0 meets tap 0 on input 0: output o meets the taps tap(o, 0), tap(o, 1), …
// on the inputs first(o), first(o) + 1, …
template <int kUp, int kDown, int kTaps>
struct Polyphase {
  static_assert(kTaps % kUp == 0, "every output meets the same number of taps");
  static constexpr int kMet = kTaps / kUp;
  static constexpr int first(int o) { return (o * kDown + kUp - 1) / kUp; }
  static constexpr int tap(int o, int t) { return (first(o) + t) * kUp - o * kDown; }
  // Inputs that `outputs` outputs read, and by how many those of the next ones lie further.
  static constexpr int window(int outputs) { return first(outputs - 1) + kMet; }
  static constexpr int advance(int outputs) { return outputs * kDown / kUp; }
};

// An axis cut into strips that begin on one phase: output 0 of strip 0 is output -lead of the op,
// and meets tap 0 on input -origin. A lead below `up` makes that possible for every padding.
struct Phased {
  int in, out, lead, origin;

  Phased() = default;
  explicit Phased(const Axis& a) : in(int(a.in)), out(int(a.out)) {
    const int64_t up = a.up;
    lead = int(((-a.pad) % up + up) % up);
    origin = int((a.pad + lead) / up);
  }

  // The same for up = 2 where output 0 of strip 0 meets tap 1 on input -origin, and output 1 tap 0
  // on the same input: the two outputs that lie between two inputs.
  static Phased paired(const Axis& a) {
    Phased r(a);
    r.origin = int((a.pad - (a.pad & 1)) / 2);
    r.lead = int(2 * int64_t(r.origin) + 1 - a.pad);
    return r;
  }
};

// Tap k of an axis of n taps, in the order in which the outputs meet them.
__device__ __forceinline__ int tap_index(const Upfirdn2dParams& p, int k, int n) {
  return p.is_flipped ? k : n - 1 - k;
}

template <class A>
__device__ __forceinline__ A tap_at(const Upfirdn2dParams& p, int ky, int kx, int ny, int nx) {
  const A* f = static_cast<const A*>(p.f);
  const int y = tap_index(p, ky, ny), x = tap_index(p, kx, nx);
  return p.is_separable ? f[y] * f[x] : f[y * nx + x];
}

// 12 taps, the same down and across.
template <class A>
struct WaveletTaps {
  A line[12];
};

// 4 × 4 taps, also as the outer product that nearly every filter is: half the multiplications.
template <class A>
struct SquareTaps {
  A grid[16], y[4], x[4];  // grid and y hold the gain
  int is_separable;
};

template <class A>
__device__ __forceinline__ void read_taps(WaveletTaps<A>& taps, const Upfirdn2dParams& p) {
  if (threadIdx.x < 12)
    taps.line[threadIdx.x] = static_cast<const A*>(p.f)[tap_index(p, threadIdx.x, 12)];
}

// By the first warp. The largest tap is the pivot; an outer product is its column times its row
// divided by it, to within a rounding per tap.
template <class A>
__device__ __forceinline__ void read_taps(SquareTaps<A>& taps, const Upfirdn2dParams& p) {
  if (threadIdx.x >= 32) return;
  constexpr unsigned kWarp = 0xffffffffu;
  const int k = threadIdx.x & 15, y = k >> 2, x = k & 3;
  const A v = tap_at<A>(p, y, x, 4, 4);
  A largest = v < 0 ? -v : v;
  int at = k;
#pragma unroll
  for (int bits = 8; bits > 0; bits >>= 1) {
    const A other = __shfl_xor_sync(kWarp, largest, bits);
    const int other_at = __shfl_xor_sync(kWarp, at, bits);
    if (other > largest || (other == largest && other_at < at)) largest = other, at = other_at;
  }
  const A column = __shfl_sync(kWarp, v, (y << 2) | (at & 3));
  const A pivot = __shfl_sync(kWarp, v, at), across = __shfl_sync(kWarp, v, (at & 12) | x);
  const A row = pivot == 0 ? A(0) : across / pivot;
  const A error = v - column * row, allowed = A(1.2e-7f) * v;
  const bool is_product = (error < 0 ? -error : error) <= (allowed < 0 ? -allowed : allowed);
  const bool is_separable = __all_sync(kWarp, is_product);
  if (threadIdx.x >= 16) return;
  taps.grid[k] = v * A(p.gain);
  if (x == 0) taps.y[y] = column * A(p.gain);
  if (y == 0) taps.x[x] = row;
  if (k == 0) taps.is_separable = is_separable;
}

}  // namespace fastgan::cuda
