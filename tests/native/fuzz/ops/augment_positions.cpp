// SPDX-License-Identifier: Apache-2.0
#include "../../../../csrc/ops/augment_positions/augment_positions.cpp"

#include "../fuzz.h"

namespace fastgan {

void fuzz_one(fuzz::Draw& d) {
  const Tensor inverse = d.buffer(d.flip() ? d.dtype() : d.wide_dtype(), {d.size(), 3, 3});
  const int64_t height = d.integer({d.size()}), width = d.integer({d.size()});
  if (d.flip()) {
    pixel_index(inverse, height, width);
    return;
  }
  const int64_t lead = d.integer({3, 0, 1, 6});
  warp_grid(inverse, height, width, lead, d.real());
}

}  // namespace fastgan
