// SPDX-License-Identifier: Apache-2.0
#include "../../../../csrc/ops/winograd_conv2d/winograd_conv2d.cpp"

#include "../fuzz.h"

namespace fastgan {

void fuzz_one(fuzz::Draw& d) {
  const ScalarType type = d.rarely() ? d.dtype() : d.wide_dtype();
  const fuzz::Sizes shape = d.sizes(4);
  const int64_t k = d.size(), pad_y = d.integer({1, 0, 2}), pad_x = d.integer({1, 0, 2});
  const Tensor x = d.tensor(type, shape);
  if (d.flip()) {
    const bool is_adjoint = d.flip();
    const Tensor w = d.tensor(type, {is_adjoint ? shape[1] : k, is_adjoint ? k : shape[1], 3, 3});
    conv(x, w, pad_y, pad_x, is_adjoint);
    return;
  }
  const int64_t oh = shape[2] + 2 * (pad_y & 3) - 2, ow = shape[3] + 2 * (pad_x & 3) - 2;
  weight(x, d.tensor(type, {shape[0], k, oh < 0 ? 0 : oh, ow < 0 ? 0 : ow}), pad_y, pad_x);
}

}  // namespace fastgan
