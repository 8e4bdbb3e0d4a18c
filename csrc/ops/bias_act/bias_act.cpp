// SPDX-License-Identifier: Apache-2.0
// Host side of bias_act: tensors to parameters, allocation, launch. Arguments are validated in
// fastgan/ops/bias_act.py; the checks here only guard memory.
#include "bias_act.h"

#include <limits>

#include "../../common/binding.h"

namespace fastgan {
namespace {

Activation activation_of(const std::string& act) {
  static constexpr const char* kNames[] = {"linear", "relu", "lrelu",    "tanh", "sigmoid",
                                           "elu",    "selu", "softplus", "swish"};
  for (int i = 0; i < 9; ++i)
    if (act == kNames[i]) return Activation(i);
  STD_TORCH_CHECK(false, "bias_act: unknown activation '", act, "'");
  return Activation::kLinear;
}

// Sizes of [outer, channels, inner] in the order in which `format` lays x out.
void set_shape(BiasActParams& p, const Tensor& x, MemoryFormat format, int64_t dim, bool has_b) {
  p.outer = p.channels = p.inner = 1;
  if (!has_b) {
    p.inner = x.numel();
    return;
  }
  STD_TORCH_CHECK(0 <= dim && dim < x.dim(), "bias_act: dim is out of range");
  const int64_t dims = x.dim();
  bool after = false;
  for (int64_t k = 0; k < dims; ++k) {
    int64_t d = k;
    if (format != MemoryFormat::Contiguous) d = k == 0 ? 0 : k == dims - 1 ? 1 : k + 1;
    if (d == dim) {
      p.channels = x.size(d);
      after = true;
    } else {
      (after ? p.inner : p.outer) *= x.size(d);
    }
  }
}

void set_options(BiasActParams& p, const Tensor& x, const std::string& act, double alpha,
                 double gain, std::optional<double> clamp) {
  p.act = activation_of(act);
  p.alpha = p.act == Activation::kRelu ? 0.0 : p.act == Activation::kLinear ? 1.0 : alpha;
  p.gain = gain;
  p.clamp = clamp.value_or(std::numeric_limits<double>::quiet_NaN());
  p.dtype = dtype_of("bias_act", x);
}

Tensor bias_of(const Tensor& b, const Tensor& like, int64_t channels) {
  STD_TORCH_CHECK(b.numel() == channels && b.scalar_type() == like.scalar_type() &&
                      b.is_cuda() == like.is_cuda(),
                  "bias_act: b does not match x");
  return dense_as(b, MemoryFormat::Contiguous);
}

Tensor like_shaped(const Tensor& t, const Tensor& like, MemoryFormat format) {
  STD_TORCH_CHECK(t.numel() == like.numel() && t.scalar_type() == like.scalar_type() &&
                      t.is_cuda() == like.is_cuda(),
                  "bias_act: tensors of one call differ in size, dtype or device");
  return dense_as(t, format);
}

Tensor bias_act_forward(const Tensor& x, std::optional<Tensor> b, int64_t dim, StringHandle act,
                        double alpha, double gain, std::optional<double> clamp) {
  Guard guard(x);
  const MemoryFormat format = dense_format(x);
  const Tensor dense = dense_as(x, format);
  Tensor y = allocate_like(dense);
  BiasActParams p{};
  set_shape(p, x, format, dim, b.has_value());
  set_options(p, x, take_string(act), alpha, gain, clamp);
  if (b) b = bias_of(*b, x, p.channels);
  if (x.numel() == 0) return y;
  p.x = dense.data_ptr();
  p.b = b ? b->data_ptr() : nullptr;
  p.out = y.data_ptr();
  check_launch("bias_act", bias_act_kernels().forward(p, exec_of(x)));
  return y;
}

std::tuple<Tensor, Tensor> bias_act_backward(const Tensor& dy, std::optional<Tensor> x,
                                             std::optional<Tensor> b, std::optional<Tensor> y,
                                             int64_t dim, StringHandle act, double alpha,
                                             double gain, std::optional<double> clamp,
                                             bool has_db) {
  Guard guard(dy);
  const Tensor& like = y ? *y : x ? *x : dy;
  const MemoryFormat format = dense_format(like);
  const Tensor dense_dy = like_shaped(dy, like, format);
  if (x) x = like_shaped(*x, like, format);
  if (y) y = like_shaped(*y, like, format);
  Tensor dx = allocate_like(dense_dy);
  BiasActParams p{};
  set_shape(p, like, format, dim, b.has_value() || has_db);
  set_options(p, like, take_string(act), alpha, gain, clamp);
  if (b) b = bias_of(*b, like, p.channels);
  Tensor db = allocate(dx, {has_db ? p.channels : 0});
  if (dx.numel() == 0) {
    if (db.numel() != 0) torch::stable::zero_(db);
    return {dx, db};
  }
  p.x = x ? x->data_ptr() : nullptr;
  p.b = b ? b->data_ptr() : nullptr;
  p.y = y ? y->data_ptr() : nullptr;
  p.dy = dense_dy.data_ptr();
  p.out = dx.data_ptr();
  const BiasActKernels& kernels = bias_act_kernels();
  std::optional<Tensor> scratch;
  if (has_db) {
    const bool wide = p.dtype == DType::kFloat64;
    scratch = allocate(dx, {kernels.slices(p) * p.channels},
                       wide ? ScalarType::Double : ScalarType::Float);
    p.db = db.data_ptr();
    p.scratch = scratch->data_ptr();
  }
  check_launch("bias_act_backward", kernels.backward(p, exec_of(dy)));
  return {dx, db};
}

STABLE_TORCH_LIBRARY_IMPL(fastgan, FASTGAN_KEY, m) {
  m.impl("bias_act", TORCH_BOX(&bias_act_forward));
  m.impl("bias_act_backward", TORCH_BOX(&bias_act_backward));
}

}  // namespace
}  // namespace fastgan
