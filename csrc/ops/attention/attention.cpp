// SPDX-License-Identifier: Apache-2.0
// Host side of attention: tensors to parameters, allocation, launches. Arguments are validated in
// fastgan/ops/attention/__init__.py; the checks here only guard memory.
#include "attention.h"

#include "../../common/binding.h"

namespace fastgan {
namespace {

constexpr int64_t kMostRows = (int64_t(1) << 31) - 1024;  // a row's number and a tile fit 32 bits

ScalarType sum_type(DType dtype) {
  return dtype == DType::kFloat64 ? ScalarType::Double : ScalarType::Float;
}

AttentionShape shape_of(const char* op, const Tensor& q, const Tensor& k, const Tensor& v,
                        const std::optional<Tensor>& mask, double scale) {
  AttentionShape s{};
  STD_TORCH_CHECK(q.dim() == 3 && k.dim() == 3 && v.dim() == 3 && k.size(0) == q.size(0) &&
                      v.size(0) == q.size(0) && k.size(2) == q.size(2) && v.size(1) == k.size(1),
                  op, ": q, k and v do not match");
  s.dtype = dtype_of(op, q);
  s.batch = q.size(0);
  s.queries = q.size(1);
  s.keys = k.size(1);
  s.channels = q.size(2);
  s.values = v.size(2);
  s.scale = scale;
  s.items_per_mask = 1;
  STD_TORCH_CHECK(std::max({s.queries, s.keys, s.channels, s.values}) <= kMostRows, op,
                  ": more than ", kMostRows, " rows or channels");
  if (!mask) return s;
  STD_TORCH_CHECK(mask->dim() == 3 && mask->scalar_type() == ScalarType::Bool &&
                      mask->is_contiguous() && mask->is_cuda() == q.is_cuda() &&
                      (mask->size(1) == 1 || mask->size(1) == s.queries) &&
                      (mask->size(2) == 1 || mask->size(2) == s.keys) &&
                      (mask->size(0) == 0 ? s.batch == 0 : s.batch % mask->size(0) == 0),
                  op, ": mask must be contiguous bool [M, queries or 1, keys or 1]");
  s.mask = const_data(*mask);
  s.items_per_mask = std::max<int64_t>(s.batch / std::max<int64_t>(mask->size(0), 1), 1);
  s.mask_item = mask->size(1) * mask->size(2);
  s.mask_query = mask->size(1) == 1 ? 0 : mask->size(2);
  s.mask_key = mask->size(2) == 1 ? 0 : 1;
  return s;
}

// `t` densely, where it is [batch, rows, columns] of this dtype and on q's device.
Tensor dense_like(const char* op, const Tensor& t, const Tensor& q, int64_t rows, int64_t columns) {
  STD_TORCH_CHECK(t.dim() == 3 && t.size(0) == q.size(0) && t.size(1) == rows &&
                      t.size(2) == columns && t.scalar_type() == q.scalar_type() &&
                      t.is_cuda() == q.is_cuda() && t.get_device_index() == q.get_device_index(),
                  op, ": an argument does not match q, k and v");
  return dense_as(t, MemoryFormat::Contiguous);
}

Tensor dense_lse(const char* op, const Tensor& lse, const AttentionShape& s, const Tensor& q) {
  STD_TORCH_CHECK(lse.dim() == 2 && lse.size(0) == s.batch && lse.size(1) == s.queries &&
                      lse.scalar_type() == sum_type(s.dtype) && lse.is_cuda() == q.is_cuda(),
                  op, ": lse does not match q");
  return dense_as(lse, MemoryFormat::Contiguous);
}

// q, k and v, or what has their shapes, densely.
struct Inputs {
  Tensor q, k, v;
};

Inputs dense_inputs(const char* op, const Tensor& q, const Tensor& k, const Tensor& v,
                    const AttentionShape& s, const Tensor& like) {
  return {dense_like(op, q, like, s.queries, s.channels),
          dense_like(op, k, like, s.keys, s.channels), dense_like(op, v, like, s.keys, s.values)};
}

template <class P>
Inputs set_inputs(const char* op, const Tensor& q, const Tensor& k, const Tensor& v,
                  const std::optional<Tensor>& mask, double scale, P& p) {
  p.shape = shape_of(op, q, k, v, mask, scale);
  Inputs in = dense_inputs(op, q, k, v, p.shape, q);
  p.q = const_data(in.q);
  p.k = const_data(in.k);
  p.v = const_data(in.v);
  return in;
}

// What the forward pass gave, and the gradient of o, densely.
struct Outputs {
  Tensor grad_o, o, lse;
};

template <class P>
Outputs set_outputs(const char* op, const Tensor& grad_o, const Tensor& o, const Tensor& lse,
                    const Tensor& q, P& p) {
  const AttentionShape& s = p.shape;
  Outputs out = {dense_like(op, grad_o, q, s.queries, s.values),
                 dense_like(op, o, q, s.queries, s.values), dense_lse(op, lse, s, q)};
  p.grad_o = const_data(out.grad_o);
  p.o = const_data(out.o);
  p.lse = const_data(out.lse);
  return out;
}

std::tuple<Tensor, Tensor> attention_forward(const Tensor& q, const Tensor& k, const Tensor& v,
                                             const std::optional<Tensor>& mask, double scale) {
  Guard guard(q);
  const char* op = "attention";
  AttentionParams p{};
  const Inputs in = set_inputs(op, q, k, v, mask, scale, p);
  const AttentionShape& s = p.shape;
  Tensor o = allocate(q, {s.batch, s.queries, s.values});
  Tensor lse = allocate(q, {s.batch, s.queries}, sum_type(s.dtype));
  p.o = const_data(o);
  p.lse = const_data(lse);
  check_launch(op, attention_kernels().forward(p, exec_of(q)));
  return {o, lse};
}

std::tuple<Tensor, Tensor, Tensor> attention_backward(const Tensor& grad_o, const Tensor& q,
                                                      const Tensor& k, const Tensor& v,
                                                      const Tensor& o, const Tensor& lse,
                                                      const std::optional<Tensor>& mask,
                                                      double scale) {
  Guard guard(q);
  const char* op = "attention_backward";
  AttentionBackwardParams p{};
  const Inputs in = set_inputs(op, q, k, v, mask, scale, p);
  const Outputs out = set_outputs(op, grad_o, o, lse, q, p);
  Tensor dq = allocate_like(in.q), dk = allocate_like(in.k), dv = allocate_like(in.v);
  const Tensor delta = allocate_like(out.lse);
  p.dq = const_data(dq);
  p.dk = const_data(dk);
  p.dv = const_data(dv);
  p.delta = const_data(delta);
  check_launch(op, attention_kernels().backward(p, exec_of(q)));
  return {dq, dk, dv};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> attention_double_backward(
    const Tensor& gq, const Tensor& gk, const Tensor& gv, const Tensor& grad_o, const Tensor& q,
    const Tensor& k, const Tensor& v, const Tensor& o, const Tensor& lse,
    const std::optional<Tensor>& mask, double scale) {
  Guard guard(q);
  const char* op = "attention_double_backward";
  AttentionDoubleBackwardParams p{};
  const Inputs in = set_inputs(op, q, k, v, mask, scale, p);
  const AttentionShape& s = p.shape;
  const Outputs out = set_outputs(op, grad_o, o, lse, q, p);
  const Inputs grad = dense_inputs(op, gq, gk, gv, s, q);
  Tensor by_grad_o = allocate_like(out.grad_o), by_q = allocate_like(in.q);
  Tensor by_k = allocate_like(in.k), by_v = allocate_like(in.v);
  p.parts = attention_kernels().parts(s);
  const Tensor delta = allocate_like(out.lse), mean = allocate_like(out.lse);
  const Tensor correction = allocate(out.lse, {std::max<int64_t>(p.parts, 1), s.batch, s.queries});
  p.gq = const_data(grad.q);
  p.gk = const_data(grad.k);
  p.gv = const_data(grad.v);
  p.by_grad_o = const_data(by_grad_o);
  p.by_q = const_data(by_q);
  p.by_k = const_data(by_k);
  p.by_v = const_data(by_v);
  p.delta = const_data(delta);
  p.mean = const_data(mean);
  p.correction = const_data(correction);
  check_launch(op, attention_kernels().double_backward(p, exec_of(q)));
  return {by_grad_o, by_q, by_k, by_v};
}

STABLE_TORCH_LIBRARY_IMPL(fastgan, FASTGAN_KEY, m) {
  m.impl("attention", TORCH_BOX(&attention_forward));
  m.impl("attention_backward", TORCH_BOX(&attention_backward));
  m.impl("attention_double_backward", TORCH_BOX(&attention_double_backward));
}

}  // namespace
}  // namespace fastgan
