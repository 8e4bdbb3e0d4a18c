// SPDX-License-Identifier: Apache-2.0
// Host side of augment_matrices: tensors to parameters, allocation, launch. Arguments are made in
// fastgan/ops/augment_matrices.py; the checks here only guard memory.
#include "augment_matrices.h"

#include "../../common/binding.h"

namespace fastgan {
namespace {

Tensor made(const Tensor& p, bool is_there, int64_t rows, int64_t side) {
  return is_there ? allocate(p, {rows, side, side}) : allocate(p, {0});
}

Tensor flags(const Tensor& p, bool is_there, int64_t rows) {
  return allocate(p, {is_there ? rows : 0}, ScalarType::Bool);
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> draw(
    const Tensor& probability, const Tensor& key, int64_t offset, int64_t first, int64_t stride,
    int64_t begin, int64_t rows, int64_t height, int64_t width, int64_t channels, bool has_blit,
    bool has_geom, double color_share) {
  Guard guard(key);
  STD_TORCH_CHECK(key.numel() == 1 && key.scalar_type() == ScalarType::Long,
                  "augment_matrices: key must be one int64");
  STD_TORCH_CHECK(probability.numel() == 1 && probability.scalar_type() == ScalarType::Float &&
                      probability.is_cuda() == key.is_cuda() &&
                      probability.get_device_index() == key.get_device_index(),
                  "augment_matrices: p must be one float32 on the key's device");
  const bool has_color = color_share > 0;
  STD_TORCH_CHECK(rows >= 0 && (!has_color || channels == 1 || channels == 3),
                  "augment_matrices: rows must be 0 or more, and channels 1 or 3 with colour");
  const Tensor blit = made(probability, has_blit, rows, 3);
  const Tensor inverse = made(probability, has_geom, rows, 3);
  const Tensor is_moved = flags(probability, has_geom, rows);
  const Tensor color = made(probability, has_color, rows, channels + 1);
  const Tensor is_colored = flags(probability, has_color, rows);
  AugmentMatricesParams p{};
  p.p = static_cast<const float*>(const_data(probability));
  p.key = static_cast<const int64_t*>(const_data(key));
  p.blit = static_cast<float*>(const_data(blit));
  p.inverse = static_cast<float*>(const_data(inverse));
  p.is_moved = static_cast<bool*>(const_data(is_moved));
  p.color = static_cast<float*>(const_data(color));
  p.is_colored = static_cast<bool*>(const_data(is_colored));
  p.offset = offset;
  p.first = first;
  p.stride = stride;
  p.begin = begin;
  p.rows = rows;
  p.height = height;
  p.width = width;
  p.channels = channels;
  p.color_share = float(color_share);
  check_launch("augment_matrices", augment_matrices_kernels().draw(p, exec_of(key)));
  return {blit, inverse, is_moved, color, is_colored};
}

STABLE_TORCH_LIBRARY_IMPL(fastgan, FASTGAN_KEY, m) { m.impl("augment_matrices", TORCH_BOX(&draw)); }

}  // namespace
}  // namespace fastgan
