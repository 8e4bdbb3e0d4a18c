// SPDX-License-Identifier: Apache-2.0
// Host side of anti_aliased_snake: tensors to parameters, allocation, launch. Arguments are
// validated in fastgan/ops/anti_aliased_snake.py; the checks here only guard memory.
#include "anti_aliased_snake.h"

#include "../../common/binding.h"

namespace fastgan {
namespace {

ScalarType compute_type(const Tensor& x) {
  return x.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

// The tensors that both directions take, dense; they live as long as the launch needs them.
struct Inputs {
  Tensor x, alpha, beta, up_filter, down_filter;
  AntiAliasedSnakeParams p{};

  Inputs(const Tensor& signal, const Tensor& a, const Tensor& b, const Tensor& f, const Tensor& g,
         int64_t up_ratio, int64_t down_ratio)
      : x(dense_as(signal, MemoryFormat::Contiguous)),
        alpha(parameter(a, signal)),
        beta(parameter(b, signal)),
        up_filter(parameter(f, signal)),
        down_filter(parameter(g, signal)) {
    STD_TORCH_CHECK(x.dim() == 3 && up_ratio >= 1 && down_ratio >= 1 && down_ratio <= INT32_MAX &&
                        f.numel() >= up_ratio && g.numel() >= 1 && a.numel() == x.size(1) &&
                        b.numel() == x.size(1),
                    "anti_aliased_snake: ratios, filters, alpha or beta do not fit x");
    p.x = const_data(x);
    p.alpha = const_data(alpha);
    p.beta = const_data(beta);
    p.up_filter = up_filter.data_ptr();
    p.down_filter = down_filter.data_ptr();
    p.rows = x.size(0) * x.size(1);
    p.channels = x.size(1);
    p.length = x.size(2);
    p.outputs = (p.length * up_ratio + down_ratio - 1) / down_ratio;
    p.up_ratio = up_ratio;
    p.down_ratio = down_ratio;
    p.up_taps = f.numel();
    p.down_taps = g.numel();
    p.up_lead = (p.up_taps - up_ratio) / 2;
    p.down_lead = p.down_taps / 2 - (p.down_taps % 2 == 0 ? 1 : 0);
    p.dtype = dtype_of("anti_aliased_snake", x);
  }

  static Tensor parameter(const Tensor& t, const Tensor& x) {
    STD_TORCH_CHECK(
        t.dim() == 1 && t.scalar_type() == compute_type(x) && t.is_cuda() == x.is_cuda(),
        "anti_aliased_snake: alpha, beta or a filter does not match x");
    return dense_as(t, MemoryFormat::Contiguous);
  }
};

Tensor forward(const Tensor& x, const Tensor& alpha, const Tensor& beta, const Tensor& up_filter,
               const Tensor& down_filter, int64_t up_ratio, int64_t down_ratio) {
  Guard guard(x);
  Inputs in(x, alpha, beta, up_filter, down_filter, up_ratio, down_ratio);
  Tensor y = allocate(in.x, {x.size(0), x.size(1), in.p.outputs});
  if (y.numel() == 0) return y;
  in.p.out = y.data_ptr();
  check_launch("anti_aliased_snake", anti_aliased_snake_kernels().forward(in.p, exec_of(x)));
  return y;
}

std::tuple<Tensor, Tensor, Tensor> backward(const Tensor& dy, const Tensor& x, const Tensor& alpha,
                                            const Tensor& beta, const Tensor& up_filter,
                                            const Tensor& down_filter, int64_t up_ratio,
                                            int64_t down_ratio, bool has_dx, bool has_sums) {
  Guard guard(x);
  Inputs in(x, alpha, beta, up_filter, down_filter, up_ratio, down_ratio);
  AntiAliasedSnakeParams& p = in.p;
  STD_TORCH_CHECK(dy.numel() == p.rows * p.outputs && dy.scalar_type() == x.scalar_type() &&
                      dy.is_cuda() == x.is_cuda(),
                  "anti_aliased_snake: dy does not match x");
  const Tensor dense_dy = dense_as(dy, MemoryFormat::Contiguous);
  Tensor dx = has_dx ? allocate_like(in.x) : allocate(in.x, {0});
  const int64_t sums = has_sums ? p.channels : 0;
  Tensor dalpha = allocate(in.x, {sums}, compute_type(x));
  Tensor dbeta = allocate(in.x, {sums}, compute_type(x));
  if (x.numel() == 0) {
    for (Tensor* sum : {&dalpha, &dbeta})
      if (sum->numel() != 0) torch::stable::zero_(*sum);
    return {dx, dalpha, dbeta};
  }
  if (!has_dx && !has_sums) return {dx, dalpha, dbeta};
  p.dy = dense_dy.data_ptr();
  p.out = has_dx ? dx.data_ptr() : nullptr;
  p.dalpha = has_sums ? dalpha.data_ptr() : nullptr;
  p.dbeta = has_sums ? dbeta.data_ptr() : nullptr;
  const AntiAliasedSnakeKernels& kernels = anti_aliased_snake_kernels();
  const Tensor scratch = allocate(dx, {kernels.scratch(p)}, compute_type(x));
  p.scratch = scratch.numel() ? scratch.data_ptr() : nullptr;
  check_launch("anti_aliased_snake_backward", kernels.backward(p, exec_of(x)));
  return {dx, dalpha, dbeta};
}

STABLE_TORCH_LIBRARY_IMPL(fastgan, FASTGAN_KEY, m) {
  m.impl("anti_aliased_snake", TORCH_BOX(&forward));
  m.impl("anti_aliased_snake_backward", TORCH_BOX(&backward));
}

}  // namespace
}  // namespace fastgan
