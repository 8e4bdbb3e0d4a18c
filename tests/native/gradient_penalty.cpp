// SPDX-License-Identifier: Apache-2.0
#include "../../csrc/ops/gradient_penalty/gradient_penalty.h"

#include <array>
#include <cmath>

#include "driver.h"

namespace fastgan::driver {
namespace {

// partial sums of squares per (sample, chunk); the row has columns of other tensors on both sides.
void squares(DType dtype, int64_t n, int64_t inner, int64_t misaligned) {
  const int64_t chunks = penalty_chunks(inner), columns = chunks + 3, column = 2;
  Floats g("g", dtype, n * inner, misaligned), partial("partial", sum_type(dtype), n * columns);
  g.fill(-2, 2);
  expect_ok(gradient_penalty_kernels().square(
      {g.data(), partial.data(), n, inner, columns, column, dtype}, exec()));
  std::vector<Exact> want(size_t(n * columns));
  for (int64_t s = 0; s < n; ++s) {
    for (int64_t c = 0; c < columns; ++c)
      if (c < column || c >= column + chunks) want[size_t(s * columns + c)].value = NAN;
    for (int64_t i = 0; i < inner; ++i)
      want[size_t(s * columns + column + i / kPenaltyChunk)].add(g[s * inner + i] *
                                                                 g[s * inner + i]);
  }
  // A thread adds up to 512 terms one after another: the error is that of a long sum.
  expect_close(partial, want, inner > 64 ? 4 : 1);
}

void penalties(DType type, int64_t n, int64_t columns, double target, bool is_one_sided) {
  Floats partial("partial", type, n * columns), penalty("penalty", type, n);
  Floats squared_norm("squared_norm", type, n);
  partial.fill(0, 2.0 / double(columns));
  expect_ok(
      gradient_penalty_kernels().penalty({partial.data(), penalty.data(), squared_norm.data(), n,
                                          columns, target, is_one_sided, type == DType::kFloat64},
                                         exec()));
  std::vector<Exact> want_penalty(static_cast<size_t>(n)), want_norm(static_cast<size_t>(n));
  for (int64_t s = 0; s < n; ++s) {
    Exact& sum = want_norm[size_t(s)];
    for (int64_t k = 0; k < columns; ++k) sum.add(partial[s * columns + k]);
    const double excess = std::sqrt(sum.value) - target;
    const double counted = is_one_sided && excess < 0 ? 0 : excess;
    // Squaring the difference of two numbers near 1 doubles its error, which is not relative to it.
    want_penalty[size_t(s)] =
        target == 0 ? sum : Exact{counted * counted, counted * counted + std::fabs(counted)};
  }
  expect_close(squared_norm, want_norm);
  expect_close(penalty, want_penalty);
}

void scales(DType dtype, int64_t n, int64_t inner, int64_t misaligned) {
  Floats c("c", sum_type(dtype), n), g("g", dtype, n * inner, misaligned);
  Floats out("out", dtype, n * inner, misaligned == 2 ? 0 : misaligned);
  c.fill(-2, 2);
  g.fill(-2, 2);
  expect_ok(
      gradient_penalty_kernels().scale({c.data(), g.data(), out.data(), n, inner, dtype}, exec()));
  std::vector<Exact> want(static_cast<size_t>(n * inner));
  for (int64_t i = 0; i < n * inner; ++i) want[size_t(i)].add(c[i / inner] * g[i]);
  expect_close(out, want);
}

const bool kRegistered = add_cases("gradient_penalty", [](Adder add) {
  for (DType dtype : kDTypes) {
    for (auto [n, inner, misaligned] : {std::array<int64_t, 3>{0, 5, 0},
                                        {3, 1, 0},
                                        {2, 7, 1},
                                        {5, 64, 0},
                                        {4, 64, 1},
                                        {600, 1, 0},
                                        {37, 9, 0},
                                        {9, 260, 1},
                                        {2, kPenaltyChunk + 24, 0},
                                        {1, kPenaltyChunk + 9, 2}}) {
      const std::string name = name_of(dtype) + " " + std::to_string(n) + "x" +
                               std::to_string(inner) + "+" + std::to_string(misaligned);
      add("square " + name, [=] { squares(dtype, n, inner, misaligned); });
      add("scale " + name, [=] { scales(dtype, n, inner, misaligned); });
    }
  }
  for (DType type : {DType::kFloat64, DType::kFloat32})
    for (int64_t columns : {1, 7, 300})
      for (double target : {0.0, 1.0})
        for (bool is_one_sided : {false, true})
          add("penalty " + name_of(type) + " " + std::to_string(columns) +
                  (target == 0 ? "" : " around 1") + (is_one_sided ? " one-sided" : ""),
              [=] { penalties(type, 3, columns, target, is_one_sided); });
});

}  // namespace
}  // namespace fastgan::driver
