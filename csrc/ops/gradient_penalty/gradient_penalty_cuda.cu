// SPDX-License-Identifier: Apache-2.0
// CUDA kernels of gradient_penalty: partial sums per (sample, chunk), then one sum per sample.
// Short samples share a block: a power of two of its threads takes one sample each.
#include "../../common/partial_sums.cuh"
#include "gradient_penalty.h"

namespace fastgan::cuda {
namespace {

// How samples and their chunks are dealt to blocks.
struct Deal {
  int log_width;    // 2^log_width threads to a sample's chunk
  unsigned chunks;  // of a sample, in adjacent blocks

  // `work`: into how many shares one chunk can be cut.
  Deal(int64_t work, int64_t of_chunks) : log_width(0), chunks(unsigned(of_chunks)) {
    while ((1 << log_width) < kThreads && (1 << log_width) < work) ++log_width;
  }
  dim3 grid(int64_t n) const {
    return dim3(unsigned(divide_up(n, kThreads >> log_width) * chunks));
  }
};

template <class T>
Deal deal_of(int64_t inner) {
  const int64_t length = inner < kPenaltyChunk ? inner : kPenaltyChunk;
  return Deal(divide_up(length, Vec<T>::kN), penalty_chunks(inner));
}

// The thread's sample and chunk, and its place among the threads that share them.
struct Place {
  int width, lane;
  int64_t n, chunk;

