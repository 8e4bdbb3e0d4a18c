// SPDX-License-Identifier: Apache-2.0
#include "../../../../csrc/ops/augment_matrices/augment_matrices.cpp"

#include "../fuzz.h"

namespace fastgan {

void fuzz_one(fuzz::Draw& d) {
  const Tensor p = d.buffer(ScalarType::Float, {1}), key = d.buffer(ScalarType::Long, {1});
  const int64_t offset = d.integer({0, 1, 77}), first = d.integer({0, 5}),
                stride = d.integer({1, 2});
  const int64_t begin = d.integer({0, 100}), rows = d.integer({d.size()});
  const int64_t height = d.integer({16, 1, 33}), width = d.integer({16, 1, 33});
  const int64_t channels = d.integer({3, 1, 2});
  const bool has_blit = d.flip(), has_geom = d.flip();
  draw(p, key, offset, first, stride, begin, rows, height, width, channels, has_blit, has_geom,
       d.real());
}

}  // namespace fastgan
