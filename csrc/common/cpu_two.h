// SPDX-License-Identifier: Apache-2.0
// For <op>_cpu.cpp only: two vectors at a time, of float32 or bfloat16 numbers that lie one after
// another. Of bfloat16 they are the even and the odd elements, which are had of one load by a shift
// and a mask and make one register of 16-bit numbers again without a shuffle.
#pragma once

#include "cpu_simd.h"

namespace fastgan::FASTGAN_ISA {
namespace {

// float32: elements k and kLanes + k. bfloat16: elements 2k and 2k + 1.
struct Two {
  Floats a, b;
};
constexpr int64_t kTwo = 2 * kLanes;

FASTGAN_INLINE Two operator*(Floats f, Two v) { return {f * v.a, f * v.b}; }
FASTGAN_INLINE Two operator+(Two v, Two w) { return {v.a + w.a, v.b + w.b}; }

FASTGAN_INLINE Two even_and_odd(Words w) {
  return {floats_of(w << 16), floats_of(w & 0xffff0000u)};
}
FASTGAN_INLINE Two load_two(const float* p) { return {load_vector(p), load_vector(p + kLanes)}; }
FASTGAN_INLINE Two load_two(const BFloat* p) {
  Words w;
  std::memcpy(&w, p, sizeof w);
  return even_and_odd(w);
}

// Elements [first, last) of kTwo; a load of them leaves the others 0 and does not read what they
// would be.
#if defined(FASTGAN_HAS_MASKS)
struct Part {
  uint32_t mask;
  Part(int64_t first, int64_t last) {
    first = larger(first, 0);
    last = smaller(last, kTwo);
    mask = first < last ? (0xffffffffu << first) & (0xffffffffu >> (kTwo - last)) : 0;
  }
};
FASTGAN_INLINE Two load_two(const float* p, Part part) {
  return {(Floats)_mm512_maskz_loadu_ps(__mmask16(part.mask), p),
          (Floats)_mm512_maskz_loadu_ps(__mmask16(part.mask >> kLanes), p + kLanes)};
}
FASTGAN_INLINE Two load_two(const BFloat* p, Part part) {
  return even_and_odd((Words)_mm512_maskz_loadu_epi16(part.mask, p));
}
#else
struct Part {
  int64_t first, last;
  Part(int64_t begin, int64_t end) : first(larger(begin, 0)), last(smaller(end, kTwo)) {}
};
template <class T>
FASTGAN_INLINE Two load_two(const T* p, Part part) {
  T v[kTwo] = {};
  for (int64_t i = part.first; i < part.last; ++i) v[i] = p[i];
  return load_two(v);
}
#endif

// bfloat16 numbers in pairs: of `low` in the lower halves of 32 bits.
FASTGAN_INLINE Floats pack(Floats low, Floats high) {
  return floats_of(round_at_16(low) >> 16 | (round_at_16(high) & 0xffff0000u));
}

typedef uint16_t Halves __attribute__((vector_size(4 * kLanes)));
template <int... I, int... J>
FASTGAN_INLINE Floats upper_halves(Words a, Words b, Lanes<I...>, Lanes<J...>) {
  return (Floats)__builtin_shufflevector((Halves)a, (Halves)b, (2 * I + 1)...,
                                         (2 * (J + kLanes) + 1)...);
}

// How many elements one register holds as they lie in memory.
template <class T>
constexpr int64_t kPerRegister = 4 * kLanes / int64_t(sizeof(T));

// The first n elements of a register; past the caches with is_streamed, which takes whole registers
// to a multiple of their size.
template <class T>
FASTGAN_INLINE void put_register(T* p, Floats v, int64_t n, bool is_streamed) {
  if (n >= kPerRegister<T>) {
    if (is_streamed) return put_vector<true>(reinterpret_cast<float*>(p), v);
    return store_vector(reinterpret_cast<float*>(p), v);
  }
  if (n <= 0) return;
  if constexpr (sizeof(T) == 4) {
    store_lanes(p, v, n);
  } else {
#if defined(FASTGAN_HAS_MASKS)
    _mm512_mask_storeu_epi16(p, __mmask32(0xffffffffu >> (kTwo - n)), (__m512i)v);
#else
    std::memcpy(p, &v, size_t(n) * sizeof(T));
#endif
  }
}

// The first n of kTwo elements.
FASTGAN_INLINE void put_two(float* p, Two v, int64_t n, bool is_streamed) {
  put_register(p, v.a, n, is_streamed);
  put_register(p + kLanes, v.b, n - kLanes, is_streamed);
}
FASTGAN_INLINE void put_two(BFloat* p, Two v, int64_t n, bool is_streamed) {
  put_register(p, pack(v.a, v.b), n, is_streamed);
}

// Streaming pays where `bytes` of output leave the caches before anyone reads them: each line is
// then not read before it is written. Every row or pixel must begin at a multiple of a vector.
constexpr int64_t kStreamBytes = int64_t(24) << 20;
inline bool is_streamable(const void* out, int64_t bytes, int64_t pitch) {
  return kCanStream && bytes >= kStreamBytes && pitch % kVectorBytes == 0 &&
         reinterpret_cast<uintptr_t>(out) % kVectorBytes == 0;
}

}  // namespace
}  // namespace fastgan::FASTGAN_ISA
