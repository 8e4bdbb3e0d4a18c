// SPDX-License-Identifier: Apache-2.0
// Host side of minibatch_stddev: tensors to parameters, allocation, launches. Arguments are
// validated in fastgan/ops/minibatch_stddev.py; the checks here only guard memory.
#include "minibatch_stddev.h"

#include "../../common/binding.h"

namespace fastgan {
namespace {

constexpr double kEps = 1e-8;

MinibatchStddevParams params_of(const char* op, const Tensor& x, MemoryFormat format, int64_t group,
                                int64_t runs) {
  STD_TORCH_CHECK(
      x.dim() >= 2 && group > 0 && runs > 0 && x.size(0) % group == 0 && x.size(1) % runs == 0, op,
      ": x does not divide into groups and runs");
  MinibatchStddevParams p{};
  p.dtype = dtype_of(op, x);
  p.eps = kEps;
  p.group = group;
  p.groups = x.size(0) / group;
  p.runs = runs;
  int64_t pixels = 1;
  for (int64_t d = 2; d < x.dim(); ++d) pixels *= x.size(d);
  p.elements = x.size(1) * pixels;
  const bool is_strided = format != MemoryFormat::Contiguous && runs > 1;
  p.rows = is_strided ? pixels : 1;
  p.width = is_strided ? x.size(1) / runs : p.elements / runs;
  p.row_stride = is_strided ? x.size(1) : p.elements;
  return p;
}

Tensor stddev_forward(const Tensor& x, int64_t group, int64_t runs) {
  Guard guard(x);
  const MemoryFormat format = dense_format(x);
  MinibatchStddevParams p = params_of("minibatch_stddev", x, format, group, runs);
  const Tensor dense = dense_as(x, format);
  Tensor y = allocate(x, {x.size(0), runs});
  const MinibatchStddevKernels& kernels = minibatch_stddev_kernels();
  p.slices = kernels.slices(p.rows * p.width);
  std::optional<Tensor> scratch;
  if (p.slices > 1) {
    const ScalarType type = p.dtype == DType::kFloat64 ? ScalarType::Double : ScalarType::Float;
    scratch = allocate(x, {p.slices * p.groups * p.runs}, type);
    p.scratch = const_data(*scratch);
  }
  p.x = const_data(dense);
  p.out = const_data(y);
  check_launch("minibatch_stddev", kernels.forward(p, exec_of(x)));
  return y;
}

Tensor stddev_backward(const Tensor& dy, const Tensor& x, int64_t group, int64_t runs) {
  Guard guard(x);
  const MemoryFormat format = dense_format(x);
  MinibatchStddevParams p = params_of("minibatch_stddev_backward", x, format, group, runs);
  STD_TORCH_CHECK(dy.dim() == 2 && dy.size(0) == x.size(0) && dy.size(1) == runs &&
                      dy.scalar_type() == x.scalar_type() && dy.is_cuda() == x.is_cuda(),
                  "minibatch_stddev_backward: dy does not match x");
  const Tensor dense = dense_as(x, format), dense_dy = dense_as(dy, MemoryFormat::Contiguous);
  Tensor dx = allocate_like(dense);
  p.x = const_data(dense);
  p.dy = const_data(dense_dy);
  p.out = const_data(dx);
  check_launch("minibatch_stddev_backward", minibatch_stddev_kernels().backward(p, exec_of(x)));
  return dx;
}

STABLE_TORCH_LIBRARY_IMPL(fastgan, FASTGAN_KEY, m) {
  m.impl("minibatch_stddev", TORCH_BOX(&stddev_forward));
  m.impl("minibatch_stddev_backward", TORCH_BOX(&stddev_backward));
}

}  // namespace
}  // namespace fastgan
