// SPDX-License-Identifier: Apache-2.0
#include "../../../../csrc/ops/bias_act_filter2d/bias_act_filter2d.cpp"

#include "../fuzz.h"

namespace fastgan {

void fuzz_one(fuzz::Draw& d) {
  const ScalarType type = d.dtype();
  fuzz::Sizes shape = d.sizes(4);
  if (!d.rarely()) shape[1] = 4 * (1 + d.number(10));
  const int64_t side = d.rarely() ? d.size() : 4;
  const Tensor f = d.tensor(fuzz::wide(type), {side, side});
  const int64_t x1 = d.integer({2, 1, 3}), y1 = d.integer({2, 1, 3});
  const double alpha = d.real(), gain = d.real();
  const fuzz::Sizes codes = {shape[0], shape[2], shape[3], shape[1] / 4};
  switch (d.number(3)) {
    case 0: {
      const Tensor x = d.tensor(type, shape);
      const std::optional<Tensor> b = d.maybe(type, {shape[1]});
      const std::optional<double> clamp = d.maybe_real();
      bias_act_filter2d_forward(x, f, b, x1, y1, alpha, gain, clamp, d.flip());
      return;
    }
    case 1: {
      const int64_t width = shape[3] + (x1 < 256 && x1 > -256 ? x1 - 1 : 0);
      const int64_t height = shape[2] + (y1 < 256 && y1 > -256 ? y1 - 1 : 0);
      const Tensor dy =
          d.tensor(type, {shape[0], shape[1], height < 0 ? 0 : height, width < 0 ? 0 : width});
      const Tensor kept = d.buffer(ScalarType::Byte, codes);
      const int64_t rows = d.integer({shape[2]}), columns = d.integer({shape[3]});
      bias_act_filter2d_backward(dy, kept, f, rows, columns, alpha, gain, d.flip());
      return;
    }
    default: {
      const Tensor x = d.tensor(type, shape), kept = d.buffer(ScalarType::Byte, codes);
      bias_act_filter2d_masked(x, kept, f, x1, y1, alpha, gain);
    }
  }
}

}  // namespace fastgan
