// SPDX-License-Identifier: Apache-2.0
// A run: kN adjacent elements that one thread handles. More than one travel in 16-byte accesses:
// the address must allow them.
#pragma once

#include "platform.cuh"

namespace fastgan {

template <class T, int kN>
struct Run {
  T v[kN];
};

template <int kN, class T>
__device__ __forceinline__ Run<T, kN> load_run(const T* p) {
  Run<T, kN> run;
  if constexpr (kN == 1) {
    run.v[0] = p[0];
  } else {
#pragma unroll
    for (int start = 0; start < kN; start += Vec<T>::kN) {
      const Vec<T> part = load16(p + start);
#pragma unroll
      for (int k = 0; k < Vec<T>::kN; ++k) run.v[start + k] = part.v[k];
    }
  }
  return run;
}

template <int kN, class T>
__device__ __forceinline__ void store_run(T* p, const Run<T, kN>& run) {
  if constexpr (kN == 1) {
    p[0] = run.v[0];
  } else {
#pragma unroll
    for (int start = 0; start < kN; start += Vec<T>::kN) {
      Vec<T> part;
#pragma unroll
      for (int k = 0; k < Vec<T>::kN; ++k) part.v[k] = run.v[start + k];
      store16(p + start, part);
    }
  }
}

// Its values in the type that they are computed in.
template <class T, int kN>
__device__ __forceinline__ void unpack(const Run<T, kN>& run, compute_t<T> (&to)[kN]) {
#pragma unroll
  for (int k = 0; k < kN; ++k) to[k] = load(run.v[k]);
}
// The upper halves of words are values but for the lower halves, which takes one instruction each.
template <int kN>
__device__ __forceinline__ void unpack(const Run<__nv_bfloat16, kN>& run, float (&to)[kN]) {
  if constexpr (kN == 1) {
    to[0] = load(run.v[0]);
  } else {
#pragma unroll
    for (int k = 0; k < kN; k += 2) {
      const __nv_bfloat162 pair{run.v[k], run.v[k + 1]};
      const uint32_t word = *reinterpret_cast<const uint32_t*>(&pair);
      to[k] = __uint_as_float(word << 16);
      to[k + 1] = __uint_as_float(word & 0xffff0000u);
    }
  }
}

}  // namespace fastgan
