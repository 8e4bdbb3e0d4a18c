// SPDX-License-Identifier: Apache-2.0
// Host side of noise_bias_act: tensors to parameters, allocation, launch. Arguments are validated
// in fastgan/ops/noise_bias_act.py; the checks here only guard memory.
#include "noise_bias_act.h"

#include <limits>

#include "../../common/binding.h"

namespace fastgan {
namespace {

ScalarType compute_type(const Tensor& x) {
  return x.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

void set_shape(NoiseBiasActParams& p, const Tensor& x, MemoryFormat format) {
  STD_TORCH_CHECK(x.dim() >= 2, "noise_bias_act: x must be [N, C, ...]");
  p.dtype = dtype_of("noise_bias_act", x);
  p.outer = x.size(0);
  p.channels = x.size(1);
  p.inner = 1;
  for (int64_t d = 2; d < x.dim(); ++d) p.inner *= x.size(d);
  p.is_channels_last = format != MemoryFormat::Contiguous || p.inner == 1;
}

void set_options(NoiseBiasActParams& p, double alpha, double gain, std::optional<double> clamp) {
  p.alpha = alpha;
  p.gain = gain;
  p.clamp = clamp.value_or(std::numeric_limits<double>::quiet_NaN());
}

std::optional<Tensor> like_shaped(const std::optional<Tensor>& t, const Tensor& like,
                                  MemoryFormat format) {
  if (!t) return t;
  STD_TORCH_CHECK(t->numel() == like.numel() && t->dim() == like.dim() &&
                      t->scalar_type() == like.scalar_type() && t->is_cuda() == like.is_cuda(),
                  "noise_bias_act: tensors of one call differ in size, dtype or device");
  return dense_as(*t, format);
}

std::optional<Tensor> dense_noise(const std::optional<Tensor>& noise, const Tensor& like,
                                  NoiseBiasActParams& p) {
  if (!noise) return noise;
  p.is_noise_shared = noise->numel() == p.inner;
  STD_TORCH_CHECK((p.is_noise_shared || noise->numel() == p.outer * p.inner) &&
                      noise->scalar_type() == like.scalar_type() &&
                      noise->is_cuda() == like.is_cuda(),
                  "noise_bias_act: noise does not match x");
  return dense_as(*noise, MemoryFormat::Contiguous);
}

std::optional<Tensor> parameter(const std::optional<Tensor>& t, const Tensor& x, int64_t numel) {
  if (!t) return t;
  STD_TORCH_CHECK(
      t->numel() == numel && t->scalar_type() == compute_type(x) && t->is_cuda() == x.is_cuda(),
      "noise_bias_act: scale, strength or b does not match x");
  return dense_as(*t, MemoryFormat::Contiguous);
}

const void* data_of(const std::optional<Tensor>& t) { return t ? t->data_ptr() : nullptr; }

Tensor noise_bias_act_forward(const Tensor& x, std::optional<Tensor> scale,
                              std::optional<Tensor> noise, std::optional<Tensor> strength,
                              std::optional<Tensor> b, double alpha, double gain,
                              std::optional<double> clamp) {
  Guard guard(x);
  const MemoryFormat format = dense_format(x);
  const Tensor dense = dense_as(x, format);
  Tensor y = allocate_like(dense);
  NoiseBiasActParams p{};
  set_shape(p, x, format);
  set_options(p, alpha, gain, clamp);
  scale = parameter(scale, x, p.outer * p.channels);
  noise = dense_noise(noise, x, p);
  strength = parameter(strength, x, 1);
  b = parameter(b, x, p.channels);
  if (x.numel() == 0) return y;
  p.x = dense.data_ptr();
  p.scale = data_of(scale);
  p.noise = data_of(noise);
  p.strength = data_of(strength);
  p.b = data_of(b);
  p.out = y.data_ptr();
  check_launch("noise_bias_act", noise_bias_act_kernels().forward(p, exec_of(x)));
  return y;
}

std::tuple<Tensor, Tensor, Tensor, Tensor> noise_bias_act_backward(
    const Tensor& dy, std::optional<Tensor> y, std::optional<Tensor> x, std::optional<Tensor> scale,
    std::optional<Tensor> noise, double alpha, double gain, std::optional<double> clamp,
    bool has_db) {
  Guard guard(dy);
  const Tensor like = y ? *y : x ? *x : dy;
  const MemoryFormat format = dense_format(like);
  const Tensor dense_dy = *like_shaped(dy, like, format);
  y = like_shaped(y, like, format);
  x = like_shaped(x, like, format);
  NoiseBiasActParams p{};
  set_shape(p, like, format);
  set_options(p, alpha, gain, clamp);
  scale = parameter(scale, like, p.outer * p.channels);
  noise = dense_noise(noise, like, p);
  const ScalarType type = compute_type(like);
  Tensor dx = allocate_like(dense_dy);
  Tensor dscale = x ? allocate(dx, {p.outer, p.channels}, type) : allocate(dx, {0}, type);
  Tensor dstrength = noise ? allocate(dx, {}, type) : allocate(dx, {0}, type);
  Tensor db = allocate(dx, {has_db ? p.channels : 0}, type);
  if (dx.numel() == 0) {
    for (Tensor* sum : {&dscale, &dstrength, &db})
      if (sum->numel() != 0) torch::stable::zero_(*sum);
    return {dx, dscale, dstrength, db};
  }
  p.dy = dense_dy.data_ptr();
  p.y = data_of(y);
  p.x = data_of(x);
  p.scale = data_of(scale);
  p.noise = data_of(noise);
  p.out = dx.data_ptr();
  p.dscale = x ? dscale.data_ptr() : nullptr;
  p.dstrength = noise ? dstrength.data_ptr() : nullptr;
  p.db = has_db ? db.data_ptr() : nullptr;
  const NoiseBiasActKernels& kernels = noise_bias_act_kernels();
  const Tensor scratch = allocate(dx, {kernels.scratch(p)}, type);
  p.scratch = scratch.numel() ? scratch.data_ptr() : nullptr;
  check_launch("noise_bias_act_backward", kernels.backward(p, exec_of(dy)));
  return {dx, dscale, dstrength, db};
}

STABLE_TORCH_LIBRARY_IMPL(fastgan, FASTGAN_KEY, m) {
  m.impl("noise_bias_act", TORCH_BOX(&noise_bias_act_forward));
  m.impl("noise_bias_act_backward", TORCH_BOX(&noise_bias_act_backward));
}

}  // namespace
}  // namespace fastgan
