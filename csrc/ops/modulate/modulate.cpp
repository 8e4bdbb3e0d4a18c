// SPDX-License-Identifier: Apache-2.0
// Host side of modulate and channel_dot: tensors to parameters, allocation, launches. Arguments are
// validated in fastgan/ops/modulate.py; the checks here only guard memory.
#include "modulate.h"

#include "../../common/binding.h"

namespace fastgan {
namespace {

Maps maps_of(const char* op, const Tensor& x, MemoryFormat format) {
  STD_TORCH_CHECK(x.dim() >= 2, op, ": x has no channels");
  Maps maps{x.size(0), x.size(1), 1, format != MemoryFormat::Contiguous, dtype_of(op, x)};
  for (int64_t d = 2; d < x.dim(); ++d) maps.pixels *= x.size(d);
  return maps;
}

ScalarType sum_type(const Maps& maps) {
  return maps.dtype == DType::kFloat64 ? ScalarType::Double : ScalarType::Float;
}

// The sums of `p`, whose z or ds has `count` numbers of the type of `like`, in `slices` parts.
template <class P>
std::optional<Tensor> give_scratch(P& p, const Tensor& like, int64_t count) {
  if (p.slices <= 1) return std::nullopt;
  Tensor scratch = allocate(like, {p.slices * count});
  p.scratch = scratch.data_ptr();
  return scratch;
}

void check_like(const char* op, const Tensor& y, const Tensor& x) {
  STD_TORCH_CHECK(
      y.dim() == x.dim() && y.scalar_type() == x.scalar_type() && y.is_cuda() == x.is_cuda(), op,
      ": maps do not match");
  for (int64_t d = 0; d < x.dim(); ++d)
    STD_TORCH_CHECK(y.size(d) == x.size(d), op, ": maps do not match");
}

void check_factors(const char* op, const Tensor& s, const Tensor& x, const Maps& maps) {
  STD_TORCH_CHECK(s.dim() == 2 && s.size(0) == maps.n && s.size(1) == maps.channels &&
                      (s.scalar_type() == x.scalar_type() || s.scalar_type() == sum_type(maps)) &&
                      s.is_cuda() == x.is_cuda(),
                  op, ": s does not match x");
}

Tensor modulate_forward(const Tensor& x, const Tensor& s) {
  Guard guard(x);
  const MemoryFormat format = dense_format(x);
  const Maps maps = maps_of("modulate", x, format);
  check_factors("modulate", s, x, maps);
  const Tensor dense_x = dense_as(x, format), dense_s = dense_as(s, MemoryFormat::Contiguous);
  Tensor y = allocate_like(dense_x);
  const ModulateParams p{const_data(dense_x), const_data(dense_s), const_data(y),
                         s.scalar_type() == sum_type(maps), maps};
  check_launch("modulate", modulate_kernels().modulate(p, exec_of(x)));
  return y;
}

Tensor channel_dot_forward(const Tensor& x, const Tensor& y) {
  Guard guard(x);
  const MemoryFormat format = dense_format(x);
  const Maps maps = maps_of("channel_dot", x, format);
  check_like("channel_dot", y, x);
  const Tensor dense_x = dense_as(x, format), dense_y = dense_as(y, format);
  Tensor z = allocate(x, {maps.n, maps.channels}, sum_type(maps));
  if (x.numel() == 0) {
    if (z.numel() != 0) torch::stable::zero_(z);
    return z;
  }
  const ModulateKernels& kernels = modulate_kernels();
  ChannelDotParams p{
      dense_x.data_ptr(), dense_y.data_ptr(), z.data_ptr(), nullptr, kernels.slices(maps), maps};
  const std::optional<Tensor> scratch = give_scratch(p, z, z.numel());
  check_launch("channel_dot", kernels.dot(p, exec_of(x)));
  return z;
}

std::tuple<Tensor, Tensor> modulate_backward(const Tensor& dz, const Tensor& x, const Tensor& s) {
  Guard guard(dz);
  const MemoryFormat format = dense_format(dz);
  const Maps maps = maps_of("modulate_backward", dz, format);
  check_like("modulate_backward", x, dz);
  check_factors("modulate_backward", s, dz, maps);
  const ModulateKernels& kernels = modulate_kernels();
  const Tensor dense_dz = dense_as(dz, format), dense_x = dense_as(x, format);
  const Tensor dense_s = dense_as(s, MemoryFormat::Contiguous);
  Tensor dx = allocate_like(dense_dz);
  Tensor ds = allocate(dz, {maps.n, maps.channels}, sum_type(maps));
  ModulateBackwardParams p{};
  p.dz = const_data(dense_dz);
  p.x = const_data(dense_x);
  p.s = const_data(dense_s);
  p.dx = const_data(dx);
  p.ds = const_data(ds);
  p.is_s_wide = s.scalar_type() == sum_type(maps);
  p.maps = maps;
  p.slices = dz.numel() == 0 ? 0 : kernels.backward_slices(p);
  if (p.slices == 0)
    return {modulate_forward(dense_dz, dense_s), channel_dot_forward(dense_dz, dense_x)};
  const std::optional<Tensor> scratch = give_scratch(p, ds, ds.numel());
  check_launch("modulate_backward", kernels.backward(p, exec_of(dz)));
  return {dx, ds};
}

STABLE_TORCH_LIBRARY_IMPL(fastgan, FASTGAN_KEY, m) {
  m.impl("modulate", TORCH_BOX(&modulate_forward));
  m.impl("channel_dot", TORCH_BOX(&channel_dot_forward));
  m.impl("modulate_backward", TORCH_BOX(&modulate_backward));
}

}  // namespace
}  // namespace fastgan
