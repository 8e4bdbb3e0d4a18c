// SPDX-License-Identifier: Apache-2.0
// sin w and cos w, both times (-1)^n with n = w/π rounded: what sin² and sin·cos need. No table and
// no slow path: 1/π in two parts gives the phase w/π to within a rounding and |w|·eps².
#pragma once

#include "../../common/platform.cuh"

namespace fastgan {

template <class A>
struct HalfTurn {
  A sine, cosine;
};

// w/π less whole numbers, in [-1/2, 1/2] up to rounding; NaN of an infinite w.
__device__ __forceinline__ float phase_of(float w) {
  constexpr float kHigh = 0.318309873342513997f, kLow = 1.28412765651750694e-8f;
  const float phase = fmaf(w, kLow, fmaf(w, kHigh, -rintf(w * kHigh)));
  return phase - rintf(phase);
}
__device__ __forceinline__ double phase_of(double w) {
  constexpr double kHigh = 0.31830988618379069, kLow = -1.9678676675182486e-17;
  const double phase = fma(w, kLow, fma(w, kHigh, -rint(w * kHigh)));
  return phase - rint(phase);
}

// On |r| ≤ π/2 the fits are off by 6e-9 (sine, relative) and 3e-10 (cosine).
__device__ __forceinline__ HalfTurn<float> half_turn(float w) {
  const float r = phase_of(w) * 3.14159265f, q = r * r;
  float s = 2.6057650758e-6f;
  s = s * q - 1.9809596415e-4f;
  s = s * q + 8.3330664784e-3f;
  s = s * q - 1.6666659713e-1f;
  float c = -2.6076955350e-7f;
  c = c * q + 2.4761877285e-5f;
  c = c * q - 1.3888403774e-3f;
  c = c * q + 4.1666641831e-2f;
  return {r + r * q * s, (1 - 0.5f * q) + q * q * c};
}

// The Taylor series, of which what is cut is below 1e-17 there.
__device__ __forceinline__ HalfTurn<double> half_turn(double w) {
  const double r = phase_of(w) * 3.14159265358979324, q = r * r;
  double s = 1, c = 1;
#pragma unroll
  for (int k = 22; k > 0; k -= 2) {
    c = 1 - c * q * (1.0 / (k * (k - 1)));
    s = 1 - s * q * (1.0 / (k * (k + 1)));
  }
  return {r * s, c};
}

}  // namespace fastgan
