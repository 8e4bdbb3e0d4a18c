// SPDX-License-Identifier: Apache-2.0
// CUDA kernel of observe_: one block, since what is observed is a loss or a batch of logits, and
// the sums of two blocks would need a second launch.
#include "observe.h"

#include "../../common/reduce.cuh"

namespace fastgan::cuda {
namespace {

template <class T>
__global__ void __launch_bounds__(kThreads) observe_kernel(ObserveParams p) {
  using A = compute_t<T>;
  const T* values = static_cast<const T*>(p.values);
  A sum = 0;
  for (int64_t i = threadIdx.x; i < p.numel; i += kThreads) sum += load(values[i]);
  sum = block_sum(sum);
  if (threadIdx.x != 0) return;
  const float mean = float(sum / A(p.numel));  // of nothing: NaN
  const bool is_finite = mean - mean == 0.0f;
#pragma unroll
  for (int part = 0; part < 2; ++part) {
    float* row = p.totals + (part * p.rows + p.row) * 3;
    if (is_finite) {
      row[0] += p.share * mean;
      row[1] += p.share;
    } else {
      row[2] += p.share;
    }
  }
}

int run(const ObserveParams& p, const Exec& exec) {
  return dispatch(p.dtype, [&](auto type) {
    launch(observe_kernel<decltype(type)>, dim3(1), dim3(kThreads), 0,
           static_cast<cudaStream_t>(exec.stream), p);
    return last_error();
  });
}

}  // namespace

extern const ObserveKernels observe;
const ObserveKernels observe = {run};

}  // namespace fastgan::cuda
