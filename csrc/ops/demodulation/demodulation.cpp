// SPDX-License-Identifier: Apache-2.0
// Host side of demodulation: tensors to parameters, allocation, launch. Arguments are validated in
// fastgan/ops/demodulation.py; the checks here only guard memory.
#include "demodulation.h"

#include "../../common/binding.h"

namespace fastgan {
namespace {

ScalarType sum_type(DType dtype) {
  return dtype == DType::kFloat64 ? ScalarType::Double : ScalarType::Float;
}

int64_t taps_of(const Tensor& w) {
  int64_t taps = 1;
  for (int64_t k = 2; k < w.dim(); ++k) taps *= w.size(k);
  return taps;
}

std::tuple<Tensor, Tensor> demodulation_forward(const Tensor& w, const Tensor& s, double eps) {
  Guard guard(w);
  const DType dtype = dtype_of("demodulation", w);
  STD_TORCH_CHECK(w.dim() >= 2 && s.dim() == 2 && s.size(1) == w.size(1) &&
                      s.scalar_type() == sum_type(dtype) && s.is_cuda() == w.is_cuda(),
                  "demodulation: s does not match w");
  DemodulationParams p{};
  p.n = s.size(0);
  p.outputs = w.size(0);
  p.inputs = w.size(1);
  p.taps = taps_of(w);
  p.eps = eps;
  p.dtype = dtype;
  const MemoryFormat format = dense_format(w);
  p.is_taps_outer = format != MemoryFormat::Contiguous;
  const Tensor dense_w = dense_as(w, format);
  const Tensor dense_s = dense_as(s, MemoryFormat::Contiguous);
  Tensor d = allocate(s, {p.n, p.outputs});
  Tensor energy = allocate(s, {p.outputs, p.inputs});
  p.w = const_data(dense_w);
  p.s = const_data(dense_s);
  p.d = const_data(d);
  p.energy = const_data(energy);
  check_launch("demodulation", demodulation_kernels().forward(p, exec_of(w)));
  return {d, energy};
}

// `t` densely, where it is a matrix of these sizes and of w's compute type.
Tensor matrix(const Tensor& t, int64_t rows, int64_t columns, const Tensor& w, DType dtype) {
  STD_TORCH_CHECK(t.dim() == 2 && t.size(0) == rows && t.size(1) == columns &&
                      t.scalar_type() == sum_type(dtype) && t.is_cuda() == w.is_cuda(),
                  "demodulation_backward: an argument does not match w and s");
  return dense_as(t, MemoryFormat::Contiguous);
}

std::tuple<Tensor, Tensor> demodulation_backward(const Tensor& dd, const std::optional<Tensor>& de,
                                                 const Tensor& w, const Tensor& s, const Tensor& d,
                                                 const Tensor& energy, bool has_dw, bool has_ds) {
  Guard guard(w);
  const DType dtype = dtype_of("demodulation_backward", w);
  STD_TORCH_CHECK(w.dim() >= 2 && s.dim() == 2, "demodulation_backward: s does not match w");
  DemodulationBackwardParams p{};
  p.n = s.size(0);
  p.outputs = w.size(0);
  p.inputs = w.size(1);
  p.taps = taps_of(w);
  p.dtype = dtype;
  const MemoryFormat format = dense_format(w);
  p.is_taps_outer = format != MemoryFormat::Contiguous;
  const Tensor dense_w = dense_as(w, format);
  const Tensor dense_s = matrix(s, p.n, p.inputs, w, dtype);
  const Tensor dense_dd = matrix(dd, p.n, p.outputs, w, dtype);
  const Tensor dense_d = matrix(d, p.n, p.outputs, w, dtype);
  const Tensor dense_energy = matrix(energy, p.outputs, p.inputs, w, dtype);
  std::optional<Tensor> dense_de;
  if (de) dense_de = matrix(*de, p.outputs, p.inputs, w, dtype);
  Tensor dw = has_dw ? allocate_like(dense_w) : allocate(w, {0});
  Tensor ds = has_ds ? allocate(s, {p.n, p.inputs}) : allocate(s, {0});
  p.dd = const_data(dense_dd);
  p.de = dense_de ? const_data(*dense_de) : nullptr;
  p.w = const_data(dense_w);
  p.s = const_data(dense_s);
  p.d = const_data(dense_d);
  p.energy = const_data(dense_energy);
  p.dw = const_data(dw);
  p.ds = const_data(ds);
  check_launch("demodulation_backward", demodulation_kernels().backward(p, exec_of(w)));
  return {dw, ds};
}

STABLE_TORCH_LIBRARY_IMPL(fastgan, FASTGAN_KEY, m) {
  m.impl("demodulation", TORCH_BOX(&demodulation_forward));
  m.impl("demodulation_backward", TORCH_BOX(&demodulation_backward));
}

}  // namespace
}  // namespace fastgan
