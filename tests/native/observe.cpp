// SPDX-License-Identifier: Apache-2.0
#include "../../csrc/ops/observe/observe.h"

#include <cmath>
#include <limits>
#include <string>

#include "driver.h"

namespace fastgan::driver {
namespace {

constexpr int64_t kRows = 5, kRow = 3;
constexpr double kShare = 0.75;

// bad: what the last value is, where it is not 0.
void observes(DType dtype, int64_t n, int64_t misaligned, double bad) {
  Floats values("values", dtype, n, misaligned), totals("totals", DType::kFloat32, 2 * kRows * 3);
  values.fill(-2, 2);
  if (bad != 0) {
    std::vector<double> kept;
    for (int64_t i = 0; i < n; ++i) kept.push_back(values[i]);
    for (int64_t i = 0; i < n; ++i) values.set(i, i + 1 < n ? kept[size_t(i)] : bad);
  }
  totals.fill_in_place(-2, 2);
  std::vector<Exact> want(size_t(2 * kRows * 3));
  for (int64_t i = 0; i < totals.size(); ++i) want[size_t(i)].add(totals[i]);
  Exact mean;
  for (int64_t i = 0; i < n; ++i) mean.add(values[i] / double(n));
  const bool is_finite = n > 0 && std::isfinite(mean.value);
  for (int64_t part = 0; part < 2; ++part) {
    Exact* row = &want[size_t((part * kRows + kRow) * 3)];
    if (is_finite) {
      row[0] = {row[0].value + kShare * mean.value, row[0].scale + kShare * mean.scale};
      row[1].add(kShare);
    } else {
      row[2].add(kShare);
    }
  }
  ObserveParams p{};
  p.values = values.data();
  p.totals = &totals.at<float>(0);
  p.numel = n;
  p.rows = kRows;
  p.row = kRow;
  p.share = float(kShare);
  p.dtype = dtype;
  expect_ok(observe_kernels().observe(p, exec()));
  expect_close(totals, want);
}

const bool kRegistered = add_cases("observe", [](Adder add) {
  for (DType dtype : kDTypes)
    for (int64_t n : {0, 1, 7, 256, 300, 2049})
      for (int64_t misaligned : {0, 1}) {
        const std::string name =
            name_of(dtype) + " " + std::to_string(n) + "+" + std::to_string(misaligned);
        add(name, [=] { observes(dtype, n, misaligned, 0); });
      }
  for (int64_t n : {1, 300}) {
    add("NaN " + std::to_string(n),
        [=] { observes(DType::kFloat32, n, 0, std::numeric_limits<double>::quiet_NaN()); });
    add("infinity " + std::to_string(n),
        [=] { observes(DType::kFloat32, n, 0, std::numeric_limits<double>::infinity()); });
  }
});

}  // namespace
}  // namespace fastgan::driver
