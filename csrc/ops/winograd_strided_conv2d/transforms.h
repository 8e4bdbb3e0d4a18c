// SPDX-License-Identifier: Apache-2.0
// The 1-D transforms of a convolution of stride 2 by three taps, 4 outputs at a time.
//
//   y[i] = e[i] w[0] + o[i] w[1] + e[i + 1] w[2]      e, o: the even and the odd pixels of d [9]
//
// The even pixels are convolved with two taps by F(4, 2) on the points ±a, ±b, ∞, the odd ones with
// one tap by 4 products: 9 instead of 12 in one dimension, 81 instead of 144 in two. The 4 products
// share one transformed tap, so a 3 × 3 kernel becomes 6 × 6 of them.
//
// a = 1/2, b = 5/4: of the short binary fractions, a pair with one of the smallest errors of the
// convolution (simulated in float32); all of A and B is exact in float32.
#pragma once

#include "../../common/winograd/tiles.h"

namespace fastgan::FASTGAN_ISA {
namespace {

template <class T>
struct Points {
  static constexpr T a = T(0.5), b = T(1.25), a2 = a * a, b2 = b * b, a3 = a * a2, b3 = b * b2;
  static constexpr T a2b2 = a2 * b2, a2_b2 = a2 + b2, ab2 = a * b2, ba2 = b * a2;
  // G's row of a point is divided by the product of its distances to the others.
  static constexpr double n = 2.0 * (double(a2) - b2);
  static constexpr T ga0 = T(1.0 / (a * n)), ga1 = T(1.0 / n);
  static constexpr T gb0 = T(-1.0 / (b * n)), gb1 = T(-1.0 / n);
};

// 9 → 5 + 4
template <class T>
struct InputTransform {
  static constexpr int kFrom = 9, kTo = 9;
  template <class V>
  static void apply(const V* d, V* out) {
    using P = Points<T>;
    const V even_a = d[6] - P::b2 * d[2], odd_a = d[4] - P::b2 * d[0];
    const V even_b = d[6] - P::a2 * d[2], odd_b = d[4] - P::a2 * d[0];
    out[0] = even_a + P::a * odd_a;
    out[1] = even_a - P::a * odd_a;
    out[2] = even_b + P::b * odd_b;
    out[3] = even_b - P::b * odd_b;
    out[4] = P::a2b2 * d[0] + (d[8] - P::a2_b2 * d[4]);
    out[5] = d[1];
    out[6] = d[3];
    out[7] = d[5];
    out[8] = d[7];
  }
};

// 5 + 4 → 9
template <class T>
struct InputAdjointTransform {
  static constexpr int kFrom = 9, kTo = 9;
  template <class V>
  static void apply(const V* m, V* out) {
    using P = Points<T>;
    const V sum_a = m[0] + m[1], difference_a = m[0] - m[1];
    const V sum_b = m[2] + m[3], difference_b = m[2] - m[3];
    out[0] = P::a2b2 * m[4] - P::ab2 * difference_a - P::ba2 * difference_b;
    out[1] = m[5];
    out[2] = V{} - (P::b2 * sum_a + P::a2 * sum_b);
    out[3] = m[6];
    out[4] = P::a * difference_a + P::b * difference_b - P::a2_b2 * m[4];
    out[5] = m[7];
    out[6] = sum_a + sum_b;
    out[7] = m[8];
    out[8] = m[4];
  }
};

// 5 + 4 → 4
template <class T>
struct OutputTransform {
  static constexpr int kFrom = 9, kTo = 4;
  template <class V>
  static void apply(const V* m, V* out) {
    using P = Points<T>;
    const V sum_a = m[0] + m[1], difference_a = m[0] - m[1];
    const V sum_b = m[2] + m[3], difference_b = m[2] - m[3];
    out[0] = sum_a + sum_b + m[5];
    out[1] = P::a * difference_a + P::b * difference_b + m[6];
    out[2] = P::a2 * sum_a + P::b2 * sum_b + m[7];
    out[3] = P::a3 * difference_a + P::b3 * difference_b + (m[4] + m[8]);
  }
};

// 4 → 5 + 4
template <class T>
struct OutputAdjointTransform {
  static constexpr int kFrom = 4, kTo = 9;
  template <class V>
  static void apply(const V* y, V* out) {
    using P = Points<T>;
    const V even_a = y[0] + P::a2 * y[2], odd_a = P::a * y[1] + P::a3 * y[3];
    const V even_b = y[0] + P::b2 * y[2], odd_b = P::b * y[1] + P::b3 * y[3];
    out[0] = even_a + odd_a;
    out[1] = even_a - odd_a;
    out[2] = even_b + odd_b;
    out[3] = even_b - odd_b;
    out[4] = y[3];
    out[5] = y[0];
    out[6] = y[1];
    out[7] = y[2];
    out[8] = y[3];
  }
};

// 3 → 5 + 1
template <class T>
struct WeightTransform {
  static constexpr int kFrom = 3, kTo = 6;
  template <class V>
  static void apply(const V* g, V* out) {
    using P = Points<T>;
    out[0] = P::ga1 * g[2] + P::ga0 * g[0];
    out[1] = P::ga1 * g[2] - P::ga0 * g[0];
    out[2] = P::gb1 * g[2] + P::gb0 * g[0];
    out[3] = P::gb1 * g[2] - P::gb0 * g[0];
    out[4] = g[2];
    out[5] = g[1];
  }
};

// 5 + 1 → 3
template <class T>
struct WeightAdjointTransform {
  static constexpr int kFrom = 6, kTo = 3;
  template <class V>
  static void apply(const V* u, V* out) {
    using P = Points<T>;
    out[0] = P::ga0 * (u[0] - u[1]) + P::gb0 * (u[2] - u[3]);
    out[1] = u[5];
    out[2] = P::ga1 * (u[0] + u[1]) + P::gb1 * (u[2] + u[3]) + u[4];
  }
};

struct Strided {
  static constexpr bool kIsAdjoint = false;
  static constexpr int kOutStep = 4, kInStep = 8;
  static constexpr int64_t kConvTiles = 16, kWeightTiles = 32;  // of a block
  static constexpr int64_t kPartTiles = 32;  // fewest of a partial weight gradient
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
  static constexpr int count(int tap) { return tap < 5 ? 1 : 4; }
};

// The adjoint in x: reads dy, writes dx.
struct Transposed {
  static constexpr bool kIsAdjoint = true;
  static constexpr int kOutStep = 8, kInStep = 4;
  static constexpr int64_t kConvTiles = 16;
  template <class T>
  using Input = OutputAdjointTransform<T>;
  template <class T>
  using Output = InputAdjointTransform<T>;
  template <class T>
  using Weight = WeightTransform<T>;
  static constexpr int first(int tap) { return tap; }
  static constexpr int count(int tap) { return tap < 5 ? 1 : 4; }
};

}  // namespace
}  // namespace fastgan::FASTGAN_ISA
