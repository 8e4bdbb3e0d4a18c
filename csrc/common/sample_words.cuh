// SPDX-License-Identifier: Apache-2.0
// The words of a sample, and the numbers that are made of one: fastgan/ops/sample_random.py says
// how.
#pragma once

#include "platform.cuh"
#include "sample_gamma.h"

namespace fastgan {

__device__ __forceinline__ uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

// What the words of one sample are counted from; `key` includes the stream's offset.
__device__ __forceinline__ uint64_t sample_key(uint64_t key, uint64_t sample) {
  return mix(key + sample * kSampleGamma);
}
__device__ __forceinline__ uint64_t sample_word(uint64_t sample_key, uint64_t j) {
  return mix(sample_key + j * kSampleGamma);
}

// 24 bits fit a float32, 53 a float64: both conversions and the product are exact.
__device__ __forceinline__ float unit(uint64_t word, float) {
  return float(uint32_t(word >> 40)) * 0x1p-24f;
}
__device__ __forceinline__ double unit(uint64_t word, double) {
  return double(int64_t(word >> 11)) * 0x1p-53;
}

__device__ __forceinline__ float root(float v) { return sqrtf(v); }
__device__ __forceinline__ double root(double v) { return sqrt(v); }
__device__ __forceinline__ float logarithm(float v) { return logf(v); }
__device__ __forceinline__ double logarithm(double v) { return log(v); }
// Of π times v: the argument is exact, and unlike cosf no path for huge angles needs local memory.
__device__ __forceinline__ void sine_cosine(float v, float& sine, float& cosine) {
  sincospif(v, &sine, &cosine);
}
__device__ __forceinline__ void sine_cosine(double v, double& sine, double& cosine) {
  sincospi(v, &sine, &cosine);
}

// Of two independent normal numbers radius·cosine and radius·sine, by Box and Muller.
template <class A>
__device__ __forceinline__ A normal_pair(uint64_t word, A& sine, A& cosine) {
  const A a = A(int64_t(word) >> 32), b = A(int32_t(uint32_t(word)));
  const A u = (a < A(0) ? -a : a) * A(0x1p-31) + A(0x1p-32);
  const A radius = root(A(-2) * logarithm(u));
  sine_cosine(b * A(0x1p-31), sine, cosine);
  return radius;
}

}  // namespace fastgan
