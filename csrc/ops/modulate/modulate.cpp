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

Tensor modulate_forward(const Tensor& x, const Tensor& s) {
  Guard guard(x);
  const MemoryFormat format = dense_format(x);
  const Maps maps = maps_of("modulate", x, format);
  STD_TORCH_CHECK(s.dim() == 2 && s.size(0) == maps.n && s.size(1) == maps.channels &&
                      (s.scalar_type() == x.scalar_type() || s.scalar_type() == sum_type(maps)) &&
                      s.is_cuda() == x.is_cuda(),
                  "modulate: s does not match x");
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
  STD_TORCH_CHECK(
      y.dim() == x.dim() && y.scalar_type() == x.scalar_type() && y.is_cuda() == x.is_cuda(),
      "channel_dot: y does not match x");
  for (int64_t d = 0; d < x.dim(); ++d)
    STD_TORCH_CHECK(y.size(d) == x.size(d), "channel_dot: y does not match x");
  const Tensor dense_x = dense_as(x, format), dense_y = dense_as(y, format);
  Tensor z = allocate(x, {maps.n, maps.channels}, sum_type(maps));
  if (x.numel() == 0) {
    if (z.numel() != 0) torch::stable::zero_(z);
    return z;
  }
  const ModulateKernels& kernels = modulate_kernels();
  ChannelDotParams p{
      dense_x.data_ptr(), dense_y.data_ptr(), z.data_ptr(), nullptr, kernels.slices(maps), maps};
  std::optional<Tensor> scratch;
  if (p.slices > 1) {
    scratch = allocate(z, {p.slices * z.numel()});
    p.scratch = scratch->data_ptr();
  }
  check_launch("channel_dot", kernels.dot(p, exec_of(x)));
  return z;
}

STABLE_TORCH_LIBRARY_IMPL(fastgan, FASTGAN_KEY, m) {
  m.impl("modulate", TORCH_BOX(&modulate_forward));
  m.impl("channel_dot", TORCH_BOX(&channel_dot_forward));
}

}  // namespace
}  // namespace fastgan
