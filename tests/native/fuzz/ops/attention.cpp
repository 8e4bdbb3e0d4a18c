// SPDX-License-Identifier: Apache-2.0
#include "../../../../csrc/ops/attention/attention.cpp"

#include "../fuzz.h"

namespace fastgan {

void fuzz_one(fuzz::Draw& d) {
  const ScalarType type = d.dtype();
  const fuzz::Sizes sizes = d.sizes(3);  // batch, queries, channels
  const int64_t n = sizes[0], queries = sizes[1], channels = sizes[2];
  const int64_t keys = d.size(), values = d.flip() ? channels : d.size();
  const auto of_q = [&] { return d.tensor(type, {n, queries, channels}); };
  const auto of_k = [&] { return d.tensor(type, {n, keys, channels}); };
  const auto of_v = [&] { return d.tensor(type, {n, keys, values}); };
  const auto of_o = [&] { return d.tensor(type, {n, queries, values}); };
  const Tensor q = of_q(), k = of_k(), v = of_v();
  std::optional<Tensor> mask;
  if (d.flip()) {
    const int64_t items = d.flip() ? n : 1, rows = d.flip() ? queries : 1;
    mask = d.buffer(ScalarType::Bool, {items, rows, d.flip() ? keys : 1});
  }
  const double scale = d.real();
  const int64_t function = d.number(3);
  if (function == 0) {
    attention_forward(q, k, v, mask, scale);
    return;
  }
  const Tensor grad = of_o(), o = of_o(), lse = d.tensor(fuzz::wide(type), {n, queries});
  if (function == 1) {
    attention_backward(grad, q, k, v, o, lse, mask, scale);
    return;
  }
  const Tensor gq = of_q(), gk = of_k();
  attention_double_backward(gq, gk, of_v(), grad, q, k, v, o, lse, mask, scale);
}

}  // namespace fastgan
