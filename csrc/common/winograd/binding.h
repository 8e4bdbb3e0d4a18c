// SPDX-License-Identifier: Apache-2.0
// Host side of both Winograd ops: tensors to parameters, allocation, launches. Arguments are
// validated in Python; the checks here only guard memory.
#pragma once

#include "../binding.h"
#include "params.h"

namespace fastgan {
namespace {

using WinogradPlanner = WinogradPlan (*)(const WinogradShape&, bool is_double, int64_t threads);

// Which maps are convolved with which taps, in the terms of WinogradConvParams.
struct WinogradWeight {
  int64_t inputs;   // dimension of w that x's channels are; the other one is y's
  bool is_flipped;  // in both directions
};

inline bool winograd_is_double(const char* op, const Tensor& t) {
  const DType dtype = dtype_of(op, t);
  STD_TORCH_CHECK(dtype == DType::kFloat32 || dtype == DType::kFloat64, op,
                  ": takes float32 or float64; cast it or call torch's convolution");
  return dtype == DType::kFloat64;
}

inline void check_winograd_pair(const char* op, const Tensor& a, const Tensor& b, int64_t pad_y,
                                int64_t pad_x) {
  STD_TORCH_CHECK(a.dim() == 4 && b.dim() == 4 && a.scalar_type() == b.scalar_type() &&
                      a.is_cuda() == b.is_cuda(),
                  op, ": the tensors differ in dtype or device, or are not 4-dimensional");
  STD_TORCH_CHECK(pad_y >= 0 && pad_y <= 2 && pad_x >= 0 && pad_x <= 2, op,
                  ": padding must be 0, 1 or 2");
}

inline Tensor elements(const Tensor& like, int64_t count) {
  return torch::stable::new_empty(like, {count});
}

// [n, c, h, w] in channels_last memory, uninitialised
inline Tensor empty_maps(const Tensor& like, int64_t n, int64_t c, int64_t h, int64_t w) {
  return torch::stable::empty({n, c, h, w}, like.scalar_type(), std::nullopt, like.device(),
                              std::nullopt, MemoryFormat::ChannelsLast);
}

// y [n, k, oh, ow]; its channels are those of w's other dimension.
inline Tensor winograd_conv(const char* op, const Tensor& x, const Tensor& w,
                            const WinogradWeight& of, int64_t oh, int64_t ow, int64_t pad_y,
                            int64_t pad_x, WinogradPlanner plan,
                            int (*launch)(const WinogradConvParams&, const Exec&),
                            int64_t side = 3) {
  STD_TORCH_CHECK(w.size(of.inputs) == x.size(1) && w.size(2) == side && w.size(3) == side, op,
                  ": w does not match x");
  WinogradConvParams p{};
  p.is_double = winograd_is_double(op, x);
  const int64_t k = w.size(1 - of.inputs);
  p.shape = {x.size(0), x.size(1), x.size(2), x.size(3), k, oh, ow, pad_y, pad_x, side};
  const Tensor dense = dense_as(x, MemoryFormat::ChannelsLast);
  const Tensor y = empty_maps(x, p.shape.n, k, oh, ow);
  if (y.numel() != 0) {
    p.plan = plan(p.shape, p.is_double, torch::stable::get_num_threads());
    const Tensor shared = elements(x, p.plan.shared), edges = elements(x, p.plan.edges);
    const Tensor scratch = elements(x, p.plan.workers * p.plan.scratch);
    const int64_t tap = p.is_double ? 8 : 4, sign = of.is_flipped ? -1 : 1;
    p.stride_k = w.stride(1 - of.inputs);
    p.stride_c = w.stride(of.inputs);
    p.stride_row = sign * w.stride(2);
    p.stride_col = sign * w.stride(3);
    const int64_t corner = of.is_flipped ? (side - 1) * (w.stride(2) + w.stride(3)) : 0;
    p.weight = static_cast<const char*>(const_data(w)) + corner * tap;
    p.x = const_data(dense);
    p.y = y.data_ptr();
    p.shared = const_data(shared);
    p.edges = const_data(edges);
    p.scratch = const_data(scratch);
    check_launch(op, launch(p, exec_of(x)));
  }
  return dense_as(y, dense_format(x));
}

inline Tensor winograd_weight(const char* op, const Tensor& x, const Tensor& dy, int64_t pad_y,
                              int64_t pad_x, WinogradPlanner plan,
                              int (*launch)(const WinogradWeightParams&, const Exec&),
                              int64_t side = 3) {
  WinogradWeightParams p{};
  p.is_double = winograd_is_double(op, x);
  p.shape = {x.size(0),  x.size(1),  x.size(2), x.size(3), dy.size(1),
             dy.size(2), dy.size(3), pad_y,     pad_x,     side};
  const Tensor dense_x = dense_as(x, MemoryFormat::ChannelsLast);
  const Tensor dense_dy = dense_as(dy, MemoryFormat::ChannelsLast);
  const Tensor dw = dense_format(x) == MemoryFormat::ChannelsLast
                        ? empty_maps(x, p.shape.k, p.shape.c, side, side)
                        : torch::stable::new_empty(x, {p.shape.k, p.shape.c, side, side});
  if (dw.numel() == 0) return dw;
  p.plan = plan(p.shape, p.is_double, torch::stable::get_num_threads());
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
  check_launch(op, launch(p, exec_of(x)));
  return dw;
}

}  // namespace
}  // namespace fastgan
