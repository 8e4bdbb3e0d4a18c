// SPDX-License-Identifier: Apache-2.0
#include "../../../../csrc/ops/demodulation/demodulation.cpp"

#include "../fuzz.h"

namespace fastgan {

void fuzz_one(fuzz::Draw& d) {
  const ScalarType type = d.dtype(), wide = fuzz::wide(type);
  const fuzz::Sizes weight = d.sizes(2 + d.number(4));
  const int64_t n = d.size(), outputs = weight[0], inputs = weight[1];
  const Tensor w = d.tensor(type, weight), s = d.tensor(wide, {n, inputs});
  if (d.flip()) {
    demodulation_forward(w, s, d.real());
    return;
  }
  const Tensor dd = d.tensor(wide, {n, outputs}), dm = d.tensor(wide, {n, outputs});
  const Tensor energy = d.tensor(wide, {outputs, inputs});
  const std::optional<Tensor> de = d.maybe(wide, {outputs, inputs});
  const bool has_dw = d.flip();
  demodulation_backward(dd, de, w, s, dm, energy, has_dw, d.flip());
}

}  // namespace fastgan
