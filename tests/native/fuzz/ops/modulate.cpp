// SPDX-License-Identifier: Apache-2.0
#include "../../../../csrc/ops/modulate/modulate.cpp"

#include "../fuzz.h"

namespace fastgan {

void fuzz_one(fuzz::Draw& d) {
  const ScalarType type = d.dtype();
  const fuzz::Sizes shape = d.sizes(2 + d.number(4));
  const Tensor x = d.tensor(type, shape);
  const Tensor s = d.tensor(d.flip() ? fuzz::wide(type) : type, {shape[0], shape[1]});
  switch (d.number(3)) {
    case 0: modulate_forward(x, s); return;
    case 1: channel_dot_forward(x, d.tensor(type, shape)); return;
    default: modulate_backward(d.tensor(type, shape), x, s);
  }
}

}  // namespace fastgan
