// SPDX-License-Identifier: Apache-2.0
// Host side of upfirdn2d: tensors to parameters, allocation, launch. Arguments are validated in
// fastgan/ops/upfirdn2d.py; the checks here only guard memory.
#include "upfirdn2d.h"

#include <cstdlib>

#include "../../common/binding.h"

namespace fastgan {
namespace {

int64_t output_size(const Axis& a, int64_t pad_after) {
  const int64_t span = a.in * a.up + a.pad + pad_after - a.taps;
  return span < 0 ? 0 : span / a.down + 1;
}

// Kernels count the samples of one axis in 32 bits.
bool is_short(const Axis& a, int64_t pad_after) {
  constexpr int64_t kMost = INT32_MAX;
  for (int64_t v : {a.in, a.taps, a.up, a.pad, pad_after})
    if (v > kMost || v < -kMost) return false;
  return a.in * a.up + std::abs(a.pad) + std::abs(pad_after) + a.taps <= kMost;
}

Tensor upfirdn2d_run(const Tensor& x, const Tensor& f, int64_t up_x, int64_t up_y, int64_t down_x,
                     int64_t down_y, int64_t x0, int64_t x1, int64_t y0, int64_t y1,
                     bool flip_filter, double gain) {
  STD_TORCH_CHECK(x.dim() == 4 && (f.dim() == 1 || f.dim() == 2) && f.numel() > 0,
                  "upfirdn2d: x must be 4-D and f 1-D or 2-D");
  STD_TORCH_CHECK(up_x > 0 && up_y > 0 && down_x > 0 && down_y > 0,
                  "upfirdn2d: up and down must be positive");
  STD_TORCH_CHECK(f.is_cuda() == x.is_cuda(), "upfirdn2d: f must be on the device of x");
  Guard guard(x);
  Upfirdn2dParams p{};
  p.dtype = dtype_of("upfirdn2d", x);
  STD_TORCH_CHECK(
      f.scalar_type() == (p.dtype == DType::kFloat64 ? ScalarType::Double : ScalarType::Float),
      "upfirdn2d: f must be float32, or float64 where x is");
  const MemoryFormat format = dense_format(x);
  const Tensor dense = dense_as(x, format), dense_f = dense_as(f, MemoryFormat::Contiguous);
  p.n = x.size(0);
  p.c = x.size(1);
  p.is_separable = f.dim() == 1;
  p.ay = {x.size(2), 0, f.size(0), up_y, down_y, y0};
  p.ax = {x.size(3), 0, f.size(f.dim() - 1), up_x, down_x, x0};
  STD_TORCH_CHECK(is_short(p.ay, y1) && is_short(p.ax, x1),
                  "upfirdn2d: an axis of x, up-sampled and padded, exceeds 2147483647 samples");
  p.ay.out = output_size(p.ay, y1);
  p.ax.out = output_size(p.ax, x1);
  p.gain = gain;
  p.is_flipped = flip_filter;
  p.is_channels_last = format == MemoryFormat::ChannelsLast;
  Tensor y = torch::stable::empty({p.n, p.c, p.ay.out, p.ax.out}, x.scalar_type(), std::nullopt,
                                  x.device(), std::nullopt, format);
  if (y.numel() == 0) return y;
  if (x.numel() == 0) return torch::stable::zero_(y);
  p.x = dense.data_ptr();
  p.f = dense_f.data_ptr();
  p.out = y.data_ptr();
  check_launch("upfirdn2d", upfirdn2d_kernels().run(p, exec_of(x)));
  return y;
}

STABLE_TORCH_LIBRARY_IMPL(fastgan, FASTGAN_KEY, m) {
  m.impl("upfirdn2d", TORCH_BOX(&upfirdn2d_run));
}

}  // namespace
}  // namespace fastgan
