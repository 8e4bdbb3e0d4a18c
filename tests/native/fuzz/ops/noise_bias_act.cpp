// SPDX-License-Identifier: Apache-2.0
#include "../../../../csrc/ops/noise_bias_act/noise_bias_act.cpp"

#include "../fuzz.h"

namespace fastgan {

void fuzz_one(fuzz::Draw& d) {
  const ScalarType type = d.dtype(), wide = fuzz::wide(type);
  const fuzz::Sizes shape = d.sizes(2 + d.number(4));
  fuzz::Sizes noise_shape = shape;
  noise_shape[1] = 1;
  if (d.flip()) noise_shape[0] = 1;
  const std::optional<Tensor> x = d.maybe(type, shape), noise = d.maybe(type, noise_shape);
  const std::optional<Tensor> scale = d.maybe(wide, {shape[0], shape[1]});
  const double alpha = d.real(), gain = d.real();
  const std::optional<double> clamp = d.maybe_real();
  if (d.flip()) {
    const std::optional<Tensor> strength = d.maybe(wide, {1}), b = d.maybe(wide, {shape[1]});
    noise_bias_act_forward(x ? *x : d.tensor(type, shape), scale, noise, strength, b, alpha, gain,
                           clamp);
    return;
  }
  const std::optional<Tensor> y = d.maybe(type, shape);
  const Tensor dy = d.tensor(type, shape);
  noise_bias_act_backward(dy, y, x, scale, noise, alpha, gain, clamp, d.flip());
}

}  // namespace fastgan
