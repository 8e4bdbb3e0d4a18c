// SPDX-License-Identifier: Apache-2.0
// Host side of observe_: tensors to parameters, launch. Arguments are made in
// fastgan/ops/observe.py; the checks here only guard memory.
#include "observe.h"

#include "../../common/binding.h"

namespace fastgan {
namespace {

void observe(const Tensor& totals, const Tensor& values, int64_t row, double share) {
  Guard guard(values);
  STD_TORCH_CHECK(totals.dim() == 3 && totals.size(0) == 2 && totals.size(2) == 3 &&
                      totals.scalar_type() == ScalarType::Float && totals.is_contiguous() &&
                      totals.is_cuda() == values.is_cuda() &&
                      totals.get_device_index() == values.get_device_index(),
                  "observe_: totals must be contiguous float32 [2, rows, 3] on values' device");
  STD_TORCH_CHECK(values.is_contiguous(), "observe_: values must be contiguous");
  STD_TORCH_CHECK(row >= 0 && row < totals.size(1), "observe_: there is no row ", row);
  ObserveParams p{};
  p.values = const_data(values);
  p.totals = static_cast<float*>(totals.data_ptr());
  p.numel = values.numel();
  p.rows = totals.size(1);
  p.row = row;
  p.share = float(share);
  p.dtype = dtype_of("observe_", values);
  check_launch("observe_", observe_kernels().observe(p, exec_of(values)));
}

STABLE_TORCH_LIBRARY_IMPL(fastgan, FASTGAN_KEY, m) { m.impl("observe_", TORCH_BOX(&observe)); }

}  // namespace
}  // namespace fastgan
