// SPDX-License-Identifier: Apache-2.0
#include "../../../../csrc/ops/sample_random/sample_random.cpp"

#include "../fuzz.h"

namespace fastgan {

void fuzz_one(fuzz::Draw& d) {
  const Tensor key = d.buffer(ScalarType::Long, {1});
  const int64_t offset = d.integer({0, 1, 77}), first = d.integer({0, 5}),
                stride = d.integer({1, 2});
  const int64_t begin = d.integer({0, 100});
#if defined(FASTGAN_EMULATOR)
  const ScalarType type = d.dtype();
  const int64_t function = d.number(5);
  if (function == 1) {
    uniform(d.buffer(type, d.sizes(1 + d.number(3))), key, offset, first, stride, begin);
    return;
  }
  if (function == 2) {
    normal(d.buffer(type, d.sizes(1 + d.number(3))), key, offset, first, stride, begin);
    return;
  }
  if (function == 3) {
    std::vector<Tensor> outs;
    for (int64_t k = d.number(11); k > 0; --k)
      outs.push_back(d.buffer(ScalarType::Float, {d.number(9), d.size()}));
    normals(outs, key, offset, first, stride, begin);
    return;
  }
  if (function == 4) {
    const Tensor out = d.buffer(d.flip() ? ScalarType::Long : type, d.sizes(1 + d.number(3)));
    const int64_t low = d.integer({0, -5}), high = d.integer({10, 1});
    integers(out, key, offset, first, stride, begin, low, high);
    return;
  }
#endif
  const int64_t rows = d.integer({d.size()});
  words(key, offset, first, stride, begin, rows, d.integer({d.size()}));
}

}  // namespace fastgan
