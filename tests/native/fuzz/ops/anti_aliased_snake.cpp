// SPDX-License-Identifier: Apache-2.0
#include "../../../../csrc/ops/anti_aliased_snake/anti_aliased_snake.cpp"

#include "../fuzz.h"

namespace fastgan {

void fuzz_one(fuzz::Draw& d) {
  const ScalarType type = d.dtype(), wide = fuzz::wide(type);
  const fuzz::Sizes shape = d.sizes(3);
  const int64_t up = d.integer({2, 1, 3, 4}), down = d.integer({2, 1, 3, 4});
  const bool is_usual = d.flip();  // twelve taps have kernels of their own
  const int64_t up_taps = is_usual ? 12 : d.size(), down_taps = is_usual ? 12 : d.size();
  const Tensor x = d.tensor(type, shape), alpha = d.tensor(wide, {shape[1]});
  const Tensor beta = d.tensor(wide, {shape[1]}), f = d.tensor(wide, {up_taps});
  const Tensor g = d.tensor(wide, {down_taps});
  if (d.flip()) {
    forward(x, alpha, beta, f, g, up, down);
    return;
  }
  const int64_t usual =
      up > 0 && down > 0 && up < 256 && down < 256 ? (shape[2] * up + down - 1) / down : d.size();
  const Tensor dy = d.tensor(type, {shape[0], shape[1], usual});
  const bool has_dx = d.flip();
  backward(dy, x, alpha, beta, f, g, up, down, has_dx, d.flip());
}

}  // namespace fastgan
