// SPDX-License-Identifier: Apache-2.0
// The 1-D transforms of F(4, 3) on the points 0, ±a, ±b, ∞, and their 2-D use on one tile.
//
//   y = Aᵀ[(G w Gᵀ) ⊙ (Bᵀ d B)]A        d [6, 6] input tile, w [3, 3], y [4, 4]
//
// The weight gradient is the adjoint of the same: dw = Gᵀ[(A dy Aᵀ) ⊙ (Bᵀ d B)]G.
// a = 3/4, b = 3/2: of the pairs of short binary fractions, one with the smallest measured error
// (less than half of that of the usual 1 and 2), and all of A and B is exact in float32.
#pragma once

#include "transform_tile.h"

namespace fastgan::FASTGAN_ISA {
namespace {

template <class T>
struct Points {
  static constexpr T a = T(0.75), b = T(1.5), a2 = a * a, b2 = b * b;
  static constexpr T a3 = a * a2, b3 = b * b2, a2b2 = a2 * b2, a2_b2 = a2 + b2;
  // G's row of a point is divided by the product of its distances to the others.
  static constexpr double na = 2.0 * a2 * (double(a2) - b2), nb = 2.0 * b2 * (double(b2) - a2);
  static constexpr T g0 = T(1.0 / (double(a2) * b2));
  static constexpr T ga = T(1.0 / na), ga1 = T(a / na), ga2 = T(a2 / na);
  static constexpr T gb = T(1.0 / nb), gb1 = T(b / nb), gb2 = T(b2 / nb);
};

// Bᵀ: 6 → 6
template <class T>
struct InputTransform {
  static constexpr int kFrom = 6, kTo = 6;
  template <class V>
  static void apply(const V* d, V* out) {
    using P = Points<T>;
    const V even_a = d[4] - P::b2 * d[2], odd_a = d[3] - P::b2 * d[1];
    const V even_b = d[4] - P::a2 * d[2], odd_b = d[3] - P::a2 * d[1];
    out[0] = P::a2b2 * d[0] + (d[4] - P::a2_b2 * d[2]);
    out[1] = even_a + P::a * odd_a;
    out[2] = even_a - P::a * odd_a;
    out[3] = even_b + P::b * odd_b;
    out[4] = even_b - P::b * odd_b;
    out[5] = P::a2b2 * d[1] + (d[5] - P::a2_b2 * d[3]);
  }
};

// Aᵀ: 6 → 4
template <class T>
struct OutputTransform {
  static constexpr int kFrom = 6, kTo = 4;
  template <class V>
  static void apply(const V* m, V* out) {
    using P = Points<T>;
    const V sum_a = m[1] + m[2], difference_a = m[1] - m[2];
    const V sum_b = m[3] + m[4], difference_b = m[3] - m[4];
    out[0] = m[0] + sum_a + sum_b;
    out[1] = P::a * difference_a + P::b * difference_b;
    out[2] = P::a2 * sum_a + P::b2 * sum_b;
    out[3] = P::a3 * difference_a + P::b3 * difference_b + m[5];
  }
};

// A: 4 → 6
template <class T>
struct OutputAdjointTransform {
  static constexpr int kFrom = 4, kTo = 6;
  template <class V>
  static void apply(const V* y, V* out) {
    using P = Points<T>;
    const V even_a = y[0] + P::a2 * y[2], odd_a = P::a * y[1] + P::a3 * y[3];
    const V even_b = y[0] + P::b2 * y[2], odd_b = P::b * y[1] + P::b3 * y[3];
    out[0] = y[0];
    out[1] = even_a + odd_a;
    out[2] = even_a - odd_a;
    out[3] = even_b + odd_b;
    out[4] = even_b - odd_b;
    out[5] = y[3];
  }
};

// G: 3 → 6
template <class T>
struct WeightTransform {
  static constexpr int kFrom = 3, kTo = 6;
  template <class V>
  static void apply(const V* g, V* out) {
    using P = Points<T>;
    const V even_a = P::ga * g[0] + P::ga2 * g[2], even_b = P::gb * g[0] + P::gb2 * g[2];
    out[0] = P::g0 * g[0];
    out[1] = even_a + P::ga1 * g[1];
    out[2] = even_a - P::ga1 * g[1];
    out[3] = even_b + P::gb1 * g[1];
    out[4] = even_b - P::gb1 * g[1];
    out[5] = g[2];
  }
};

// Gᵀ: 6 → 3
template <class T>
struct WeightAdjointTransform {
  static constexpr int kFrom = 6, kTo = 3;
  template <class V>
  static void apply(const V* u, V* out) {
    using P = Points<T>;
    const V sum_a = u[1] + u[2], sum_b = u[3] + u[4];
    out[0] = P::g0 * u[0] + P::ga * sum_a + P::gb * sum_b;
    out[1] = P::ga1 * (u[1] - u[2]) + P::gb1 * (u[3] - u[4]);
    out[2] = P::ga2 * sum_a + P::gb2 * sum_b + u[5];
  }
};

struct F43 {
  static constexpr bool kIsAdjoint = false;
  static constexpr int kOutStep = 4, kInStep = 4;
  static constexpr int64_t kConvTiles = 24, kWeightTiles = 48;  // of a block
  static constexpr int64_t kPartTiles = 96;  // fewest of a partial weight gradient
  template <class T>
  using Input = InputTransform<T>;
  template <class T>
  using Output = OutputTransform<T>;
  template <class T>
  using OutputAdjoint = OutputAdjointTransform<T>;
  template <class T>
  using Weight = WeightTransform<T>;
  template <class T>
  using WeightAdjoint = WeightAdjointTransform<T>;
  static constexpr int first(int tap) { return tap; }
  static constexpr int count(int) { return 1; }
};

}  // namespace
}  // namespace fastgan::FASTGAN_ISA
