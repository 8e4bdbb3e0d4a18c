// SPDX-License-Identifier: Apache-2.0
// For <op>_cpu.cpp only: elementary functions that the compiler can vectorise, which libm's cannot
// be. float32 within 2 units in the last place; float64 goes to libm.
#pragma once

#include <cmath>

#include "cpu.h"

namespace fastgan::FASTGAN_ISA {
namespace {

// v = n·ln 2 + r with n whole and |r| ≤ ln 2 / 2.
struct Reduced {
  int32_t n;
  float r;
};
inline Reduced reduce_by_ln2(float v) {
  constexpr float kMagic = 12582912.0f;  // 1.5·2^23: adding it rounds to a whole number
  const float shifted = v * 1.44269504f + kMagic;
  const float n = shifted - kMagic;
  // ln 2 in two parts: n times the first is exact.
  return {int32_t(to_bits(shifted) - to_bits(kMagic)), (v - n * 0.693359375f) + n * 2.12194440e-4f};
}

// e^r - 1 for |r| ≤ ln 2 / 2: the Taylor series, whose remainder r^8 / 8! is below 1e-8.
inline float small_expm1(float r) {
  float p = 1.0f / 5040;
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  return r + r * r * p;
}

// 2^n for -126 ≤ n ≤ 127.
inline float power_of_two(int32_t n) { return from_bits(uint32_t(n + 127) << 23); }

inline float exponential(float v) {
  float c = v < -104.0f ? -104.0f : v;  // beyond these, 0 and infinity come out by themselves
  c = c > 89.0f ? 89.0f : c;
  const Reduced x = reduce_by_ln2(c);
  const int32_t half = x.n >> 1;  // in two steps: n leaves the exponents of normal numbers
  return (1.0f + small_expm1(x.r)) * power_of_two(half) * power_of_two(x.n - half);
}
inline double exponential(double v) { return ::exp(v); }

// e^v - 1 for v ≤ 0, without cancellation near 0.
inline float expm1_below_zero(float v) {
  const Reduced x = reduce_by_ln2(v < -30.0f ? -30.0f : v);
  const float scale = power_of_two(x.n);
  return scale * small_expm1(x.r) + (scale - 1.0f);
}
inline double expm1_below_zero(double v) { return ::expm1(v); }

// ln(1 + v) for 0 ≤ v ≤ 1: 2·artanh(v / (2 + v)), whose series in s² ≤ 1/9 is cut at s^17.
inline float log1p_below_one(float v) {
  const float s = v / (2.0f + v), q = s * s;
  float p = 1.0f / 15;
  p = p * q + 1.0f / 13;
  p = p * q + 1.0f / 11;
  p = p * q + 1.0f / 9;
  p = p * q + 1.0f / 7;
  p = p * q + 1.0f / 5;
  p = p * q + 1.0f / 3;
  return 2.0f * (s + s * q * p);
}
inline double log1p_below_one(double v) { return ::log1p(v); }

inline float hyperbolic_tangent(float v) {
  const float e = expm1_below_zero(-2.0f * (v < 0 ? -v : v));
  const float t = -e / (2.0f + e);
  return v < 0 ? -t : t;
}
inline double hyperbolic_tangent(double v) { return ::tanh(v); }

// sin v and cos v, both times (-1)^n with n = v/π rounded: what sin², cos² and sin·cos need.
template <class A>
struct HalfTurn {
  A sine, cosine;
};

// For |v| up to this; beyond it n·kPi parts are no longer exact.
constexpr float kMostHalfTurn = 16384.0f;
inline HalfTurn<float> half_turn(float v) {
  constexpr float kMagic = 12582912.0f;  // as above
  const float n = (v * 0.318309886f + kMagic) - kMagic;
  // π in three parts: n times the first two is exact, and so is v minus the first product.
  const float r = ((v - n * 3.140625f) - n * 9.67502593994140625e-4f) - n * 1.50995803e-7f;
  const float q = r * r;
  // On |r| ≤ π/2 the fits are off by 6e-9 (sine, relative) and 3e-10 (cosine).
  float s = 2.6057650758e-6f;
  s = s * q - 1.9809596415e-4f;
  s = s * q + 8.3330664784e-3f;
  s = s * q - 1.6666659713e-1f;
  float c = -2.6076955350e-7f;
  c = c * q + 2.4761877285e-5f;
  c = c * q - 1.3888403774e-3f;
  c = c * q + 4.1666641831e-2f;
  return {r + r * q * s, (1.0f - 0.5f * q) + q * q * c};
}
inline HalfTurn<float> half_turn_of_any(float v) { return {::sinf(v), ::cosf(v)}; }
inline HalfTurn<double> half_turn_of_any(double v) { return {::sin(v), ::cos(v)}; }

template <class A>
inline A sigmoid(A v) {
  return A(1) / (A(1) + exponential(-v));
}

}  // namespace
}  // namespace fastgan::FASTGAN_ISA
