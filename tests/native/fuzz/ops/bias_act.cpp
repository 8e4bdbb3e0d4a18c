// SPDX-License-Identifier: Apache-2.0
#include "../../../../csrc/ops/bias_act/bias_act.cpp"

#include "../fuzz.h"

namespace fastgan {

void fuzz_one(fuzz::Draw& d) {
  const ScalarType type = d.dtype();
  const fuzz::Sizes shape = d.sizes(1 + d.number(5));
  const int64_t at = d.number(int64_t(shape.size())), dim = d.integer({at});
  const fuzz::Sizes channels = {shape[size_t(at)]};
  StringHandle act =
      d.text({"lrelu", "linear", "relu", "tanh", "sigmoid", "elu", "selu", "softplus", "swish"});
  const double alpha = d.real(), gain = d.real();
  const std::optional<double> clamp = d.maybe_real();
  if (d.flip()) {
    bias_act_forward(d.tensor(type, shape), d.maybe(type, channels), dim, act, alpha, gain, clamp);
    return;
  }
  const Tensor dy = d.tensor(type, shape);
  const std::optional<Tensor> x = d.maybe(type, shape), b = d.maybe(type, channels);
  const std::optional<Tensor> y = d.maybe(type, shape);
  bias_act_backward(dy, x, b, y, dim, act, alpha, gain, clamp, d.flip());
}

}  // namespace fastgan
