// SPDX-License-Identifier: Apache-2.0
// Sums per channel in two stages, in an order that the shape alone fixes: each block leaves its
// part of some columns in one row of scratch, and column_sums_kernel adds the rows.
#pragma once

#include "platform.cuh"

namespace fastgan {

constexpr int kWarp = 32, kWarps = kThreads / kWarp;

// Stage one aims at this many blocks (two waves on the largest GPU, eight blocks to a processor)
// and at no more rows of scratch per channel than stage two adds in a few microseconds.
constexpr int64_t kSumBlocks = 2048, kMostSlices = 1024;

inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// How many slices each of `columns` blocks side by side is worth.
inline int64_t wanted_slices(int64_t columns) {
  const int64_t wanted = divide_up(kSumBlocks, columns < 1 ? 1 : columns);
  return wanted < kMostSlices ? wanted : kMostSlices;
}

// The least power of two that is not below n, or `most`, itself a power of two.
inline int power_of_two(int64_t n, int most) {
  int power = 1;
  while (power < n && power < most) power *= 2;
  return power;
}

template <class A, int kCount>
struct GroupSums {
  A sums[kCount][kWarps];
};

// Adds each v[k] over groups of `width` adjacent threads (a power of two); the result is valid in
// the first thread of each group. For the whole block to call, once.
template <class A, int kCount>
__device__ __forceinline__ void group_sums(A (&v)[kCount], int width) {
  for (int offset = (width < kWarp ? width : kWarp) / 2; offset > 0; offset /= 2) {
#pragma unroll
    for (int k = 0; k < kCount; ++k) v[k] += __shfl_xor_sync(0xffffffffu, v[k], offset);
  }
  if (width <= kWarp) return;
  GroupSums<A, kCount>& memory = shared<GroupSums<A, kCount>>();
  const int warp = int(threadIdx.x) / kWarp;
  if (threadIdx.x % kWarp == 0) {
#pragma unroll
    for (int k = 0; k < kCount; ++k) memory.sums[k][warp] = v[k];
  }
  __syncthreads();
  if ((int(threadIdx.x) & (width - 1)) != 0) return;
  for (int other = 1; other < width / kWarp; ++other) {
#pragma unroll
    for (int k = 0; k < kCount; ++k) v[k] += memory.sums[k][warp + other];
  }
}

template <class A, int kN>
struct ColumnSums {
  alignas(16) A sums[kWarps][kWarp * kN];
};

// Thread t holds values of the columns (t % width)·kN + k, width a power of two up to kWarp. Adds
// the rows of threads; thread t < width·kN gets the sum of column t. For the whole block to call;
// again only after a __syncthreads().
template <class A, int kN>
__device__ __forceinline__ A column_sum(A (&v)[kN], int width) {
  for (int offset = kWarp / 2; offset >= width; offset /= 2) {
#pragma unroll
    for (int k = 0; k < kN; ++k) v[k] += __shfl_xor_sync(0xffffffffu, v[k], offset);
  }
  ColumnSums<A, kN>& memory = shared<ColumnSums<A, kN>>();
  const int lane = int(threadIdx.x) % kWarp, warp = int(threadIdx.x) / kWarp;
  if (lane < width) {
#pragma unroll
    for (int k = 0; k < kN; ++k) memory.sums[warp][lane * kN + k] = v[k];
  }
  __syncthreads();
  A sum = 0;
  if (int(threadIdx.x) < width * kN) {
#pragma unroll
    for (int k = 0; k < kWarps; ++k) sum += memory.sums[k][threadIdx.x];
  }
  return sum;
}

// Stage two: out[c] = Σ_r parts[r·columns + c]. Nothing is to be done where out is null.
template <class T>
struct ColumnSumJob {
  const compute_t<T>* parts;
  T* out;
  int64_t rows, columns;
};
template <class T>
struct ColumnSumJobs {
  ColumnSumJob<T> first, second, third;
};

// Row y of the grid does one job. A block takes `width` columns, up to a 32-byte sector of a row,
// and kThreads / width rows at once.
template <class T>
__global__ void __launch_bounds__(kThreads) column_sums_kernel(ColumnSumJobs<T> jobs) {
  using A = compute_t<T>;
  const ColumnSumJob<T> job = blockIdx.y == 0   ? jobs.first
                              : blockIdx.y == 1 ? jobs.second
                                                : jobs.third;
  const int width = job.columns < 8 ? 1 : 8;
  const int64_t c = int64_t(blockIdx.x) * width + (int(threadIdx.x) & (width - 1));
  if (!job.out || int64_t(blockIdx.x) * width >= job.columns) return;
  A sums[1] = {};
  if (c < job.columns) {
    const int64_t at_once = kThreads / width;
    for (int64_t r = int(threadIdx.x) / width; r < job.rows; r += at_once)
      sums[0] += job.parts[r * job.columns + c];
  }
  const A sum = column_sum(sums, width);
  if (int(threadIdx.x) < width && c < job.columns) job.out[c] = narrow<T>(sum);
}

template <class T>
int launch_column_sums(const ColumnSumJobs<T>& jobs, cudaStream_t stream) {
  int64_t blocks = 1;
  const auto cover = [&](const ColumnSumJob<T>& job) {
    const int64_t own = job.columns < 8 ? job.columns : divide_up(job.columns, 8);
    if (job.out && own > blocks) blocks = own;
  };
  cover(jobs.first);
  cover(jobs.second);
  cover(jobs.third);
  const unsigned rows = jobs.third.out ? 3 : jobs.second.out ? 2 : 1;
  launch(column_sums_kernel<T>, dim3(unsigned(blocks), rows), dim3(kThreads), 0, stream, jobs);
  return last_error();
}

}  // namespace fastgan