  __device__ __forceinline__ explicit Place(Deal deal)
      : width(1 << deal.log_width), lane(int(threadIdx.x) & (width - 1)) {
    const unsigned group = blockIdx.x / deal.chunks;
    n = (int64_t(group) * kThreads + threadIdx.x) >> deal.log_width;
    chunk = blockIdx.x - group * deal.chunks;
  }
  __device__ __forceinline__ int length(int64_t inner) const {
    const int64_t rest = inner - chunk * kPenaltyChunk;
    return int(rest < kPenaltyChunk ? rest : kPenaltyChunk);
  }
};

constexpr int kLoadsAhead = 4;

// Calls many(i, 16 bytes from g + i on) for each 16 bytes between the first and the last 16-byte
// boundary of g[0, length), and one(i) for every other element: a sample may begin anywhere.
template <class T, class One, class Many>
__device__ __forceinline__ void walk(const T* g, int length, bool is_vector, Place at, One&& one,
                                     Many&& many) {
  constexpr int kN = Vec<T>::kN;
  int head = int((0 - reinterpret_cast<uintptr_t>(g)) & 15) / int(sizeof(T));
  if (!is_vector || head > length) head = length;
  const int vectors = (length - head) / kN;
#pragma unroll 1
  for (int i = at.lane; i < head; i += at.width) one(i);
  int v = at.lane;
#pragma unroll 1
  for (; v + (kLoadsAhead - 1) * at.width < vectors; v += kLoadsAhead * at.width) {
    Vec<T> loaded[kLoadsAhead];
#pragma unroll
    for (int l = 0; l < kLoadsAhead; ++l) loaded[l] = load16(g + head + (v + l * at.width) * kN);
#pragma unroll
    for (int l = 0; l < kLoadsAhead; ++l) many(head + (v + l * at.width) * kN, loaded[l]);
  }
#pragma unroll 1
  for (; v < vectors; v += at.width) many(head + v * kN, load16(g + head + v * kN));
#pragma unroll 1
  for (int i = head + vectors * kN + at.lane; i < length; i += at.width) one(i);
}

template <class T>
__global__ void __launch_bounds__(kThreads) square_kernel(SquareParams p, Deal deal) {
  using A = compute_t<T>;
  const Place at(deal);
  A sums[1] = {A(0)};
  if (at.n < p.n) {
    const T* g = static_cast<const T*>(p.g) + (at.n * p.inner + at.chunk * kPenaltyChunk);
    const auto add = [&](T v) {
      const A value = load(v);
      sums[0] += value * value;
    };
    walk(
        g, at.length(p.inner), true, at, [&](int i) { add(g[i]); },
        [&](int, const Vec<T>& v) {
#pragma unroll
          for (int k = 0; k < Vec<T>::kN; ++k) add(v.v[k]);
        });
  }
  group_sums(sums, at.width);
  if (at.lane == 0 && at.n < p.n)
    static_cast<A*>(p.partial)[at.n * p.columns + p.column + at.chunk] = sums[0];
}

__device__ __forceinline__ float root(float v) { return sqrtf(v); }
__device__ __forceinline__ double root(double v) { return sqrt(v); }

template <class A>
__global__ void __launch_bounds__(kThreads) penalty_kernel(PenaltyParams p, Deal deal) {
  const Place at(deal);
  A sums[1] = {A(0)};
  if (at.n < p.n) {
    const A* partial = static_cast<const A*>(p.partial) + at.n * p.columns;
    for (int64_t k = at.lane; k < p.columns; k += at.width) sums[0] += partial[k];
  }
  group_sums(sums, at.width);
  if (at.lane != 0 || at.n >= p.n) return;
  A excess = root(sums[0]) - A(p.target);
  if (p.is_one_sided && excess < 0) excess = 0;
  static_cast<A*>(p.squared_norm)[at.n] = sums[0];
  static_cast<A*>(p.penalty)[at.n] = p.target == 0 ? sums[0] : excess * excess;
}

// is_vector: g and out lie alike towards 16-byte boundaries.
template <class T>
__global__ void __launch_bounds__(kThreads) scale_kernel(ScaleParams p, bool is_vector, Deal deal) {
  using A = compute_t<T>;
  const Place at(deal);
  if (at.n >= p.n) return;
  const A c = static_cast<const A*>(p.c)[at.n];
  const T* first = static_cast<const T*>(p.g);
  const T* g = first + (at.n * p.inner + at.chunk * kPenaltyChunk);
  // From a sum of 64-bit indices of its own, nvcc would make four 4-byte stores of one of 16.
  T* out = static_cast<T*>(p.out) + (g - first);
  walk(
      g, at.length(p.inner), is_vector, at, [&](int i) { out[i] = narrow<T>(c * load(g[i])); },
      [&](int i, const Vec<T>& v) {
        Vec<T> scaled;
#pragma unroll
        for (int k = 0; k < Vec<T>::kN; ++k) scaled.v[k] = narrow<T>(c * load(v.v[k]));
        store16(out + i, scaled);
      });
}

int square(const SquareParams& p, const Exec& exec) {
  if (p.n == 0 || p.inner == 0) return 0;
  const auto stream = static_cast<cudaStream_t>(exec.stream);
  return dispatch(p.dtype, [&](auto type) {
    using T = decltype(type);
    const Deal deal = deal_of<T>(p.inner);
    launch(square_kernel<T>, deal.grid(p.n), dim3(kThreads), 0, stream, p, deal);
    return last_error();
  });
}

int penalty(const PenaltyParams& p, const Exec& exec) {
  if (p.n == 0) return 0;
  const auto stream = static_cast<cudaStream_t>(exec.stream);
  const Deal deal(p.columns, 1);
  if (p.is_double)
    launch(penalty_kernel<double>, deal.grid(p.n), dim3(kThreads), 0, stream, p, deal);
  else
    launch(penalty_kernel<float>, deal.grid(p.n), dim3(kThreads), 0, stream, p, deal);
  return last_error();
}

int scale(const ScaleParams& p, const Exec& exec) {
  if (p.n == 0 || p.inner == 0) return 0;
  const auto stream = static_cast<cudaStream_t>(exec.stream);
  const auto distance = reinterpret_cast<uintptr_t>(p.g) - reinterpret_cast<uintptr_t>(p.out);
  return dispatch(p.dtype, [&](auto type) {
    using T = decltype(type);
    const Deal deal = deal_of<T>(p.inner);
    launch(scale_kernel<T>, deal.grid(p.n), dim3(kThreads), 0, stream, p, distance % 16 == 0, deal);
    return last_error();
  });
}

}  // namespace

extern const GradientPenaltyKernels gradient_penalty;
const GradientPenaltyKernels gradient_penalty = {square, penalty, scale};

}  // namespace fastgan::cuda
