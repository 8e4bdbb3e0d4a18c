// SPDX-License-Identifier: Apache-2.0
// Host side of adam_ema_: tensors to parameters, scratch, launch. Arguments are validated in
// fastgan/ops/adam_ema.py; the checks here only guard memory.
#include "adam_ema.h"

#include "../../common/binding.h"

namespace fastgan {
namespace {

void* buffer_of(const Tensor& t, const Tensor& grad, ScalarType dtype, int64_t numel) {
  STD_TORCH_CHECK(t.numel() == numel && t.scalar_type() == dtype && t.is_contiguous() &&
                      t.is_cuda() == grad.is_cuda() &&
                      t.get_device_index() == grad.get_device_index(),
                  "adam_ema_: tensors of one call differ in size, dtype, layout or device");
  return const_data(t);
}

void adam_ema_step(const Tensor& param, const Tensor& grad, const Tensor& exp_avg,
                   const Tensor& exp_avg_sq, std::optional<Tensor> ema, const Tensor& step,
                   const Tensor& nonfinite, const Tensor& lr, std::optional<Tensor> ema_weight,
                   std::optional<Tensor> beta2_tensor, double beta1, double beta2, double eps,
                   double weight_decay, double grad_scale) {
  Guard guard(grad);
  STD_TORCH_CHECK(ema.has_value() == ema_weight.has_value(),
                  "adam_ema_: ema and ema_weight come together");
  AdamEmaParams p{};
  p.dtype = dtype_of("adam_ema_", grad);
  p.numel = grad.numel();
  const ScalarType wide = p.dtype == DType::kFloat64 ? ScalarType::Double : ScalarType::Float;
  p.grad = buffer_of(grad, grad, grad.scalar_type(), p.numel);
  p.param = buffer_of(param, grad, wide, p.numel);
  p.exp_avg = buffer_of(exp_avg, grad, wide, p.numel);
  p.exp_avg_sq = buffer_of(exp_avg_sq, grad, wide, p.numel);
  p.ema = ema ? buffer_of(*ema, grad, wide, p.numel) : nullptr;
  p.step = static_cast<int64_t*>(buffer_of(step, grad, ScalarType::Long, 1));
  p.nonfinite = static_cast<int64_t*>(buffer_of(nonfinite, grad, ScalarType::Long, 1));
  p.lr = buffer_of(lr, grad, wide, 1);
  p.ema_weight = ema_weight ? buffer_of(*ema_weight, grad, wide, 1) : nullptr;
  if (beta2_tensor)
    p.beta2_tensor = static_cast<double*>(buffer_of(*beta2_tensor, grad, ScalarType::Double, 1));
  p.beta1 = beta1;
  p.beta2 = beta2;
  p.eps = eps;
  p.weight_decay = weight_decay;
  p.grad_scale = grad_scale;
  const Tensor scratch = allocate(grad, {kAdamScratch}, ScalarType::Long);
  p.scratch = static_cast<int64_t*>(scratch.data_ptr());
  check_launch("adam_ema_", adam_ema_kernels().step(p, exec_of(grad)));
}

STABLE_TORCH_LIBRARY_IMPL(fastgan, FASTGAN_KEY, m) {
  m.impl("adam_ema_", TORCH_BOX(&adam_ema_step));
}

}  // namespace
}  // namespace fastgan
