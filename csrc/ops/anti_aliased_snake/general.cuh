// SPDX-License-Identifier: Apache-2.0
// Any ratios and filters: a block holds the up-sampled samples that its outputs need; everything
// else is read where it lies. A sample is a thread's.
#pragma once

#include "snake.cuh"

namespace fastgan {

constexpr int kGeneralSamples = 2048;  // up-sampled ones to a tile, beside the filter's reach

__device__ __forceinline__ int clamp_index(int i, int size) {
  return i < 0 ? 0 : i < size ? i : size - 1;
}
__device__ __forceinline__ int floor_divide(int a, int b) {
  return a >= 0 ? a / b : -((-a + b - 1) / b);
}

// The geometry in 32 bits: the Python function bounds the up-sampled signal.
struct Reach {
  int length, outputs, size;  // of x, y and the up-sampled signal
  int up, down, up_taps, down_taps, up_lead, down_lead;
};
inline Reach reach_of(const AntiAliasedSnakeParams& p) {
  return {int(p.length),    int(p.outputs),    int(p.length * p.up_ratio),
          int(p.up_ratio),  int(p.down_ratio), int(p.up_taps),
          int(p.down_taps), int(p.up_lead),    int(p.down_lead)};
}

// u[j]
template <class T>
__device__ __forceinline__ compute_t<T> up_sample(const T* x, const compute_t<T>* f, Reach r,
                                                  int j) {
  const int top = j + r.up_lead;
  int i = floor_divide(top, r.up);
  compute_t<T> sum = 0;
  for (int k = top - i * r.up; k < r.up_taps; k += r.up, --i)
    sum += f[k] * load(x[clamp_index(i, r.length)]);
  return sum * compute_t<T>(r.up);
}

// Σ_t g[j + down_lead - V·t]·dy[t], for any j: what the outputs give back to sample j.
template <class T>
__device__ __forceinline__ compute_t<T> down_adjoint(const T* dy, const compute_t<T>* g, Reach r,
                                                     int j) {
  const int top = j + r.down_lead;
  int t = floor_divide(top, r.down);
  compute_t<T> sum = 0;
  for (int k = top - t * r.down; k < r.down_taps && t >= 0; k += r.down, --t)
    if (t < r.outputs) sum += g[k] * load(dy[t]);
  return sum;
}

// What the repetitions of an end give back to it, for j at an end; 0 elsewhere.
template <class T>
__device__ __forceinline__ compute_t<T> folded(const T* dy, const compute_t<T>* g, Reach r, int j) {
  compute_t<T> sum = 0;
  if (j == 0)
    for (int before = -r.down_lead; before < 0; ++before) sum += down_adjoint(dy, g, r, before);
  if (j == r.size - 1) {
    const int end = (r.outputs - 1) * r.down - r.down_lead + r.down_taps;
    for (int after = r.size; after < end; ++after) sum += down_adjoint(dy, g, r, after);
  }
  return sum;
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    general_forward_kernel(AntiAliasedSnakeParams p, Reach r, int tile, int tiles) {
  using A = compute_t<T>;
  const int64_t row = blockIdx.x / unsigned(tiles);
  const int t0 = int(blockIdx.x - unsigned(row) * unsigned(tiles)) * tile;
  const int n = r.outputs - t0 < tile ? r.outputs - t0 : tile;
  const T* x = static_cast<const T*>(p.x) + row * p.length;
  const A *f = static_cast<const A*>(p.up_filter), *g = static_cast<const A*>(p.down_filter);
  const Snake<A> snake = snake_of<A>(p, channel_of(p, row));
  A* v = dynamic_shared<A>();
  const int low = t0 * r.down - r.down_lead, count = (n - 1) * r.down + r.down_taps;
  for (int s = threadIdx.x; s < count; s += kThreads)
    v[s] = activate(up_sample(x, f, r, clamp_index(low + s, r.size)), snake);
  __syncthreads();
  T* y = static_cast<T*>(p.out) + row * p.outputs + t0;
  for (int t = threadIdx.x; t < n; t += kThreads) {
    A sum = 0;
    for (int k = 0; k < r.down_taps; ++k) sum += g[k] * v[t * r.down + k];
    y[t] = narrow<T>(sum);
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    general_backward_kernel(AntiAliasedSnakeParams p, Reach r, int tile, int tiles) {
  using A = compute_t<T>;
  const int64_t row = blockIdx.x / unsigned(tiles);
  const int tile_index = int(blockIdx.x - unsigned(row) * unsigned(tiles)), i0 = tile_index * tile;
  const int n = r.length - i0 < tile ? r.length - i0 : tile;
  const T* x = static_cast<const T*>(p.x) + row * p.length;
  const T* dy = static_cast<const T*>(p.dy) + row * p.outputs;
  const A *f = static_cast<const A*>(p.up_filter), *g = static_cast<const A*>(p.down_filter);
  const Snake<A> snake = snake_of<A>(p, channel_of(p, row));
  A* du = dynamic_shared<A>();
  // Samples that reach the tile's dx; those of its own places are counted in the sums.
  const int before = i0 * r.up - r.up_lead, after = (i0 + n - 1) * r.up - r.up_lead + r.up_taps;
  const int low = before < 0 ? 0 : before, high = after < r.size ? after : r.size;
  SnakeSums<A> sums{};
  for (int j = low + int(threadIdx.x); j < high; j += kThreads) {
    const A dv = down_adjoint(dy, g, r, j) + folded(dy, g, r, j);
    const bool is_own = j >= i0 * r.up && j < (i0 + n) * r.up;
    du[j - low] = activate_backward(up_sample(x, f, r, j), dv, snake, is_own, sums);
  }
  __syncthreads();
  if (p.out) {
    T* dx = static_cast<T*>(p.out) + row * p.length;
    // An end also gets what its repetitions get.
    const int left = (r.up_taps - 1 - r.up_lead) / r.up, right = (r.up_lead + r.up - 1) / r.up;
    for (int i = i0 + int(threadIdx.x); i < i0 + n; i += kThreads) {
      const int first = i == 0 ? -left : i, last = i == r.length - 1 ? i + right : i;
      A sum = 0;
      for (int place = first; place <= last; ++place) {
        for (int k = 0; k < r.up_taps; ++k) {
          const int j = place * r.up + k - r.up_lead;
          if (j >= 0 && j < r.size) sum += f[k] * du[j - low];
        }
      }
      dx[i] = narrow<T>(sum * A(r.up));
    }
  }
  if (p.dalpha) store_sums(p, sums, row, tile_index, tiles);
}

}  // namespace fastgan
