// SPDX-License-Identifier: Apache-2.0
#include "../../../../csrc/ops/winograd_strided_conv2d/winograd_strided_conv2d.cpp"

#include "../fuzz.h"

namespace fastgan {

void fuzz_one(fuzz::Draw& d) {
  const ScalarType type = d.rarely() ? d.dtype() : d.wide_dtype();
  const fuzz::Sizes shape = d.sizes(4);
  const int64_t k = d.size(), pad_y = d.integer({1, 0, 2}), pad_x = d.integer({1, 0, 2});
  const int64_t side = d.integer({3, 4}), taps = side == 4 ? 4 : 3;
  const int64_t oh = strided_size(shape[2], pad_y & 3, taps),
                ow = strided_size(shape[3], pad_x & 3, taps);
  const Tensor x = d.tensor(type, shape), w = d.tensor(type, {k, shape[1], taps, taps});
  const Tensor dy = d.tensor(type, {shape[0], k, oh, ow});
  switch (d.number(3)) {
    case 0: conv(x, w, pad_y, pad_x); return;
    case 1: {
      const int64_t h = d.integer({shape[2]}), width = d.integer({shape[3]});
      transposed(dy, w, pad_y, pad_x, h, width);
      return;
    }
    default: weight(x, dy, pad_y, pad_x, side);
  }
}

}  // namespace fastgan
