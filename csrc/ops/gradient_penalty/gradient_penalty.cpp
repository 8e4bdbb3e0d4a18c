// SPDX-License-Identifier: Apache-2.0
// Host side of gradient_penalty: tensors to parameters, allocation, launches. Arguments are
// validated in fastgan/ops/gradient_penalty.py; the checks here only guard memory.
#include "gradient_penalty.h"

#include <vector>

#include "../../common/binding.h"

namespace fastgan {
namespace {

std::tuple<Tensor, Tensor> penalty_forward(std::vector<Tensor> grads, double target,
                                           bool one_sided) {
  STD_TORCH_CHECK(!grads.empty() && grads[0].dim() > 0, "gradient_penalty: no gradients");
  const Tensor& first = grads[0];
  Guard guard(first);
  const DType dtype = dtype_of("gradient_penalty", first);
  const int64_t n = first.size(0);
  int64_t columns = 0;
  for (Tensor& g : grads) {
    STD_TORCH_CHECK(g.dim() > 0 && g.size(0) == n && g.scalar_type() == first.scalar_type() &&
                        g.is_cuda() == first.is_cuda(),
                    "gradient_penalty: gradients differ in batch size, dtype or device");
    g = dense_as(g, dense_format(g));
    columns += n == 0 ? 0 : penalty_chunks(g.numel() / n);
  }
  const ScalarType sum_type = dtype == DType::kFloat64 ? ScalarType::Double : ScalarType::Float;
  Tensor penalty = allocate(first, {n}, sum_type);
  Tensor squared_norm = allocate(first, {n}, sum_type);
  if (n == 0) return {penalty, squared_norm};
  const Tensor partial = allocate(first, {n * columns}, sum_type);
  const Exec exec = exec_of(first);
  const GradientPenaltyKernels& kernels = gradient_penalty_kernels();
  int64_t column = 0;
  for (const Tensor& g : grads) {
    const int64_t inner = g.numel() / n;
    if (inner == 0) continue;
    check_launch(
        "gradient_penalty",
        kernels.square({g.data_ptr(), partial.data_ptr(), n, inner, columns, column, dtype}, exec));
    column += penalty_chunks(inner);
  }
  check_launch("gradient_penalty",
               kernels.penalty({const_data(partial), penalty.data_ptr(), squared_norm.data_ptr(), n,
                                columns, target, one_sided, dtype == DType::kFloat64},
                               exec));
  return {penalty, squared_norm};
}

std::vector<Tensor> penalty_backward(const Tensor& c, std::vector<Tensor> grads) {
  Guard guard(c);
  const Tensor dense_c = dense_as(c, MemoryFormat::Contiguous);
  std::vector<Tensor> scaled;
  for (const Tensor& g : grads) {
    const DType dtype = dtype_of("gradient_penalty_backward", g);
    STD_TORCH_CHECK(
        c.dim() == 1 && g.dim() > 0 && g.size(0) == c.size(0) && g.is_cuda() == c.is_cuda() &&
            c.scalar_type() == (dtype == DType::kFloat64 ? ScalarType::Double : ScalarType::Float),
        "gradient_penalty_backward: c does not match the gradients");
    const Tensor dense = dense_as(g, dense_format(g));
    Tensor out = allocate_like(dense);
    if (out.numel() != 0) {
      check_launch(
          "gradient_penalty_backward",
          gradient_penalty_kernels().scale({dense_c.data_ptr(), dense.data_ptr(), out.data_ptr(),
                                            c.size(0), g.numel() / c.size(0), dtype},
                                           exec_of(g)));
    }
    scaled.push_back(out);
  }
  return scaled;
}

STABLE_TORCH_LIBRARY_IMPL(fastgan, FASTGAN_KEY, m) {
  m.impl("gradient_penalty", TORCH_BOX(&penalty_forward));
  m.impl("gradient_penalty_backward", TORCH_BOX(&penalty_backward));
}

}  // namespace
}  // namespace fastgan
