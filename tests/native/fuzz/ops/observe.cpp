// SPDX-License-Identifier: Apache-2.0
#include "../../../../csrc/ops/observe/observe.cpp"

#include "../fuzz.h"

namespace fastgan {

void fuzz_one(fuzz::Draw& d) {
  const int64_t rows = d.size();
  const Tensor totals = d.buffer(ScalarType::Float, {2, rows, 3});
  const Tensor values = d.buffer(d.dtype(), d.sizes(1 + d.number(3)));
  const int64_t row = d.integer({rows - 1, 0, rows / 2, rows});
  observe(totals, values, row, d.real());
}

}  // namespace fastgan
