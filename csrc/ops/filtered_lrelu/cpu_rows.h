// SPDX-License-Identifier: Apache-2.0
// For filtered_lrelu_cpu.cpp only: sums of weighted stretches of rows, which every filter here is,
// the activation of a row, and its slope codes.
#pragma once

#include "../../common/cpu_simd.h"
#include "filtered_lrelu.h"

namespace fastgan::FASTGAN_ISA {
namespace {

template <class A>
constexpr int64_t kWidthOf = int64_t(sizeof(typename VectorOf<A>::type) / sizeof(A));

inline int64_t round_up(int64_t n, int64_t to) { return divide_up(n, to) * to; }

// Where the terms of a sum begin in a buffer, and what each is multiplied by.
template <class A>
struct Terms {
  int64_t* offsets;
  A* weights;
  int64_t count = 0;

  void clear() { count = 0; }
  void add(int64_t offset, A weight) {
    offsets[count] = offset;
    weights[count++] = weight;
  }
};

template <int n, int vectors, class A, class V>
FASTGAN_INLINE void add_terms(V (&sums)[vectors], const A* from, const int64_t* offsets,
                              const A* weights) {
#pragma GCC unroll 6
  for (int j = 0; j < n; ++j) {
    const V weight = weights[j] - V{};
    const A* at = from + offsets[j];
#pragma GCC unroll 4
    for (int k = 0; k < vectors; ++k) {
      V v;
      std::memcpy(&v, at + k * kWidthOf<A>, sizeof v);
      sums[k] += weight * v;
    }
  }
}

template <int vectors, class A>
FASTGAN_INLINE void sum_block(A* out, const A* from, const Terms<A>& terms) {
  using V = typename VectorOf<A>::type;
  V sums[vectors] = {};
  const int64_t* offsets = terms.offsets;
  const A* weights = terms.weights;
  int64_t left = terms.count;
  for (; left >= 6; left -= 6, offsets += 6, weights += 6) {
    V part[vectors] = {};  // sums of sums keep their last digits
    add_terms<6>(part, from, offsets, weights);
#pragma GCC unroll 4
    for (int k = 0; k < vectors; ++k) sums[k] += part[k];
  }
  switch (left) {
    case 5: add_terms<5>(sums, from, offsets, weights); break;
    case 4: add_terms<4>(sums, from, offsets, weights); break;
    case 3: add_terms<3>(sums, from, offsets, weights); break;
    case 2: add_terms<2>(sums, from, offsets, weights); break;
    case 1: add_terms<1>(sums, from, offsets, weights); break;
    default: break;
  }
#pragma GCC unroll 4
  for (int k = 0; k < vectors; ++k) std::memcpy(out + k * kWidthOf<A>, &sums[k], sizeof sums[k]);
}

// out[i] = Σ_j weights[j] · from[offsets[j] + i], i < n, a multiple of a vector.
template <class A>
void weighted_sum(A* out, const A* from, const Terms<A>& terms, int64_t n) {
  constexpr int64_t kStep = 4 * kWidthOf<A>;
  int64_t i = 0;
  for (; i + kStep <= n; i += kStep) sum_block<4>(out + i, from + i, terms);
  for (; i < n; i += kWidthOf<A>) sum_block<1>(out + i, from + i, terms);
}

template <class A>
struct Activation {
  A gain, slope, clamp;  // a clamp that is NaN is none
};

template <class A>
inline A clamped(A w, A clamp) {
  w = w > clamp ? clamp : w;
  return w < -clamp ? -clamp : w;
}

template <class A>
void activate(A* row, int64_t n, Activation<A> o) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const A v = row[i];
    row[i] = clamped(o.gain * (v > 0 ? v : o.slope * v), o.clamp);
  }
}

// The same, with a code for each.
template <class A>
void activate(A* row, uint8_t* codes, int64_t n, Activation<A> o) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const A v = row[i], w = o.gain * (v > 0 ? v : o.slope * v);
    const uint8_t code = v > 0 ? uint8_t(SlopeCode::kOne) : uint8_t(SlopeCode::kSlope);
    codes[i] = w >= o.clamp || w <= -o.clamp ? uint8_t(SlopeCode::kClamped) : code;
    row[i] = clamped(w, o.clamp);
  }
}

template <class A>
void multiply_by_slopes(A* row, const uint8_t* codes, int64_t n, A slope) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const A factor = codes[i] == uint8_t(SlopeCode::kOne)     ? A(1)
                     : codes[i] == uint8_t(SlopeCode::kSlope) ? slope
                                                              : A(0);
    row[i] = factor == 0 ? A(0) : row[i] * factor;
  }
}

// Codes lie in `planes` planes, `pitch` apart: that of sample i at plane i % planes, place
// i / planes. Bytes [0, n) of `to` get those of samples 0, 1, …, four each.
inline void pack(uint8_t* to, const uint8_t* codes, int64_t planes, int64_t pitch, int64_t n) {
  if (planes == 2) {
    const uint8_t *even = codes, *odd = codes + pitch;
#pragma omp simd
    for (int64_t i = 0; i < n; ++i)
      to[i] = uint8_t(even[2 * i] | odd[2 * i] << 2 | even[2 * i + 1] << 4 | odd[2 * i + 1] << 6);
    return;
  }
  if (planes == 4) {
    const uint8_t *a = codes, *b = a + pitch, *c = b + pitch, *d = c + pitch;
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) to[i] = uint8_t(a[i] | b[i] << 2 | c[i] << 4 | d[i] << 6);
    return;
  }
  int64_t plane = 0, place = 0;
  for (int64_t i = 0; i < n; ++i) {
    unsigned bits = 0;
    for (int k = 0; k < 4; ++k) {
      bits |= unsigned(codes[plane * pitch + place]) << (2 * k);
      if (++plane == planes) plane = 0, ++place;
    }
    to[i] = uint8_t(bits);
  }
}

// The inverse.
inline void unpack(uint8_t* codes, const uint8_t* from, int64_t planes, int64_t pitch, int64_t n) {
  if (planes == 2) {
    uint8_t *even = codes, *odd = codes + pitch;
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
      even[2 * i] = from[i] & 3;
      odd[2 * i] = from[i] >> 2 & 3;
      even[2 * i + 1] = from[i] >> 4 & 3;
      odd[2 * i + 1] = from[i] >> 6;
    }
    return;
  }
  if (planes == 4) {
    uint8_t *a = codes, *b = a + pitch, *c = b + pitch, *d = c + pitch;
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
      a[i] = from[i] & 3;
      b[i] = from[i] >> 2 & 3;
      c[i] = from[i] >> 4 & 3;
      d[i] = from[i] >> 6;
    }
    return;
  }
  int64_t plane = 0, place = 0;
  for (int64_t i = 0; i < n; ++i)
    for (int k = 0; k < 4; ++k) {
      codes[plane * pitch + place] = from[i] >> (2 * k) & 3;
      if (++plane == planes) plane = 0, ++place;
    }
}

}  // namespace
}  // namespace fastgan::FASTGAN_ISA
