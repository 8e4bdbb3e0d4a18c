// SPDX-License-Identifier: Apache-2.0
// Any factors and filters, separable or of two dimensions: a thread makes one number at a time.
#pragma once

#include "tile.cuh"

namespace fastgan::cuda {

struct Taps {
  const void* f;
  int rows, columns;  // of a filter of two dimensions; separable: columns
  bool is_flipped;

  template <class A>
  __device__ __forceinline__ A at(int k, int taps) const {
    return static_cast<const A*>(f)[is_flipped ? k : taps - 1 - k];
  }
  template <class A>
  __device__ __forceinline__ A at(int ky, int kx, int) const {
    const int i = ky * columns + kx;
    return static_cast<const A*>(f)[is_flipped ? i : rows * columns - 1 - i];
  }
};

// Tap first, first + up, … of place c meet places from / up, from / up + 1, …
struct FirstTap {
  int tap, place;
};
__device__ __forceinline__ FirstTap first_tap(int c, int up) {
  const int rest = c % up, tap = rest ? up - rest : 0;
  return {tap, (c + tap) / up};
}

template <class T>
__device__ __forceinline__ void widen(const FilteredLreluParams& p, const Tiling& t,
                                      const Block<T>& b) {
  using A = compute_t<T>;
  const int up = int(p.up), taps_y = int(p.ay.up_taps), taps_x = int(p.ax.up_taps);
  const Taps f{p.fu, taps_y, taps_x, p.is_flipped};
  const A gain = A(p.up_gain);
  if (p.fu_is_separable) {
    for (int i = threadIdx.x; i < t.in.y * t.wide.x; i += kThreads) {
      const int row = i / t.wide.x, c = i - row * t.wide.x;
      FirstTap at = first_tap(c, up);
      A sum = 0;
      for (; at.tap < taps_x; at.tap += up, ++at.place)
        sum += f.at<A>(at.tap, taps_x) * b.in[row * b.in_pitch + at.place];
      b.across[row * b.wide_pitch + c] = sum;
    }
    __syncthreads();
  }
  for (int i = threadIdx.x; i < t.wide.y * t.wide.x; i += kThreads) {
    const int row = i / t.wide.x, c = i - row * t.wide.x;
    FirstTap ay = first_tap(row, up);
    A sum = 0;
    for (; ay.tap < taps_y; ay.tap += up, ++ay.place) {
      if (p.fu_is_separable) {
        sum += f.at<A>(ay.tap, taps_y) * b.across[ay.place * b.wide_pitch + c];
        continue;
      }
      for (FirstTap ax = first_tap(c, up); ax.tap < taps_x; ax.tap += up, ++ax.place)
        sum += f.at<A>(ay.tap, ax.tap, 0) * b.in[ay.place * b.in_pitch + ax.place];
    }
    b.wide[row * b.wide_pitch + c] = sum * gain;
  }
}

template <class T>
__device__ __forceinline__ void narrow_down(const FilteredLreluParams& p, const Block<T>& b) {
  using A = compute_t<T>;
  const int down = int(p.down), taps_y = int(p.ay.down_taps), taps_x = int(p.ax.down_taps);
  const Taps f{p.fd, taps_y, taps_x, p.is_flipped};
  if (p.fd_is_separable) {
    for (int i = threadIdx.x; i < b.y.outs * b.x.wides; i += kThreads) {
      const int row = i / b.x.wides, c = b.x.origin + i - row * b.x.wides;
      const A* from = b.wide + (b.y.origin + row * down) * b.wide_pitch + c;
      A sum = 0;
      for (int k = 0; k < taps_y; ++k) sum += f.at<A>(k, taps_y) * from[k * b.wide_pitch];
      b.down[row * b.wide_pitch + c] = sum;
    }
    __syncthreads();
  }
  for (int i = threadIdx.x; i < b.y.outs * b.x.outs; i += kThreads) {
    const int row = i / b.x.outs, column = i - row * b.x.outs, c = b.x.origin + column * down;
    A sum = 0;
    if (p.fd_is_separable) {
      for (int k = 0; k < taps_x; ++k)
        sum += f.at<A>(k, taps_x) * b.down[row * b.wide_pitch + c + k];
    } else {
      const A* from = b.wide + (b.y.origin + row * down) * b.wide_pitch + c;
      for (int ky = 0; ky < taps_y; ++ky)
        for (int kx = 0; kx < taps_x; ++kx)
          sum += f.at<A>(ky, kx, 0) * from[ky * b.wide_pitch + kx];
    }
    b.result[row * b.out_pitch + column] = sum;
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads) general_kernel(FilteredLreluParams p, Tiling t) {
  const Block<T> b(p, t);
  load_tile(p, t, b);
  __syncthreads();
  widen(p, t, b);
  __syncthreads();
  activate_tile(p, b);
  __syncthreads();
  narrow_down(p, b);
  __syncthreads();
  store_tile(p, b);
}

}  // namespace fastgan::cuda
