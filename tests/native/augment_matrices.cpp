// SPDX-License-Identifier: Apache-2.0
#include "../../csrc/ops/augment_matrices/augment_matrices.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include "driver.h"

namespace fastgan::driver {
namespace {

#if defined(FASTGAN_EMULATOR)

constexpr int64_t kOffset = -5, kFirst = 3, kStride = 7, kBegin = 11;
constexpr double kPi = 3.141592653589793, kLog2 = 0.6931471805599453;

uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

struct Numbers {
  uint64_t key, word;
  uint64_t next() { return mix(key + word++ * kSampleGamma); }
  double uniform() { return std::ldexp(double(next() >> 40), -24); }
  double whole(uint64_t count) { return double((next() >> 32) * count >> 32); }
  double normal() {
    const uint64_t w = next();
    const double a = std::fabs(double(int64_t(w) >> 32)), b = int32_t(uint32_t(w));
    return std::sqrt(-2 * std::log(a * 0x1p-31 + 0x1p-32)) * std::cos(kPi * b * 0x1p-31);
  }
};

// Square matrices of 3 or 4 rows, multiplied as they stand.
using Matrix = std::array<std::array<double, 4>, 4>;

Matrix identity() {
  Matrix m{};
  for (size_t i = 0; i < 4; ++i) m[i][i] = 1;
  return m;
}
Matrix operator*(const Matrix& a, const Matrix& b) {
  Matrix m{};
  for (size_t i = 0; i < 4; ++i)
    for (size_t j = 0; j < 4; ++j)
      for (size_t k = 0; k < 4; ++k) m[i][j] += a[i][k] * b[k][j];
  return m;
}
Matrix plane(double a, double b, double tx, double c, double d, double ty) {
  Matrix m = identity();
  m[0] = {a, b, tx, 0};
  m[1] = {c, d, ty, 0};
  return m;
}
Matrix inverse_turn(double angle) {
  return plane(std::cos(angle), std::sin(angle), 0, -std::sin(angle), std::cos(angle), 0);
}

struct Drawn {
  Matrix blit = identity(), inverse = identity(), color = identity();
  bool is_moved = false, is_colored = false;
};

Drawn exact(const AugmentMatricesParams& p, int64_t row) {
  const uint64_t sample = uint64_t(p.first + row * p.stride);
  Numbers numbers{mix(uint64_t(*p.key + p.offset) + sample * kSampleGamma), uint64_t(p.begin)};
  const double probability = *p.p, width = double(p.width), height = double(p.height);
  auto is_executed = [&](double share, bool& is_any) {
    const bool is_below = numbers.uniform() < share;
    is_any |= is_below;
    return is_below;
  };
  auto maybe = [](bool is_it, double value) { return is_it ? value : 0; };
  Drawn drawn;
  bool ignored = false;
  if (p.blit) {
    bool is_it = is_executed(probability, ignored);
    const double mirror = 1 - 2 * maybe(is_it, numbers.whole(2));
    is_it = is_executed(probability, ignored);
    double turns = maybe(is_it, numbers.whole(p.height == p.width ? 4 : 2));
    if (p.height != p.width) turns *= 2;
    is_it = is_executed(probability, ignored);
    const double x = maybe(is_it, std::nearbyint((numbers.uniform() / 4 - 0.125) * width));
    const double y = maybe(is_it, std::nearbyint((numbers.uniform() / 4 - 0.125) * height));
    drawn.blit =
        plane(mirror, 0, 0, 0, 1, 0) * inverse_turn(turns * kPi / 2) * plane(1, 0, -x, 0, 1, -y);
    drawn.inverse = drawn.blit;
  }
  if (p.inverse) {
    // As a float32: a uniform number may lie between it and its exact value.
    const double rotates = 1.0f - std::sqrt(1.0f - *p.p);
    bool& is_any = drawn.is_moved;
    for (int k = 0; k < 2; ++k) {
      bool is_it = is_executed(probability, is_any);
      const double s = std::exp(-maybe(is_it, numbers.normal() * 0.2 * kLog2));
      drawn.inverse = drawn.inverse * plane(s, 0, 0, 0, k == 0 ? s : 1 / s, 0);
      is_it = is_executed(rotates, is_any);
      const double angle = maybe(is_it, (2 * numbers.uniform() - 1) * kPi);
      drawn.inverse = drawn.inverse * inverse_turn(angle);
    }
    const bool is_it = is_executed(probability, is_any);
    const double x = maybe(is_it, numbers.normal() * width / 8);
    const double y = maybe(is_it, numbers.normal() * height / 8);
    drawn.inverse = drawn.inverse * plane(1, 0, -x, 0, 1, -y);
  }
  if (p.color) {
    const double share = *p.p * p.color_share;
    bool& is_any = drawn.is_colored;
    bool is_it = is_executed(share, is_any);
    const double offset = maybe(is_it, numbers.normal() * 0.2);
    is_it = is_executed(share, is_any);
    const double scale = std::exp(maybe(is_it, numbers.normal() * kLog2 / 2));
    is_it = is_executed(share, is_any);
    const double mirror = 1 - 2 * maybe(is_it, numbers.whole(2));
    if (p.channels == 1) {
      drawn.color[0] = {mirror * scale, mirror * scale * offset, 0, 0};
      return drawn;
    }
    is_it = is_executed(share, is_any);
    const double angle = maybe(is_it, (2 * numbers.uniform() - 1) * kPi);
    is_it = is_executed(share, is_any);
    const double saturation = std::exp(maybe(is_it, numbers.normal() * kLog2));
    const double across = saturation * scale, root = std::sqrt(3.0);
    for (size_t i = 0; i < 3; ++i) {
      for (size_t j = 0; j < 3; ++j) {
        const size_t ahead = (j + 3 - i) % 3;  // [v]× has -1/√3 one column ahead, 1/√3 two
        const double cross = ahead == 0 ? 0 : ahead == 1 ? -1 / root : 1 / root;
        drawn.color[i][j] = scale * mirror / 3 +
                            across * std::cos(angle) * ((i == j ? 1.0 : 0.0) - 1.0 / 3) +
                            across * std::sin(angle) * cross;
      }
      drawn.color[i][3] = mirror * scale * offset;
    }
  }
  return drawn;
}

struct Case {
  int64_t rows, height, width, channels;
  bool has_blit, has_geom;
  float color_share;
};

void draws(const Case& c, float probability) {
  Memory key("key", 8), p_memory("p", 4);
  key.at<int64_t>(0) = int64_t(0x0123456789ABCDEFu);
  p_memory.at<float>(0) = probability;
  const int64_t side = c.channels + 1;
  const bool has_color = c.color_share > 0;
  Floats blit("blit", DType::kFloat32, c.has_blit ? c.rows * 9 : 0);
  Floats inverse("inverse", DType::kFloat32, c.has_geom ? c.rows * 9 : 0);
  Floats color("color", DType::kFloat32, has_color ? c.rows * side * side : 0);
  Memory is_moved("is_moved", c.has_geom ? c.rows : 0);
  Memory is_colored("is_colored", has_color ? c.rows : 0);
  AugmentMatricesParams p{};
  p.p = &p_memory.at<float>(0);
  p.key = &key.at<int64_t>(0);
  p.blit = static_cast<float*>(blit.data());
  p.inverse = static_cast<float*>(inverse.data());
  p.is_moved = static_cast<bool*>(is_moved.data());
  p.color = static_cast<float*>(color.data());
  p.is_colored = static_cast<bool*>(is_colored.data());
  p.offset = kOffset;
  p.first = kFirst;
  p.stride = kStride;
  p.begin = kBegin;
  p.rows = c.rows;
  p.height = c.height;
  p.width = c.width;
  p.channels = c.channels;
  p.color_share = c.color_share;
  expect_ok(augment_matrices_kernels().draw(p, exec()));
  std::vector<Exact> want_blit, want_inverse, want_color;
  const double size = double(std::max(c.height, c.width));
  // Ten products whose rows have the size of their largest element, and shifts that may cancel.
  auto add = [&](std::vector<Exact>& to, const Matrix& m, size_t n, double shift) {
    for (size_t i = 0; i < n; ++i) {
      double largest = 1;
      for (size_t j = 0; j < n; ++j) largest = std::max(largest, std::fabs(m[i][j]));
      for (size_t j = 0; j < n; ++j) to.push_back({m[i][j], 5 * largest * (1 + shift)});
    }
  };
  for (int64_t row = 0; row < c.rows; ++row) {
    const Drawn drawn = exact(p, row);
    if (c.has_blit) add(want_blit, drawn.blit, 3, 0);
    if (c.has_geom) {
      add(want_inverse, drawn.inverse, 3, size);
      if (is_moved.at<bool>(row) != drawn.is_moved) return fail("is_moved differs");
    }
    if (!has_color) continue;
    Matrix m = drawn.color;
    if (c.channels == 1) m[1] = {0, 1, 0, 0};
    add(want_color, m, size_t(side), 0);
    if (is_colored.at<bool>(row) != drawn.is_colored) return fail("is_colored differs");
  }
  expect_close(blit, want_blit);
  expect_close(inverse, want_inverse);
  expect_close(color, want_color);
}

#endif

const bool kRegistered = add_cases("augment_matrices", []([[maybe_unused]] Adder add) {
#if defined(FASTGAN_EMULATOR)
  for (const Case& c : {Case{0, 8, 8, 3, true, true, 1},
                        {1, 8, 8, 3, true, true, 1},
                        {70, 16, 40, 3, true, true, 0.5f},
                        {300, 9, 9, 3, true, true, 1},
                        {70, 9, 5, 3, true, false, 0},
                        {70, 9, 9, 3, false, true, 0},
                        {300, 9, 9, 1, false, false, 1}})
    for (float p : {0.0f, 0.625f, 1.0f})
      add(std::to_string(c.rows) + " of " + std::to_string(c.height) + "x" +
              std::to_string(c.width) + "x" + std::to_string(c.channels) +
              (c.has_blit ? " blit" : "") + (c.has_geom ? " geom" : "") + " share " +
              std::to_string(c.color_share) + " p " + std::to_string(p),
          [=] { draws(c, p); });
#endif
});

}  // namespace
}  // namespace fastgan::driver
