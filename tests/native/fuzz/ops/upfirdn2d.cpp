// SPDX-License-Identifier: Apache-2.0
#include "../../../../csrc/ops/upfirdn2d/upfirdn2d.cpp"

#include "../fuzz.h"

namespace fastgan {

void fuzz_one(fuzz::Draw& d) {
  const ScalarType type = d.dtype();
  const fuzz::Sizes shape = d.sizes(4), taps = d.sizes(1 + d.number(2));
  const int64_t up_x = d.integer({1, 2, 3, 4}), up_y = d.integer({1, 2, 3, 4});
  const int64_t down_x = d.integer({1, 2, 3, 4}), down_y = d.integer({1, 2, 3, 4});
  int64_t pads[4];
  for (int64_t& pad : pads) pad = d.integer({0, 1, 2, 3, 8, -1, -2});
  const Tensor x = d.tensor(type, shape), f = d.tensor(fuzz::wide(type), taps);
  upfirdn2d_run(x, f, up_x, up_y, down_x, down_y, pads[0], pads[1], pads[2], pads[3], d.flip(),
                d.real());
}

}  // namespace fastgan
