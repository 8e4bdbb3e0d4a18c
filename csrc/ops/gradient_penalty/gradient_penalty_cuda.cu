// CUDA kernels of gradient_penalty: partial sums per (sample, chunk), then one block per sample.
#include "gradient_penalty.h"

#include "../../common/reduce.cuh"

namespace fastgan::cuda {
namespace {

template <class T, bool kIsVector>
__global__ void __launch_bounds__(kThreads) square_kernel(SquareParams p) {
  using A = compute_t<T>;
  const int64_t n = blockIdx.y, chunk = blockIdx.x, begin = chunk * kPenaltyChunk;
  const int64_t rest = p.inner - begin, length = rest < kPenaltyChunk ? rest : kPenaltyChunk;
  const T* g = static_cast<const T*>(p.g) + n * p.inner + begin;
  A sum = 0;
  if (kIsVector) {
    for (int i = int(threadIdx.x) * Vec<T>::kN; i < length; i += kThreads * Vec<T>::kN) {
      const Vec<T> v = load16(g + i);
#pragma unroll
      for (int k = 0; k < Vec<T>::kN; ++k) {
        const A value = load(v.v[k]);
        sum += value * value;
      }
    }
  } else {
    for (int i = int(threadIdx.x); i < length; i += kThreads) {
      const A value = load(g[i]);
      sum += value * value;
    }
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) static_cast<A*>(p.partial)[n * p.columns + p.column + chunk] = sum;
}

__device__ __forceinline__ float root(float v) { return sqrtf(v); }
__device__ __forceinline__ double root(double v) { return sqrt(v); }

template <class A>
__global__ void __launch_bounds__(kThreads) penalty_kernel(PenaltyParams p) {
  const int64_t n = blockIdx.x;
  const A* partial = static_cast<const A*>(p.partial) + n * p.columns;
  A sum = 0;
  for (int64_t k = threadIdx.x; k < p.columns; k += kThreads) sum += partial[k];
  sum = block_sum(sum);
  if (threadIdx.x != 0) return;
  A excess = root(sum) - A(p.target);
  if (p.is_one_sided && excess < 0) excess = 0;
  static_cast<A*>(p.squared_norm)[n] = sum;
  static_cast<A*>(p.penalty)[n] = p.target == 0 ? sum : excess * excess;
}

template <class T, bool kIsVector>
__global__ void __launch_bounds__(kThreads) scale_kernel(ScaleParams p) {
  using A = compute_t<T>;
  const int64_t n = blockIdx.y, begin = int64_t(blockIdx.x) * kPenaltyChunk;
  const int64_t rest = p.inner - begin, length = rest < kPenaltyChunk ? rest : kPenaltyChunk;
  const T* g = static_cast<const T*>(p.g) + n * p.inner + begin;
  T* out = static_cast<T*>(p.out) + n * p.inner + begin;
  const A c = static_cast<const A*>(p.c)[n];
  if (kIsVector) {
    for (int i = int(threadIdx.x) * Vec<T>::kN; i < length; i += kThreads * Vec<T>::kN) {
      Vec<T> v = load16(g + i);
#pragma unroll
      for (int k = 0; k < Vec<T>::kN; ++k) v.v[k] = narrow<T>(c * load(v.v[k]));
      store16(out + i, v);
    }
  } else {
    for (int i = int(threadIdx.x); i < length; i += kThreads) out[i] = narrow<T>(c * load(g[i]));
  }
}

// The second grid dimension ends at 65535: larger batches go in pieces of this many samples.
constexpr int64_t kSamplesAtOnce = 32768;

int square(const SquareParams& given, const Exec& exec) {
  if (given.n * given.inner == 0) return 0;
  const auto stream = static_cast<cudaStream_t>(exec.stream);
  return dispatch(given.dtype, [&](auto type) {
    using T = decltype(type);
    for (int64_t first = 0; first < given.n; first += kSamplesAtOnce) {
      SquareParams p = given;
      p.n = given.n - first < kSamplesAtOnce ? given.n - first : kSamplesAtOnce;
      p.g = static_cast<const T*>(given.g) + first * p.inner;
      p.partial = static_cast<compute_t<T>*>(given.partial) + first * p.columns;
      const dim3 grid(unsigned(penalty_chunks(p.inner)), unsigned(p.n));
      if (p.inner % Vec<T>::kN == 0 && is_aligned16(p.g))
        launch(square_kernel<T, true>, grid, dim3(kThreads), 0, stream, p);
      else
        launch(square_kernel<T, false>, grid, dim3(kThreads), 0, stream, p);
      if (const int error = last_error()) return error;
    }
    return 0;
  });
}

int penalty(const PenaltyParams& p, const Exec& exec) {
  if (p.n == 0) return 0;
  const auto stream = static_cast<cudaStream_t>(exec.stream);
  const dim3 grid(static_cast<unsigned>(p.n));
  if (p.is_double)
    launch(penalty_kernel<double>, grid, dim3(kThreads), 0, stream, p);
  else
    launch(penalty_kernel<float>, grid, dim3(kThreads), 0, stream, p);
  return last_error();
}

int scale(const ScaleParams& given, const Exec& exec) {
  if (given.n * given.inner == 0) return 0;
  const auto stream = static_cast<cudaStream_t>(exec.stream);
  return dispatch(given.dtype, [&](auto type) {
    using T = decltype(type);
    for (int64_t first = 0; first < given.n; first += kSamplesAtOnce) {
      ScaleParams p = given;
      p.n = given.n - first < kSamplesAtOnce ? given.n - first : kSamplesAtOnce;
      p.c = static_cast<const compute_t<T>*>(given.c) + first;
      p.g = static_cast<const T*>(given.g) + first * p.inner;
      p.out = static_cast<T*>(given.out) + first * p.inner;
      const dim3 grid(unsigned(penalty_chunks(p.inner)), unsigned(p.n));
      if (p.inner % Vec<T>::kN == 0 && is_aligned16(p.g) && is_aligned16(p.out))
        launch(scale_kernel<T, true>, grid, dim3(kThreads), 0, stream, p);
      else
        launch(scale_kernel<T, false>, grid, dim3(kThreads), 0, stream, p);
      if (const int error = last_error()) return error;
    }
    return 0;
  });
}

}  // namespace

extern const GradientPenaltyKernels gradient_penalty;
const GradientPenaltyKernels gradient_penalty = {square, penalty, scale};

}  // namespace fastgan::cuda
