// Ratios of 2 and filters of 12 taps, forward. A lane has a run of kForwardRun samples, what it
// needs of its neighbours' comes by shuffles, and the first and the last lane of a warp have no
// outputs: they are what the others' filters reach. A warp makes several chunks of one row.
//
//   u[2i]   = 2·Σ_m f[2m+1]·x[i+2-m]        y[t] = Σ_m g[2m+1]·v[2(t-2+m)]
//   u[2i+1] = 2·Σ_m f[2m]·x[i+3-m]               + Σ_m g[2m]·v[2(t-3+m)+1]       0 ≤ m < 6
#pragma once

#include "twice.cuh"

namespace fastgan {

constexpr int kForwardRun = 8, kReach = 3;  // samples that a filter meets on each side
constexpr int kChunk = 30 * kForwardRun;    // outputs of a warp

struct Chunks {
  int of_row, of_warp, warps_of_row;
  int64_t warps;
};

// Each warp makes a few with its filters at hand, where the GPU is full all the same.
inline Chunks chunks_of(const AntiAliasedSnakeParams& p) {
  constexpr int64_t kMost = 8;
  const int64_t of_row = (p.length + kChunk - 1) / kChunk;
  const int64_t shared = of_row * p.rows / (32 * multiprocessors());
  const int64_t of_warp = shared < 1 ? 1 : shared < kMost ? shared : kMost;
  const int64_t warps_of_row = (of_row + of_warp - 1) / of_warp;
  return {int(of_row), int(of_warp), int(warps_of_row), warps_of_row * p.rows};
}

// A lane's samples; beyond the row its ends.
template <int kWidth, class T>
__device__ __forceinline__ void load_samples(compute_t<T> (&to)[kForwardRun], const T* row,
                                             int length, int first) {
  Run<T, kForwardRun> run;
  if (first >= 0 && first + kForwardRun <= length) {
    if constexpr (kWidth > 1) {
      run = load_run<kForwardRun>(row + first);
    } else {
#pragma unroll
      for (int r = 0; r < kForwardRun; ++r) run.v[r] = row[first + r];
    }
  } else {
#pragma unroll
    for (int r = 0; r < kForwardRun; ++r) run.v[r] = row[clamp_index(first + r, length)];
  }
#pragma unroll
  for (int r = 0; r < kForwardRun; ++r) to[r] = load(run.v[r]);
}

template <int kWidth, class T>
__device__ __forceinline__ void store_samples(T* row, int length, int first,
                                              const compute_t<T> (&values)[kForwardRun]) {
  if (kWidth > 1 && first + kForwardRun <= length) {
    Run<T, kForwardRun> run;
#pragma unroll
    for (int r = 0; r < kForwardRun; ++r) run.v[r] = narrow<T>(values[r]);
    store_run(row + first, run);
    return;
  }
#pragma unroll
  for (int r = 0; r < kForwardRun; ++r)
    if (first + r < length) row[first + r] = narrow<T>(values[r]);
}

// A run between kBefore samples of the lane before and kAfter of the lane after.
template <int kBefore, int kAfter, class A>
__device__ __forceinline__ void with_neighbours(A (&to)[kBefore + kForwardRun + kAfter],
                                                const A (&run)[kForwardRun]) {
#pragma unroll
  for (int k = 0; k < kBefore; ++k)
    to[k] = __shfl_up_sync(0xffffffffu, run[kForwardRun - kBefore + k], 1);
#pragma unroll
  for (int r = 0; r < kForwardRun; ++r) to[kBefore + r] = run[r];
#pragma unroll
  for (int k = 0; k < kAfter; ++k)
    to[kBefore + kForwardRun + k] = __shfl_down_sync(0xffffffffu, run[k], 1);
}

template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads, 2)
    twice_forward_kernel(AntiAliasedSnakeParams p, Chunks chunks) {
  using A = compute_t<T>;
  const int lane = int(threadIdx.x) % 32, length = int(p.length), last = length - 1;
  const unsigned warp = blockIdx.x * (kThreads / 32) + threadIdx.x / 32;
  const unsigned row = warp / unsigned(chunks.warps_of_row);
  if (row >= p.rows) return;  // the whole warp
  const T* x = static_cast<const T*>(p.x) + row * p.length;
  T* y = static_cast<T*>(p.out) + row * p.length;
  const Bend<T> bend(p, channel_of(p, row));
  const Weights<A> f = weights_of<A>(p.up_filter, A(2) * bend.unit),
                   g = weights_of<A>(p.down_filter, A(1) / bend.unit);
  int chunk = int(warp - row * unsigned(chunks.warps_of_row)) * chunks.of_warp;
  const int end = min(chunk + chunks.of_warp, chunks.of_row);
#pragma unroll 1
  for (; chunk < end; ++chunk) {
    const int begin = chunk * kChunk - kForwardRun, first = begin + lane * kForwardRun;
    A even[kForwardRun], odd[kForwardRun];
    {
      A own[kForwardRun], c[kForwardRun + 2 * kReach];
      load_samples<kWidth>(own, x, length, first);
      with_neighbours<kReach, kReach>(c, own);
#pragma unroll
      for (int r = 0; r < kForwardRun; ++r) {
        A a = 0, b = 0;
#pragma unroll
        for (int m = 0; m < kTaps / 2; ++m) {
          a += f.odd[m] * c[r + kReach + 2 - m];
          b += f.even[m] * c[r + kReach + 3 - m];
        }
        even[r] = bend(a);
        odd[r] = bend(b);
      }
    }
    // Beyond an end is that end: its first even and its last odd sample.
    if (begin < 0) {
      const A value = __shfl_sync(0xffffffffu, even[0], 1);
#pragma unroll
      for (int r = 0; r < kForwardRun; ++r)
        if (first + r < 0) even[r] = odd[r] = value;
    }
    if (begin + 32 * kForwardRun > length) {
      A value = 0;
#pragma unroll
      for (int r = 0; r < kForwardRun; ++r)
        if (first + r == last) value = odd[r];
      value = __shfl_sync(0xffffffffu, value, (last - begin) / kForwardRun);
#pragma unroll
      for (int r = 0; r < kForwardRun; ++r)
        if (first + r > last) even[r] = odd[r] = value;
    }
    A a[2 + kForwardRun + 3], b[3 + kForwardRun + 2], out[kForwardRun];
    with_neighbours<2, 3>(a, even);
    with_neighbours<3, 2>(b, odd);
#pragma unroll
    for (int r = 0; r < kForwardRun; ++r) {
      A sum = 0;
#pragma unroll
      for (int m = 0; m < kTaps / 2; ++m) {
        sum += g.odd[m] * a[r + m];
        sum += g.even[m] * b[r + m];
      }
      out[r] = sum;
    }
    if (lane > 0 && lane < 31) store_samples<kWidth>(y, length, first, out);
  }
}

}  // namespace fastgan
