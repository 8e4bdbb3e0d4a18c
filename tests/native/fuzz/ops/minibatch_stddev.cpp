// SPDX-License-Identifier: Apache-2.0
#include "../../../../csrc/ops/minibatch_stddev/minibatch_stddev.cpp"

#include "../fuzz.h"

namespace fastgan {

void fuzz_one(fuzz::Draw& d) {
  const ScalarType type = d.dtype();
  fuzz::Sizes shape = d.sizes(2 + d.number(4));
  const int64_t group = d.integer({2, 1, 3, 4}), runs = d.integer({1, 2, 4});
  if (!d.rarely()) {
    shape[0] = (group & 7) * d.number(4);
    shape[1] = (runs & 7) * (1 + d.number(9));
  }
  const Tensor x = d.tensor(type, shape);
  if (d.flip())
    stddev_forward(x, group, runs);
  else
    stddev_backward(d.tensor(type, {shape[0], runs & 7}), x, group, runs);
}

}  // namespace fastgan
