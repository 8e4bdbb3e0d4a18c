// Host side of winograd_conv2d: tensors to parameters, allocation, launches. Arguments are
// validated in fastgan/ops/winograd_conv2d.py; the checks here only guard memory.
#include "winograd_conv2d.h"

#include "../../common/binding.h"

namespace fastgan {
namespace {

bool is_double(const char* op, const Tensor& t) {
  const DType dtype = dtype_of(op, t);
  STD_TORCH_CHECK(dtype == DType::kFloat32 || dtype == DType::kFloat64, op,
                  ": takes float32 or float64; cast it or call torch.nn.functional.conv2d");
  return dtype == DType::kFloat64;
}

void check_pair(const char* op, const Tensor& a, const Tensor& b, int64_t pad_y, int64_t pad_x) {
  STD_TORCH_CHECK(a.dim() == 4 && b.dim() == 4 && a.scalar_type() == b.scalar_type() &&
                      a.is_cuda() == b.is_cuda(),
                  op, ": the tensors differ in dtype or device, or are not 4-dimensional");
  STD_TORCH_CHECK(pad_y >= 0 && pad_y <= 2 && pad_x >= 0 && pad_x <= 2, op,
                  ": padding must be 0, 1 or 2");
}

Tensor elements(const Tensor& like, int64_t count) {
  return torch::stable::new_empty(like, {count});
}

// [n, c, h, w] in channels_last memory, uninitialised
Tensor empty_maps(const Tensor& like, int64_t n, int64_t c, int64_t h, int64_t w) {
  return torch::stable::empty({n, c, h, w}, like.scalar_type(), std::nullopt, like.device(),
                              std::nullopt, MemoryFormat::ChannelsLast);
}

Tensor conv(const Tensor& x, const Tensor& w, int64_t pad_y, int64_t pad_x, bool transposed) {
  const char* op = "winograd_conv2d";
  Guard guard(x);
  check_pair(op, x, w, pad_y, pad_x);
  const int64_t inputs = transposed ? 0 : 1;  // dimension of w
  STD_TORCH_CHECK(w.size(inputs) == x.size(1) && w.size(2) == 3 && w.size(3) == 3, op,
                  ": w does not match x");
  WinogradConvParams p{};
  p.is_double = is_double(op, x);
  // The adjoint is the convolution with flipped taps and what the other padding leaves of 2.
  if (transposed) {
    pad_y = 2 - pad_y;
    pad_x = 2 - pad_x;
  }
  const int64_t oh = x.size(2) + 2 * pad_y - 2, ow = x.size(3) + 2 * pad_x - 2;
  STD_TORCH_CHECK(oh >= 0 && ow >= 0, op, ": x is smaller than the kernel");
  p.shape = {x.size(0), x.size(1), x.size(2), x.size(3), w.size(1 - inputs), oh, ow, pad_y, pad_x};
  const Tensor dense = dense_as(x, MemoryFormat::ChannelsLast);
  const Tensor y = empty_maps(x, p.shape.n, p.shape.k, oh, ow);
  if (y.numel() != 0) {
    const WinogradConv2dKernels& kernels = winograd_conv2d_kernels();
    p.plan = kernels.plan_conv(p.shape, p.is_double, torch::stable::get_num_threads());
    const Tensor shared = elements(x, p.plan.shared);
    const Tensor scratch = elements(x, p.plan.workers * p.plan.scratch);
    const int64_t tap = p.is_double ? 8 : 4;
    p.stride_k = w.stride(1 - inputs);
    p.stride_c = w.stride(inputs);
    p.stride_row = transposed ? -w.stride(2) : w.stride(2);
    p.stride_col = transposed ? -w.stride(3) : w.stride(3);
    const int64_t corner = transposed ? 2 * (w.stride(2) + w.stride(3)) : 0;
    p.weight = static_cast<const char*>(const_data(w)) + corner * tap;
    p.x = const_data(dense);
    p.y = y.data_ptr();
    p.shared = const_data(shared);
    p.scratch = const_data(scratch);
    check_launch(op, kernels.conv(p, exec_of(x)));
  }
  return dense_as(y, dense_format(x));
}

Tensor weight(const Tensor& x, const Tensor& dy, int64_t pad_y, int64_t pad_x) {
  const char* op = "winograd_conv2d_weight";
  Guard guard(x);
  check_pair(op, x, dy, pad_y, pad_x);
  STD_TORCH_CHECK(x.size(0) == dy.size(0) && dy.size(2) == x.size(2) + 2 * pad_y - 2 &&
                      dy.size(3) == x.size(3) + 2 * pad_x - 2,
                  op, ": dy does not match x");
  WinogradWeightParams p{};
  p.is_double = is_double(op, x);
  p.shape = {x.size(0),  x.size(1),  x.size(2), x.size(3), dy.size(1),
             dy.size(2), dy.size(3), pad_y,     pad_x};
  const Tensor dense_x = dense_as(x, MemoryFormat::ChannelsLast);
  const Tensor dense_dy = dense_as(dy, MemoryFormat::ChannelsLast);
  const Tensor dw = dense_format(x) == MemoryFormat::ChannelsLast
                        ? empty_maps(x, p.shape.k, p.shape.c, 3, 3)
                        : torch::stable::new_empty(x, {p.shape.k, p.shape.c, 3, 3});
  if (dw.numel() == 0) return dw;
  const WinogradConv2dKernels& kernels = winograd_conv2d_kernels();
  p.plan = kernels.plan_weight(p.shape, p.is_double, torch::stable::get_num_threads());
  const Tensor shared = elements(x, p.plan.shared);
  const Tensor scratch = elements(x, p.plan.workers * p.plan.scratch);
  p.stride_k = dw.stride(0);
  p.stride_c = dw.stride(1);
  p.stride_row = dw.stride(2);
  p.stride_col = dw.stride(3);
  p.x = const_data(dense_x);
  p.dy = const_data(dense_dy);
  p.dw = dw.data_ptr();
  p.shared = const_data(shared);
  p.scratch = const_data(scratch);
  check_launch(op, kernels.weight(p, exec_of(x)));
  return dw;
}

STABLE_TORCH_LIBRARY_IMPL(fastgan, FASTGAN_KEY, m) {
  m.impl("winograd_conv2d", TORCH_BOX(&conv));
  m.impl("winograd_conv2d_weight", TORCH_BOX(&weight));
}

}  // namespace
}  // namespace fastgan
