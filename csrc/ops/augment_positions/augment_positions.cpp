// SPDX-License-Identifier: Apache-2.0
// Host side of augment_positions: tensors to parameters, allocation, launches. Arguments are made
// in fastgan/ops/augment_positions.py; the checks here only guard memory.
#include "augment_positions.h"

#include "../../common/binding.h"

namespace fastgan {
namespace {

AugmentPositionsParams params_of(const char* op, const Tensor& inverse, int64_t height,
                                 int64_t width) {
  AugmentPositionsParams p{};
  p.dtype = dtype_of(op, inverse);
  STD_TORCH_CHECK(p.dtype == DType::kFloat32 || p.dtype == DType::kFloat64, op,
                  ": inverse must be float32 or float64");
  STD_TORCH_CHECK(
      inverse.dim() == 3 && inverse.size(1) == 3 && inverse.size(2) == 3 && inverse.is_contiguous(),
      op, ": inverse must be contiguous [N, 3, 3]");
  STD_TORCH_CHECK(height > 0 && width > 0 && height <= 1 << 20 && width <= 1 << 20, op,
                  ": height and width must be 1 to 2^20");
  p.inverse = const_data(inverse);
  p.images = inverse.size(0);
  p.height = height;
  p.width = width;
  return p;
}

Tensor pixel_index(const Tensor& inverse, int64_t height, int64_t width) {
  Guard guard(inverse);
  AugmentPositionsParams p = params_of("augment_pixel_index", inverse, height, width);
  const Tensor out = allocate(inverse, {p.images, height, width}, ScalarType::Long);
  p.out = const_data(out);
  p.rows = height;
  p.columns = width;
  check_launch("augment_pixel_index", augment_positions_kernels().index(p, exec_of(inverse)));
  return out;
}

Tensor warp_grid(const Tensor& inverse, int64_t height, int64_t width, int64_t lead,
                 double center) {
  Guard guard(inverse);
  AugmentPositionsParams p = params_of("augment_warp_grid", inverse, height, width);
  STD_TORCH_CHECK(lead >= 0 && lead <= 1 << 20, "augment_warp_grid: lead must be 0 to 2^20");
  p.rows = 2 * (height + lead);
  p.columns = 2 * (width + lead);
  p.lead = lead;
  p.center = center;
  const Tensor out = allocate(inverse, {p.images, p.rows, p.columns, 2});
  p.out = const_data(out);
  check_launch("augment_warp_grid", augment_positions_kernels().grid(p, exec_of(inverse)));
  return out;
}

STABLE_TORCH_LIBRARY_IMPL(fastgan, FASTGAN_KEY, m) {
  m.impl("augment_pixel_index", TORCH_BOX(&pixel_index));
  m.impl("augment_warp_grid", TORCH_BOX(&warp_grid));
}

}  // namespace
}  // namespace fastgan
