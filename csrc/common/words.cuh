// SPDX-License-Identifier: Apache-2.0
// 32-bit words of one or two elements: what lies in a register between a load and its use.
#pragma once

#include "platform.cuh"

namespace fastgan::cuda {
namespace {

// In a branch that few threads take: the compiler would otherwise predicate its instructions, which
// then cost every thread their place.
__device__ __forceinline__ void keep_branch() { asm volatile(""); }

// Keeps a value in its register: the compiler would otherwise compute it again in every step.
__device__ __forceinline__ void keep(uint32_t& value) { asm volatile("" : "+r"(value)); }

template <class T>
constexpr int kPerWord = 4 / int(sizeof(T));

// Element k of a word.
template <class T>
__device__ __forceinline__ float element(uint32_t word, int k) {
  if constexpr (sizeof(T) == 4) {
    return __uint_as_float(word);
  } else if constexpr (std::is_same_v<T, __nv_bfloat16>) {  // the upper half of a float32
    return __uint_as_float(k == 0 ? word << 16 : word & 0xffff0000u);
  } else {
    struct alignas(4) Pair {
      T v[2];
    } pair;
    *reinterpret_cast<uint32_t*>(&pair) = word;
    return load(pair.v[k]);
  }
}

// kPerWord values, rounded to T.
template <class T>
__device__ __forceinline__ uint32_t word_of(const float* values) {
  if constexpr (sizeof(T) == 4) {
    return __float_as_uint(values[0]);
  } else if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(values[0], values[1]);
    return *reinterpret_cast<const uint32_t*>(&pair);
  } else {
    const __half2 pair = __floats2half2_rn(values[0], values[1]);
    return *reinterpret_cast<const uint32_t*>(&pair);
  }
}

// kWords adjacent words in as few accesses as their alignment, that of all of them, allows.
template <int kWords>
__device__ __forceinline__ void store_words(void* to, const uint32_t (&words)[kWords]) {
  if constexpr (kWords == 4) {  // see store16
    const uint64_t low = words[0] | uint64_t(words[1]) << 32;
    const uint64_t high = words[2] | uint64_t(words[3]) << 32;
    *static_cast<unsigned __int128*>(to) = low | static_cast<unsigned __int128>(high) << 64;
  } else if constexpr (kWords == 2) {
    *static_cast<uint64_t*>(to) = words[0] | uint64_t(words[1]) << 32;
  } else {
    static_assert(kWords == 1, "1, 2 or 4 words travel in one access");
    *static_cast<uint32_t*>(to) = words[0];
  }
}

}  // namespace
}  // namespace fastgan::cuda
