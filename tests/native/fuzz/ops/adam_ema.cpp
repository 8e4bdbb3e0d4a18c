// SPDX-License-Identifier: Apache-2.0
#include "../../../../csrc/ops/adam_ema/adam_ema.cpp"

#include "../fuzz.h"

namespace fastgan {

void fuzz_one(fuzz::Draw& d) {
  const ScalarType type = d.dtype(), wide = fuzz::wide(type);
  const fuzz::Sizes shape = d.sizes(1 + d.number(3)), one = {1};
  const Tensor param = d.buffer(wide, shape), grad = d.buffer(type, shape);
  const Tensor mean = d.buffer(wide, shape), square = d.buffer(wide, shape);
  std::optional<Tensor> ema, weight, beta2;
  if (d.flip()) ema = d.buffer(wide, shape), weight = d.buffer(wide, one);
  if (d.rarely()) weight.reset();
  if (d.flip()) beta2 = d.buffer(ScalarType::Double, one);
  const Tensor step = d.buffer(ScalarType::Long, one), bad = d.buffer(ScalarType::Long, one);
  const Tensor lr = d.buffer(wide, one);
  const double beta1 = d.real(), second = d.real(), eps = d.real(), decay = d.real();
  adam_ema_step(param, grad, mean, square, ema, step, bad, lr, weight, beta2, beta1, second, eps,
                decay, d.real());
}

}  // namespace fastgan
