// SPDX-License-Identifier: Apache-2.0
#include "../../../../csrc/ops/grouped_conv2d/grouped_conv2d.cpp"

#include "../fuzz.h"

namespace fastgan {

void fuzz_one(fuzz::Draw& d) {
  const ScalarType type = d.rarely() ? d.dtype() : d.wide_dtype();
  fuzz::Sizes shape = d.sizes(4);
  const int64_t groups = 1 + d.number(4), ci = 1 + d.number(9), ko = 1 + d.number(9);
  if (!d.rarely()) shape[1] = groups * ci;
  const int64_t given = d.integer({groups}), pad_y = d.integer({1, 0, 2}),
                pad_x = d.integer({1, 0, 2});
  const Tensor x = d.tensor(type, shape);
  if (d.flip()) {
    const bool is_adjoint = d.flip();
    const Tensor w = d.tensor(type, {groups * (is_adjoint ? ci : ko), is_adjoint ? ko : ci, 3, 3});
    conv(x, w, given, pad_y, pad_x, is_adjoint);
    return;
  }
  const int64_t oh = shape[2] + 2 * (pad_y & 3) - 2, ow = shape[3] + 2 * (pad_x & 3) - 2;
  const Tensor dy = d.tensor(type, {shape[0], groups * ko, oh < 0 ? 0 : oh, ow < 0 ? 0 : ow});
  weight(x, dy, given, pad_y, pad_x);
}

}  // namespace fastgan
