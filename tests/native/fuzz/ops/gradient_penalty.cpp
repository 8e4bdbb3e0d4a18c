// SPDX-License-Identifier: Apache-2.0
#include "../../../../csrc/ops/gradient_penalty/gradient_penalty.cpp"

#include "../fuzz.h"

namespace fastgan {

void fuzz_one(fuzz::Draw& d) {
  const ScalarType type = d.dtype();
  const int64_t n = d.size();
  std::vector<Tensor> grads;
  for (int64_t k = d.integer({1, 2, 3, 0}) & 3; k > 0; --k) {
    fuzz::Sizes shape = d.sizes(1 + d.number(4));
    shape[0] = n;
    grads.push_back(d.tensor(type, shape));
  }
  if (d.flip()) {
    const double target = d.real();
    penalty_forward(grads, target, d.flip());
  } else {
    penalty_backward(d.tensor(fuzz::wide(type), {n}), grads);
  }
}

}  // namespace fastgan
