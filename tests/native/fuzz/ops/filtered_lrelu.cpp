// SPDX-License-Identifier: Apache-2.0
#include "../../../../csrc/ops/filtered_lrelu/filtered_lrelu.cpp"

#include "../fuzz.h"

namespace fastgan {

void fuzz_one(fuzz::Draw& d) {
  const ScalarType type = d.dtype(), wide = fuzz::wide(type);
  const fuzz::Sizes shape = d.sizes(4);
  const int64_t up = d.integer({2, 1, 3, 4}), down = d.integer({2, 1, 3, 4});
  const Tensor fu = d.tensor(wide, d.sizes(1 + d.number(2)));
  const Tensor fd = d.tensor(wide, d.sizes(1 + d.number(2)));
  const Tensor x = d.tensor(type, shape);
  int64_t pads[4];
  for (int64_t& pad : pads) pad = d.integer({8, 0, 3, 20, -1});
  const double gain = d.real(), slope = d.real();
  const bool is_flipped = d.flip();
  if (d.flip()) {
    const std::optional<Tensor> b = d.maybe(type, {shape[1]});
    const std::optional<double> clamp = d.maybe_real();
    forward(x, fu, fd, b, up, down, pads[0], pads[1], pads[2], pads[3], gain, slope, clamp,
            is_flipped, d.flip());
    return;
  }
  const Tensor signs = d.tensor(ScalarType::Byte, {shape[0], shape[1], d.size(), d.size()});
  const int64_t height = d.integer({d.size()}), width = d.integer({d.size()});
  const int64_t sign_x = d.integer({0, 1, 8, -3}), sign_y = d.integer({0, 1, 8, -3});
  masked(x, signs, fu, fd, up, down, pads[0], pads[1], height, width, sign_x, sign_y, gain, slope,
         is_flipped);
}

}  // namespace fastgan
