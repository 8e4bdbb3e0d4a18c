// SPDX-License-Identifier: Apache-2.0
// For <op>_cpu.cpp only: a vector of kLanes floats, as wide as the instruction set has, where loops
// that the compiler vectorises cannot say what is meant: lanes shifted between registers, tables
// turned over, 16-bit numbers two to a word. Written with the vector extension of GCC and Clang.
#pragma once

#include "cpu.h"

#if defined(__AVX512BW__) && defined(__AVX512VL__)
#include <immintrin.h>
#define FASTGAN_HAS_MASKS
#elif defined(__SSE2__)
#include <immintrin.h>
#endif

namespace fastgan::FASTGAN_ISA {
namespace {

#if defined(FASTGAN_HAS_MASKS)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

// Whether kernels written in these vectors are worth compiling: x86-64 without AVX2, of which
// hardly any is left, has four lanes and cannot shift them freely; the general kernels serve it.
#if defined(__x86_64__) && !defined(__AVX2__)
constexpr bool kHasWideVectors = false;
#else
constexpr bool kHasWideVectors = true;
#endif

typedef float Floats __attribute__((vector_size(4 * kLanes)));
typedef double Doubles __attribute__((vector_size(4 * kLanes)));
typedef uint32_t Words __attribute__((vector_size(4 * kLanes)));
typedef uint16_t Shorts __attribute__((vector_size(2 * kLanes)));

// The vector of a type that things are computed in.
template <class A>
struct VectorOf {
  using type = Floats;
};
template <>
struct VectorOf<double> {
  using type = Doubles;
};

#define FASTGAN_INLINE inline __attribute__((always_inline))

// Lane numbers 0, 1, …, kLanes - 1 as a parameter pack.
template <int... I>
struct Lanes {};
template <int n, int... I>
struct CountTo : CountTo<n - 1, n - 1, I...> {};
template <int... I>
struct CountTo<0, I...> {
  using type = Lanes<I...>;
};
using AllLanes = CountTo<kLanes>::type;

// Lanes by, by + 1, … of a followed by b.
template <int by, int... I>
FASTGAN_INLINE Floats shift_lanes(Floats a, Floats b, Lanes<I...>) {
  return __builtin_shufflevector(a, b, (I + by)...);
}
template <int by>
FASTGAN_INLINE Floats shift_lanes(Floats a, Floats b) {
  return shift_lanes<by>(a, b, AllLanes{});
}

// Every second lane of a followed by b, from `first`.
template <int first, int... I>
FASTGAN_INLINE Floats every_second(Floats a, Floats b, Lanes<I...>) {
  return __builtin_shufflevector(a, b, (2 * I + first)...);
}
template <int first>
FASTGAN_INLINE Floats every_second(Floats a, Floats b) {
  return every_second<first>(a, b, AllLanes{});
}

// a0 b0 a1 b1 …: its lower (half 0) or upper (half 1) kLanes.
template <int half, int... I>
FASTGAN_INLINE Floats interleave(Floats a, Floats b, Lanes<I...>) {
  return __builtin_shufflevector(a, b, (half * kLanes / 2 + I / 2 + I % 2 * kLanes)...);
}
template <int half>
FASTGAN_INLINE Floats interleave(Floats a, Floats b) {
  return interleave<half>(a, b, AllLanes{});
}

// v[i][j] becomes v[j][i].
FASTGAN_INLINE void transpose(Floats (&v)[kLanes]) {
  Floats t[kLanes];
#pragma GCC unroll 4
  for (int step = 1; step < kLanes; step *= 2) {
#pragma GCC unroll 16
    for (int i = 0; i < kLanes / 2; ++i) {
      t[2 * i] = interleave<0>(v[i], v[i + kLanes / 2]);
      t[2 * i + 1] = interleave<1>(v[i], v[i + kLanes / 2]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) v[i] = t[i];
  }
}

FASTGAN_INLINE Floats all_lanes(float v) { return v - Floats{}; }
FASTGAN_INLINE Words bits_of(Floats v) { return (Words)v; }
FASTGAN_INLINE Floats floats_of(Words v) { return (Floats)v; }

// bfloat16 to float32.
FASTGAN_INLINE Floats widen(Shorts s) { return floats_of(__builtin_convertvector(s, Words) << 16); }

FASTGAN_INLINE Floats load_vector(const float* p) {
  Floats v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
FASTGAN_INLINE Floats load_vector(const BFloat* p) {
  Shorts s;
  std::memcpy(&s, p, sizeof s);
  return widen(s);
}

// Round to nearest even at bit 16. A NaN stays one if its lower 16 bits are 0, as they are in every
// NaN that arithmetic makes of bfloat16 numbers.
FASTGAN_INLINE Words round_at_16(Floats v) {
  const Words u = bits_of(v);
  return u + (((u >> 16) & 1u) + 0x7fffu);
}

FASTGAN_INLINE Shorts narrow(Floats v) {
  return __builtin_convertvector(round_at_16(v) >> 16, Shorts);
}

FASTGAN_INLINE void store_vector(float* p, Floats v) { std::memcpy(p, &v, sizeof v); }
FASTGAN_INLINE void store_vector(BFloat* p, Floats v) {
  const Shorts s = narrow(v);
  std::memcpy(p, &s, sizeof s);
}

// a > b ? a : b and a < b ? a : b: of a NaN or of two zeros, b.
FASTGAN_INLINE Floats larger_of(Floats a, Floats b) {
#if defined(FASTGAN_HAS_MASKS)
  return (Floats)_mm512_maskz_max_ps(__mmask16(-1), (__m512)a, (__m512)b);
#elif defined(__AVX2__)
  return (Floats)_mm256_max_ps((__m256)a, (__m256)b);
#elif defined(__SSE2__)
  return (Floats)_mm_max_ps((__m128)a, (__m128)b);
#else
  return a > b ? a : b;
#endif
}
FASTGAN_INLINE Floats smaller_of(Floats a, Floats b) {
#if defined(FASTGAN_HAS_MASKS)
  return (Floats)_mm512_maskz_min_ps(__mmask16(-1), (__m512)a, (__m512)b);
#elif defined(__AVX2__)
  return (Floats)_mm256_min_ps((__m256)a, (__m256)b);
#elif defined(__SSE2__)
  return (Floats)_mm_min_ps((__m128)a, (__m128)b);
#else
  return a < b ? a : b;
#endif
}

FASTGAN_INLINE float sum_of_lanes(Floats v) {
  float sum = 0;
  for (int i = 0; i < kLanes; ++i) sum += v[i];
  return sum;
}

// Stores. A streamed one goes past the caches and takes whole vectors only; end_of_stream() before
// another thread may read it.
constexpr int64_t kVectorBytes = 4 * kLanes;
#if defined(__SSE2__)
constexpr bool kCanStream = true;
#else
constexpr bool kCanStream = false;
#endif
template <bool is_streamed>
FASTGAN_INLINE void put_vector(float* p, Floats v) {
  if constexpr (!is_streamed || !kCanStream) return store_vector(p, v);
#if defined(FASTGAN_HAS_MASKS)
  _mm512_stream_ps(p, (__m512)v);
#elif defined(__AVX2__)
  _mm256_stream_ps(p, (__m256)v);
#elif defined(__SSE2__)
  _mm_stream_ps(p, (__m128)v);
#endif
}
inline void end_of_stream() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

// Lanes [first, last) of p; the others are 0 and what they would be is not read.
template <class T>
FASTGAN_INLINE Floats load_lanes(const T* p, int64_t first, int64_t last) {
  if (first <= 0 && last >= kLanes) return load_vector(p);
  first = larger(first, 0);
  last = smaller(last, kLanes);
#if defined(FASTGAN_HAS_MASKS)
  if (first >= last) return Floats{};
  const __mmask16 mask = __mmask16((0xffffu << first) & (0xffffu >> (kLanes - last)));
  if constexpr (sizeof(T) == 4)
    return (Floats)_mm512_maskz_loadu_ps(mask, p);
  else
    return widen((Shorts)_mm256_maskz_loadu_epi16(mask, p));
#else
  float v[kLanes] = {};
  for (int64_t i = first; i < last; ++i) v[i] = load(p[i]);
  return load_vector(v);
#endif
}

// The first n lanes.
template <class T>
FASTGAN_INLINE void store_lanes(T* p, Floats v, int64_t n) {
  if (n >= kLanes) return store_vector(p, v);
#if defined(FASTGAN_HAS_MASKS)
  if (n <= 0) return;
  const __mmask16 mask = __mmask16(0xffffu >> (kLanes - n));
  if constexpr (sizeof(T) == 4)
    _mm512_mask_storeu_ps(p, mask, (__m512)v);
  else
    _mm256_mask_storeu_epi16(p, mask, (__m256i)narrow(v));
#else
  T values[kLanes];
  store_vector(values, v);
  for (int64_t i = 0; i < n; ++i) p[i] = values[i];
#endif
}

}  // namespace
}  // namespace fastgan::FASTGAN_ISA
