// SPDX-License-Identifier: Apache-2.0
// Host side of grouped_conv2d: tensors to parameters, allocation, launches. Arguments are validated
// in fastgan/ops/grouped_conv2d.py; the checks here only guard memory.
#include "grouped_conv2d.h"

#include "../../common/binding.h"

namespace fastgan {
namespace {

bool is_double(const char* op, const Tensor& t) {
  const DType dtype = dtype_of(op, t);
  STD_TORCH_CHECK(dtype == DType::kFloat32 || dtype == DType::kFloat64, op,
                  ": takes float32 or float64; cast it or call torch.nn.functional.conv2d");
  return dtype == DType::kFloat64;
}

void check_pair(const char* op, const Tensor& a, const Tensor& b, int64_t groups, int64_t pad_y,
                int64_t pad_x) {
  STD_TORCH_CHECK(a.dim() == 4 && b.dim() == 4 && a.scalar_type() == b.scalar_type() &&
                      a.is_cuda() == b.is_cuda(),
                  op, ": the tensors differ in dtype or device, or are not 4-dimensional");
  STD_TORCH_CHECK(pad_y >= 0 && pad_y <= 2 && pad_x >= 0 && pad_x <= 2, op,
                  ": padding must be 0, 1 or 2");
  STD_TORCH_CHECK(groups > 0 && a.size(1) % groups == 0 && a.size(1) > 0, op,
                  ": groups do not divide the channels");
}

Tensor elements(const Tensor& like, int64_t count) {
  return torch::stable::new_empty(like, {count});
}

// [n, c, h, w] in channels_last memory, uninitialised
Tensor empty_maps(const Tensor& like, int64_t n, int64_t c, int64_t h, int64_t w) {
  return torch::stable::empty({n, c, h, w}, like.scalar_type(), std::nullopt, like.device(),
                              std::nullopt, MemoryFormat::ChannelsLast);
}

Tensor conv(const Tensor& x, const Tensor& w, int64_t groups, int64_t pad_y, int64_t pad_x,
            bool transposed) {
  const char* op = "grouped_conv2d";
  Guard guard(x);
  check_pair(op, x, w, groups, pad_y, pad_x);
  GroupedConvParams p{};
  p.is_double = is_double(op, x);
  const int64_t ci = x.size(1) / groups;
  // w is [k, ci, 3, 3], or for the adjoint [c, ko, 3, 3].
  STD_TORCH_CHECK((transposed ? w.size(0) == x.size(1) && w.size(1) > 0
                              : w.size(1) == ci && w.size(0) > 0 && w.size(0) % groups == 0) &&
                      w.size(2) == 3 && w.size(3) == 3,
                  op, ": w does not match x");
  const int64_t ko = transposed ? w.size(1) : w.size(0) / groups;
  // The adjoint is the convolution with flipped taps and what the other padding leaves of 2.
  if (transposed) {
    pad_y = 2 - pad_y;
    pad_x = 2 - pad_x;
  }
  const int64_t oh = x.size(2) + 2 * pad_y - 2, ow = x.size(3) + 2 * pad_x - 2;
  STD_TORCH_CHECK(oh >= 0 && ow >= 0, op, ": x is smaller than the kernel");
  p.shape = {x.size(0), x.size(1), x.size(2), x.size(3), ko * groups, oh, ow, groups, pad_y, pad_x};
  const Tensor dense = dense_as(x, MemoryFormat::ChannelsLast);
  const Tensor y = empty_maps(x, p.shape.n, p.shape.k, oh, ow);
  if (y.numel() != 0) {
    const GroupedConv2dKernels& kernels = grouped_conv2d_kernels();
    p.plan = kernels.plan_conv(p.shape, p.is_double, torch::stable::get_num_threads());
    const Tensor shared = elements(x, p.plan.shared);
    const Tensor scratch = elements(x, p.plan.workers * p.plan.scratch);
    const int64_t sign = transposed ? -1 : 1;
    const int64_t first = w.stride(0), second = w.stride(1);
    p.strides = {(transposed ? ci : ko) * first, transposed ? second : first,
                 transposed ? first : second, sign * w.stride(2), sign * w.stride(3)};
    const int64_t corner = transposed ? 2 * (w.stride(2) + w.stride(3)) : 0;
    p.weight = static_cast<const char*>(const_data(w)) + corner * (p.is_double ? 8 : 4);
    p.x = const_data(dense);
    p.y = y.data_ptr();
    p.shared = const_data(shared);
    p.scratch = const_data(scratch);
    check_launch(op, kernels.conv(p, exec_of(x)));
  }
  return dense_as(y, dense_format(x));
}

Tensor weight(const Tensor& x, const Tensor& dy, int64_t groups, int64_t pad_y, int64_t pad_x) {
  const char* op = "grouped_conv2d_weight";
  Guard guard(x);
  check_pair(op, x, dy, groups, pad_y, pad_x);
  STD_TORCH_CHECK(x.size(0) == dy.size(0) && dy.size(1) > 0 && dy.size(1) % groups == 0 &&
                      dy.size(2) == x.size(2) + 2 * pad_y - 2 &&
                      dy.size(3) == x.size(3) + 2 * pad_x - 2,
                  op, ": dy does not match x");
  GroupedWeightParams p{};
  p.is_double = is_double(op, x);
  p.shape = {x.size(0),  x.size(1),  x.size(2), x.size(3), dy.size(1),
             dy.size(2), dy.size(3), groups,    pad_y,     pad_x};
  const Tensor dense_x = dense_as(x, MemoryFormat::ChannelsLast);
  const Tensor dense_dy = dense_as(dy, MemoryFormat::ChannelsLast);
  const int64_t ci = p.shape.c / groups;
  const Tensor dw = dense_format(x) == MemoryFormat::ChannelsLast
                        ? empty_maps(x, p.shape.k, ci, 3, 3)
                        : torch::stable::new_empty(x, {p.shape.k, ci, 3, 3});
  const GroupedConv2dKernels& kernels = grouped_conv2d_kernels();
  p.plan = kernels.plan_weight(p.shape, p.is_double, torch::stable::get_num_threads());
  const Tensor shared = elements(x, p.plan.shared);
  const Tensor scratch = elements(x, p.plan.workers * p.plan.scratch);
  p.strides = {p.shape.k / groups * dw.stride(0), dw.stride(0), dw.stride(1), dw.stride(2),
               dw.stride(3)};
  p.x = const_data(dense_x);
  p.dy = const_data(dense_dy);
  p.dw = dw.data_ptr();
  p.shared = const_data(shared);
  p.scratch = const_data(scratch);
  check_launch(op, kernels.weight(p, exec_of(x)));
  return dw;
}

STABLE_TORCH_LIBRARY_IMPL(fastgan, FASTGAN_KEY, m) {
  m.impl("grouped_conv2d", TORCH_BOX(&conv));
  m.impl("grouped_conv2d_weight", TORCH_BOX(&weight));
}

}  // namespace
}  // namespace fastgan
