// SPDX-License-Identifier: Apache-2.0
// Host side of bias_act_filter2d: tensors to parameters, allocation, launch. Arguments are
// validated in fastgan/ops/bias_act_filter2d.py; the checks here only guard memory.
#include "bias_act_filter2d.h"

#include <limits>

#include "../../common/binding.h"

namespace fastgan {
namespace {

constexpr MemoryFormat kLayout = MemoryFormat::ChannelsLast;

// x [n, c, in.y, in.x] to y [n, c, height, width].
struct Call {
  Tensor x, f, y;
  BiasActFilter2dParams p{};

  Call(const Tensor& given, const Tensor& taps, int64_t pad, int64_t height, int64_t width,
       bool is_flipped, double alpha, double gain)
      : x(dense_as(given, kLayout)), f(dense_as(taps, MemoryFormat::Contiguous)) {
    STD_TORCH_CHECK(x.dim() == 4 && f.dim() == 2 && f.is_cuda() == x.is_cuda(),
                    "bias_act_filter2d: x must be 4-D, and f 2-D on the device of x");
    Upfirdn2dParams& q = p.filter;
    q.dtype = dtype_of("bias_act_filter2d", x);
    STD_TORCH_CHECK(
        f.scalar_type() == (q.dtype == DType::kFloat64 ? ScalarType::Double : ScalarType::Float),
        "bias_act_filter2d: f must be float32, or float64 where x is");
    STD_TORCH_CHECK(height > 0 && width > 0, "bias_act_filter2d: y must not be empty");
    q.n = x.size(0);
    q.c = x.size(1);
    q.ay = {x.size(2), height, f.size(0), 1, 1, pad};
    q.ax = {x.size(3), width, f.size(1), 1, 1, pad};
    q.gain = 1;
    q.is_flipped = is_flipped;
    q.is_channels_last = true;
    y = torch::stable::empty({q.n, q.c, height, width}, x.scalar_type(), std::nullopt, x.device(),
                             std::nullopt, kLayout);
    q.x = const_data(x);
    q.f = const_data(f);
    q.out = const_data(y);
    p.alpha = alpha;
    p.gain = gain;
  }

  // Of the map before the filter.
  void set_codes(const Tensor& codes, const Tensor& map) {
    STD_TORCH_CHECK(codes.is_contiguous() && codes.scalar_type() == ScalarType::Byte &&
                        codes.is_cuda() == map.is_cuda() && codes.numel() * 4 == map.numel(),
                    "bias_act_filter2d: the codes do not match the map");
    p.codes = const_data(codes);
  }
};

std::tuple<Tensor, Tensor> bias_act_filter2d_forward(const Tensor& x, const Tensor& f,
                                                     std::optional<Tensor> b, int64_t x1,
                                                     int64_t y1, double alpha, double gain,
                                                     std::optional<double> clamp,
                                                     bool keeps_codes) {
  Guard guard(x);
  STD_TORCH_CHECK(x.dim() == 4 && x1 > 0 && y1 > 0, "bias_act_filter2d: x must be 4-D and padded");
  Call call(x, f, 2, x.size(2) + y1 - 1, x.size(3) + x1 - 1, false, alpha, gain);
  BiasActFilter2dParams& p = call.p;
  Tensor codes = keeps_codes ? allocate(call.x, {p.filter.n, x.size(2), x.size(3), p.filter.c / 4},
                                        ScalarType::Byte)
                             : allocate(call.x, {0}, ScalarType::Byte);
  if (call.x.numel() == 0) return {call.y, codes};
  if (keeps_codes) call.set_codes(codes, call.x);
  if (b) {
    STD_TORCH_CHECK(b->numel() == p.filter.c && b->scalar_type() == x.scalar_type() &&
                        b->is_cuda() == x.is_cuda(),
                    "bias_act_filter2d: b does not match x");
    b = dense_as(*b, MemoryFormat::Contiguous);
    p.b = b->data_ptr();
  }
  p.clamp = clamp.value_or(std::numeric_limits<double>::quiet_NaN());
  check_launch("bias_act_filter2d", bias_act_filter2d_kernels().forward(p, exec_of(x)));
  return {call.y, codes};
}

std::tuple<Tensor, Tensor> bias_act_filter2d_backward(const Tensor& dy, const Tensor& codes,
                                                      const Tensor& f, int64_t height,
                                                      int64_t width, double alpha, double gain,
                                                      bool has_db) {
  Guard guard(dy);
  Call call(dy, f, 1, height, width, true, alpha, gain);
  BiasActFilter2dParams& p = call.p;
  Tensor db = allocate(call.y, {has_db ? p.filter.c : 0});
  if (call.x.numel() == 0) return {call.y, db.numel() ? torch::stable::zero_(db) : db};
  call.set_codes(codes, call.y);
  const BiasActFilter2dKernels& kernels = bias_act_filter2d_kernels();
  std::optional<Tensor> scratch;
  if (has_db) {
    const bool is_wide = p.filter.dtype == DType::kFloat64;
    scratch =
        allocate(call.y, {kernels.scratch(p)}, is_wide ? ScalarType::Double : ScalarType::Float);
    p.db = db.data_ptr();
    p.scratch = scratch->data_ptr();
  }
  check_launch("bias_act_filter2d_backward", kernels.backward(p, exec_of(dy)));
  return {call.y, db};
}

Tensor bias_act_filter2d_masked(const Tensor& x, const Tensor& codes, const Tensor& f, int64_t x1,
                                int64_t y1, double alpha, double gain) {
  Guard guard(x);
  STD_TORCH_CHECK(x.dim() == 4 && x1 > 0 && y1 > 0, "bias_act_filter2d: x must be 4-D and padded");
  Call call(x, f, 2, x.size(2) + y1 - 1, x.size(3) + x1 - 1, false, alpha, gain);
  if (call.x.numel() == 0) return call.y;
  call.set_codes(codes, call.x);
  check_launch("bias_act_filter2d_masked", bias_act_filter2d_kernels().masked(call.p, exec_of(x)));
  return call.y;
}

STABLE_TORCH_LIBRARY_IMPL(fastgan, FASTGAN_KEY, m) {
  m.impl("bias_act_filter2d", TORCH_BOX(&bias_act_filter2d_forward));
  m.impl("bias_act_filter2d_backward", TORCH_BOX(&bias_act_filter2d_backward));
  m.impl("bias_act_filter2d_masked", TORCH_BOX(&bias_act_filter2d_masked));
}

}  // namespace
}  // namespace fastgan
