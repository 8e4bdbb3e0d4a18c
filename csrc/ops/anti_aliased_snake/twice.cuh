// SPDX-License-Identifier: Apache-2.0
// Ratios of 2 and filters of 12 taps, those of the published models, backward: the up-sampled
// signal and its gradient are made anew. Samples lie in two planes of shared memory, even and odd
// ones, a run of kRun at a time is a thread's, and a filter slides over a stretch of a plane that
// is in registers.
//
//   u[2i]   = 2·Σ_m f[2m+1]·x[i+2-m]        y[t] = Σ_m g[2m+1]·v[2(t-2+m)]
//   u[2i+1] = 2·Σ_m f[2m]·x[i+3-m]               + Σ_m g[2m]·v[2(t-3+m)+1]       0 ≤ m < 6
//
// The adjoints have the same two forms with f and g exchanged.
#pragma once

#include "../../common/run.cuh"
#include "general.cuh"

namespace fastgan {

constexpr int kTaps = 12, kMargin = 4;  // a run's stretch begins and ends this far from it

// A block of `threads` makes the samples of `tile` places and of kHalo on each side.
template <class T>
struct Twice {
  using A = compute_t<T>;
  static constexpr int kRun = Vec<T>::kN;
  static constexpr int kHalo = kRun < kMargin ? kMargin : kRun;
  static constexpr int kStretch = kRun + 2 * kMargin;
};

// Both lie at a multiple of 16 bytes.
template <class A, int kN>
__device__ __forceinline__ void load_stretch(A (&to)[kN], const A* from) {
  const Run<A, kN> run = load_run<kN>(from);
#pragma unroll
  for (int k = 0; k < kN; ++k) to[k] = run.v[k];
}
template <class A, int kN>
__device__ __forceinline__ void store_stretch(A* to, const A (&from)[kN]) {
  Run<A, kN> run;
#pragma unroll
  for (int k = 0; k < kN; ++k) run.v[k] = from[k];
  store_run(to, run);
}

template <class A>
struct Weights {
  A odd[kTaps / 2], even[kTaps / 2];  // f[2m+1] and f[2m], times the scale
};
// kWidth > 1: the filter lies at a multiple of 16 bytes.
template <class A, int kWidth = 1>
__device__ __forceinline__ Weights<A> weights_of(const void* filter, A scale) {
  A f[kTaps];
  Weights<A> w;
  if constexpr (kWidth > 1) {
    load_stretch(f, static_cast<const A*>(filter));
  } else {
#pragma unroll
    for (int k = 0; k < kTaps; ++k) f[k] = static_cast<const A*>(filter)[k];
  }
#pragma unroll
  for (int m = 0; m < kTaps / 2; ++m) {
    w.even[m] = f[2 * m] * scale;
    w.odd[m] = f[2 * m + 1] * scale;
  }
  return w;
}

// Even and odd samples of a run, from the stretch that begins kMargin before it.
template <class A, int kRun, int kStretch>
__device__ __forceinline__ void spread(const A (&c)[kStretch], const Weights<A>& w, A (&even)[kRun],
                                       A (&odd)[kRun]) {
#pragma unroll
  for (int r = 0; r < kRun; ++r) {
    A a = 0, b = 0;
#pragma unroll
    for (int m = 0; m < kTaps / 2; ++m) {
      a += w.odd[m] * c[r + kMargin + 2 - m];
      b += w.even[m] * c[r + kMargin + 3 - m];
    }
    even[r] = a;
    odd[r] = b;
  }
}

template <class A, int kRun, int kStretch>
__device__ __forceinline__ void gather(const A (&even)[kStretch], const A (&odd)[kStretch],
                                       const Weights<A>& w, A (&out)[kRun]) {
#pragma unroll
  for (int r = 0; r < kRun; ++r) {
    A sum = 0;
#pragma unroll
    for (int m = 0; m < kTaps / 2; ++m) {
      sum += w.odd[m] * even[r + kMargin - 2 + m];
      sum += w.even[m] * odd[r + kMargin - 3 + m];
    }
    out[r] = sum;
  }
}

// to[i] = row[first + i], i < count, by the whole block; beyond the row its ends, or 0. kWidth > 1:
// rows and `first` allow 16-byte loads.
template <class T, int kWidth, bool repeats_ends>
__device__ __forceinline__ void load_window(compute_t<T>* to, const T* row, int length, int first,
                                            int count) {
  for (int i = int(threadIdx.x) * kWidth; i < count; i += int(blockDim.x) * kWidth) {
    const int at = first + i;
    Run<T, kWidth> run;
    if (at >= 0 && at + kWidth <= length) {
      run = load_run<kWidth>(row + at);
    } else {
#pragma unroll
      for (int k = 0; k < kWidth; ++k) {
        const bool is_in = at + k >= 0 && at + k < length;
        run.v[k] = repeats_ends || is_in ? row[clamp_index(at + k, length)] : narrow<T>(0);
      }
    }
#pragma unroll
    for (int k = 0; k < kWidth; ++k) to[i + k] = load(run.v[k]);
  }
}

// A run of outputs; those beyond the row do not exist.
template <class T, int kWidth, int kRun>
__device__ __forceinline__ void store_outputs(T* row, int length, int at,
                                              const compute_t<T> (&values)[kRun]) {
  if constexpr (kWidth == kRun) {
    if (at >= length) return;  // length is a multiple of kWidth
    Run<T, kRun> run;
#pragma unroll
    for (int r = 0; r < kRun; ++r) run.v[r] = narrow<T>(values[r]);
    store_run(row + at, run);
  } else {
#pragma unroll
    for (int r = 0; r < kRun; ++r)
      if (at + r < length) row[at + r] = narrow<T>(values[r]);
  }
}

struct Tiling {
  int tile, tiles, threads;
};

// Tiles of one size, a multiple of a run, and no more threads than they need.
template <class T>
Tiling tiling_of(int64_t length) {
  constexpr int kRun = Twice<T>::kRun, kHalo = Twice<T>::kHalo;
  constexpr int64_t kMost = kThreads * kRun - 2 * kHalo;
  const int64_t tiles = (length + kMost - 1) / kMost, even = (length + tiles - 1) / tiles;
  const int64_t tile = (even + kRun - 1) / kRun * kRun;
  return {int(tile), int((length + tile - 1) / tile),
          int(((tile + 2 * kHalo) / kRun + 31) / 32 * 32)};
}

// Numbers that one plane, and one window (a run longer on each side), hold.
template <class T>
__host__ __device__ constexpr int plane_size(int threads) {
  return threads * Twice<T>::kRun;
}
template <class T>
__host__ __device__ constexpr int window_size(int threads) {
  return plane_size<T>(threads) + 2 * Twice<T>::kHalo;
}

// What the repetitions of x's end beyond it get: three places from `place` on, away from the
// signal.
template <class A, int kHalo>
__device__ __forceinline__ A repeated(const A* even, const A* odd, const void* filter, int length,
                                      int i0, int place) {
  const A* f = static_cast<const A*>(filter);
  A sum = 0;
#pragma unroll 1
  for (int away = 0; away < 3; ++away, place += place < 0 ? -1 : 1) {
#pragma unroll 1
    for (int k = 0; k < kTaps; ++k) {
      const int j = 2 * place + k - 5;
      if (j < 0 || j >= 2 * length) continue;
      const int at = (j >> 1) - (i0 - kHalo);
      sum += f[k] * (j & 1 ? odd[at] : even[at]);
    }
  }
  return 2 * sum;
}

// dx of a tile and its part of the sums. Shared: windows of x and dy, and du in two planes.
template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads, sizeof(T) == 2 ? 3 : 4)  // so that nothing spills
    twice_backward_kernel(AntiAliasedSnakeParams p, Tiling tiling) {
  using A = compute_t<T>;
  constexpr int kRun = Twice<T>::kRun, kHalo = Twice<T>::kHalo, kStretch = Twice<T>::kStretch;
  const int64_t row = blockIdx.x / unsigned(tiling.tiles);
  const int tile_index = int(blockIdx.x - unsigned(row) * unsigned(tiling.tiles));
  const int i0 = tile_index * tiling.tile, length = int(p.length);
  const int plane = plane_size<T>(int(blockDim.x)), size = window_size<T>(int(blockDim.x));
  const T* dy = static_cast<const T*>(p.dy) + row * p.length;
  A* x_window = dynamic_shared<A>();
  A *dy_window = x_window + size, *even = dy_window + size, *odd = even + plane;
  load_window<T, kWidth, true>(x_window, static_cast<const T*>(p.x) + row * p.length, length,
                               i0 - 2 * kHalo, size);
  load_window<T, kWidth, false>(dy_window, dy, length, i0 - 2 * kHalo, size);
  __syncthreads();
  const int own = int(threadIdx.x) * kRun, i = i0 - kHalo + own;
  const bool is_own = own >= kHalo && own < kHalo + tiling.tile;
  SnakeSums<A> sums{};
  {
    A c[kStretch], u[2][kRun], dv[2][kRun];
    load_stretch(c, x_window + (own + kHalo - kMargin));
    spread(c, weights_of<A>(p.up_filter, A(2)), u[0], u[1]);
    load_stretch(c, dy_window + (own + kHalo - kMargin));
    spread(c, weights_of<A>(p.down_filter, A(1)), dv[0], dv[1]);
    const Reach reach{length, length, 2 * length, 2, 2, kTaps, kTaps, 5, 5};
    const A* g = static_cast<const A*>(p.down_filter);
    const Snake<A> snake = snake_of<A>(p, channel_of(p, row));
    const A first = i <= 0 && i + kRun > 0 ? folded(dy, g, reach, 0) : A(0);
    const A last = i < length && i + kRun >= length ? folded(dy, g, reach, reach.size - 1) : A(0);
#pragma unroll
    for (int r = 0; r < kRun; ++r) {
      const bool is_in = i + r >= 0 && i + r < length;
      if (i + r == 0) dv[0][r] += first;
      if (i + r == length - 1) dv[1][r] += last;
#pragma unroll
      for (int odd_one = 0; odd_one < 2; ++odd_one)
        dv[odd_one][r] = activate_backward(u[odd_one][r], is_in ? dv[odd_one][r] : A(0), snake,
                                           is_own && is_in, sums);
    }
    store_stretch(even + own, dv[0]);
    store_stretch(odd + own, dv[1]);
  }
  __syncthreads();
  if (is_own && p.out) {
    const Weights<A> f = weights_of<A>(p.up_filter, A(2));
    A a[kStretch], b[kStretch], dx[kRun];
    load_stretch(a, even + (own - kMargin));
    load_stretch(b, odd + (own - kMargin));
    gather(a, b, f, dx);
    // An end also gets what its three repetitions get.
    const A first =
        i <= 0 && i + kRun > 0 ? repeated<A, kHalo>(even, odd, p.up_filter, length, i0, -1) : A(0);
    const A last = i < length && i + kRun >= length
                       ? repeated<A, kHalo>(even, odd, p.up_filter, length, i0, length)
                       : A(0);
#pragma unroll
    for (int r = 0; r < kRun; ++r) {
      if (i + r == 0) dx[r] += first;
      if (i + r == length - 1) dx[r] += last;
    }
    store_outputs<T, kWidth>(static_cast<T*>(p.out) + row * p.length, length, i, dx);
  }
  if (p.dalpha) store_sums(p, sums, row, tile_index, tiling.tiles);
}

}  // namespace fastgan
