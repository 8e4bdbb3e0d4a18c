// SPDX-License-Identifier: Apache-2.0
// CPU kernels of gradient_penalty, compiled once per instruction set.
#include "gradient_penalty.h"

#include <cmath>

#include "../../common/cpu.h"

namespace fastgan::FASTGAN_ISA {
namespace {

constexpr int64_t kBlock = 512;  // a sum of short sums keeps its last digits

int square(const SquareParams& p, const Exec& exec) {
  const int64_t chunks = penalty_chunks(p.inner);
  dispatch(p.dtype, [&](auto type) {
    using T = decltype(type);
    using A = compute_t<T>;
    auto range = [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) {
        const int64_t n = k / chunks, chunk = k % chunks;
        const T* g = static_cast<const T*>(p.g) + n * p.inner + chunk * kPenaltyChunk;
        const int64_t length = smaller(kPenaltyChunk, p.inner - chunk * kPenaltyChunk);
        A sum = 0;
        for (int64_t start = 0; start < length; start += kBlock) {
          const int64_t stop = smaller(length, start + kBlock);
          A part = 0;
#pragma omp simd reduction(+ : part)
          for (int64_t i = start; i < stop; ++i) {
            const A v = load(g[i]);
            part += v * v;
          }
          sum += part;
        }
        static_cast<A*>(p.partial)[n * p.columns + p.column + chunk] = sum;
      }
    };
    const int64_t chunk_bytes = smaller(p.inner, kPenaltyChunk) * int64_t(sizeof(T));
    parallel(exec, p.n * chunks, at_least_one(kGrainBytes / chunk_bytes), range);
  });
  return 0;
}

template <class A>
void penalty_typed(const PenaltyParams& p) {
  const A* partial = static_cast<const A*>(p.partial);
  for (int64_t n = 0; n < p.n; ++n) {
    A s = 0;
    for (int64_t k = 0; k < p.columns; ++k) s += partial[n * p.columns + k];
    A excess = (sizeof(A) == 8 ? A(::sqrt(double(s))) : A(::sqrtf(float(s)))) - A(p.target);
    if (p.is_one_sided && excess < 0) excess = 0;
    static_cast<A*>(p.squared_norm)[n] = s;
    static_cast<A*>(p.penalty)[n] = p.target == 0 ? s : excess * excess;
  }
}

int penalty(const PenaltyParams& p, const Exec&) {
  p.is_double ? penalty_typed<double>(p) : penalty_typed<float>(p);
  return 0;
}

int scale(const ScaleParams& p, const Exec& exec) {
  const int64_t chunks = penalty_chunks(p.inner);
  dispatch(p.dtype, [&](auto type) {
    using T = decltype(type);
    using A = compute_t<T>;
    auto range = [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) {
        const int64_t n = k / chunks, start = n * p.inner + k % chunks * kPenaltyChunk;
        const int64_t length = smaller(kPenaltyChunk, p.inner - k % chunks * kPenaltyChunk);
        const A c = static_cast<const A*>(p.c)[n];
        const T* g = static_cast<const T*>(p.g) + start;
        T* out = static_cast<T*>(p.out) + start;
#pragma omp simd
        for (int64_t i = 0; i < length; ++i) store(out + i, c * load(g[i]));
      }
    };
    const int64_t chunk_bytes = smaller(p.inner, kPenaltyChunk) * int64_t(sizeof(T));
    parallel(exec, p.n * chunks, at_least_one(kGrainBytes / chunk_bytes), range);
  });
  return 0;
}

}  // namespace

extern const GradientPenaltyKernels gradient_penalty;
const GradientPenaltyKernels gradient_penalty = {square, penalty, scale};

}  // namespace fastgan::FASTGAN_ISA
