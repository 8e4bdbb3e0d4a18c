// SPDX-License-Identifier: Apache-2.0
// CUDA kernels of adam_ema_: a pass over the gradient that counts what is not finite, then the
// update, which every block of it enters or skips by the same count. Flat indices are 64-bit: there
// is no division to save, and all passes wait for memory.
#include "../../common/reduce.cuh"
#include "../../common/run.cuh"
#include "adam_ema.h"

namespace fastgan::cuda {
namespace {

// Options in the type that the update is computed in. The weight is 1 - beta1.
template <class A>
struct Options {
  A weight1, eps, weight_decay, grad_scale;
};

template <class A>
Options<A> options_of(const AdamEmaParams& p) {
  return {A(1 - p.beta1), A(p.eps), A(p.weight_decay), A(p.grad_scale)};
}

// 1 for NaN and the infinities, whose difference with themselves is NaN.
template <class A>
__device__ __forceinline__ int is_nonfinite(A v) {
  return v - v == A(0) ? 0 : 1;
}

// What depends on the step's number, or is read on the device: the same in every block.
template <class A>
struct Coefficients {
  A step_size;   // lr / (1 - beta1^step)
  A rescale;     // 1 / sqrt(1 - beta2^step)
  A weight2;     // 1 - beta2
  A ema_weight;  // 1 - beta of the moving average
};

// What lies in scratch: the coefficients in double, the step's number before this call, the counts.
__device__ __forceinline__ double* coefficients_at(const AdamEmaParams& p) {
  return reinterpret_cast<double*>(p.scratch);
}
__device__ __forceinline__ int64_t& step_before(const AdamEmaParams& p) { return p.scratch[4]; }
__device__ __forceinline__ int64_t& count_of(const AdamEmaParams& p, int block) {
  return p.scratch[5 + block];
}

// By one thread of the counting pass: not again in each block of the update.
template <class A>
__device__ __forceinline__ void leave_coefficients(const AdamEmaParams& p) {
  const double step = double(*p.step + 1), beta2 = p.beta2_tensor ? *p.beta2_tensor : p.beta2;
  const A ema_weight = p.ema ? *static_cast<const A*>(p.ema_weight) : A(0);
  const Vec<double> first = {{double(*static_cast<const A*>(p.lr)) / (1 - pow(p.beta1, step)),
                              1 / sqrt(1 - pow(beta2, step))}};
  store16(coefficients_at(p), first);
  store16(coefficients_at(p) + 2, Vec<double>{{1 - beta2, double(ema_weight)}});
}
template <class A>
__device__ __forceinline__ Coefficients<A> read_coefficients(const AdamEmaParams& p) {
  const Vec<double> first = load16(coefficients_at(p)), second = load16(coefficients_at(p) + 2);
  return {A(first.v[0]), A(first.v[1]), A(second.v[0]), A(second.v[1])};
}

// Each block leaves its count; the first also leaves the step that the update pass
// starts from, since that pass overwrites it, and the coefficients.
template <class T, int kN>
__global__ void __launch_bounds__(kThreads) count_kernel(AdamEmaParams p, compute_t<T> grad_scale) {
  const T* grad = static_cast<const T*>(p.grad);
  const int64_t first = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t stride = int64_t(gridDim.x) * kThreads, runs = p.numel / kN;
  int64_t count = 0;
  for (int64_t r = first; r < runs; r += stride) {
    const Run<T, kN> g = load_run<kN>(grad + r * kN);
#pragma unroll
    for (int k = 0; k < kN; ++k) count += is_nonfinite(load(g.v[k]) * grad_scale);
  }
  if (const int64_t i = runs * kN + first; i < p.numel)
    count += is_nonfinite(load(grad[i]) * grad_scale);
  count = block_sum(count);
  if (threadIdx.x != 0) return;
  count_of(p, int(blockIdx.x)) = count;
  if (blockIdx.x != 0) return;
  step_before(p) = *p.step;
  leave_coefficients<compute_t<T>>(p);
}

// Whether this step is applied. The first block counts it, or the elements that forbid it.
__device__ __forceinline__ bool begin_step(const AdamEmaParams& p, int partials) {
  bool& is_applied = shared<bool>();
  int64_t count = 0;
  for (int k = int(threadIdx.x); k < partials; k += kThreads) count += count_of(p, k);
  count = block_sum(count);
  if (threadIdx.x == 0) {
    if (blockIdx.x == 0) {
      if (count == 0)
        *p.step = step_before(p) + 1;
      else
        *p.nonfinite += count;
    }
    is_applied = count == 0;
  }
  __syncthreads();
  return is_applied;
}

__device__ __forceinline__ float root(float v) { return sqrtf(v); }
__device__ __forceinline__ double root(double v) { return sqrt(v); }

// As torch.lerp: exact at weight 0 and at weight 1.
template <class A>
__device__ __forceinline__ A interpolate(A from, A to, A weight) {
  const A d = to - from;
  return weight < A(0.5) ? from + weight * d : to - (A(1) - weight) * d;
}

// The kN elements from i on.
template <class T, int kN>
__device__ __forceinline__ void update_run(const AdamEmaParams& p, int64_t i,
                                           const Options<compute_t<T>>& o,
                                           const Coefficients<compute_t<T>>& c) {
  using A = compute_t<T>;
  A* param = static_cast<A*>(p.param) + i;
  A* exp_avg = static_cast<A*>(p.exp_avg) + i;
  A* exp_avg_sq = static_cast<A*>(p.exp_avg_sq) + i;
  const Run<T, kN> grad = load_run<kN>(static_cast<const T*>(p.grad) + i);
  Run<A, kN> x = load_run<kN>(param), v = load_run<kN>(exp_avg_sq), m{}, average;
  if (o.weight1 != 1) m = load_run<kN>(exp_avg);  // usual for GANs: beta1 = 0, m is the gradient
  if (p.ema) average = load_run<kN>(static_cast<A*>(p.ema) + i);
#pragma unroll
  for (int k = 0; k < kN; ++k) {
    const A g = load(grad.v[k]) * o.grad_scale + o.weight_decay * x.v[k];
    m.v[k] = interpolate(m.v[k], g, o.weight1);
    v.v[k] = interpolate(v.v[k], g * g, c.weight2);
    x.v[k] -= c.step_size * m.v[k] / (root(v.v[k]) * c.rescale + o.eps);
    if (p.ema) average.v[k] = interpolate(average.v[k], x.v[k], c.ema_weight);
  }
  store_run<kN>(param, x);
  store_run<kN>(exp_avg, m);
  store_run<kN>(exp_avg_sq, v);
  if (p.ema) store_run<kN>(static_cast<A*>(p.ema) + i, average);
}

template <class T, int kN>
__global__ void __launch_bounds__(kThreads)
    update_kernel(AdamEmaParams p, Options<compute_t<T>> o, int partials) {
  using A = compute_t<T>;
  if (!begin_step(p, partials)) return;
  const Coefficients<A> c = read_coefficients<A>(p);
  const int64_t first = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t stride = int64_t(gridDim.x) * kThreads, runs = p.numel / kN;
  if (const int64_t i = runs * kN + first; i < p.numel) update_run<T, 1>(p, i, o, c);
  // Backwards: the counting pass has left the end of the gradient in the second-level cache.
  for (int64_t r = runs - 1 - first; r >= 0; r -= stride) update_run<T, kN>(p, r * kN, o, c);
}

template <class T, int kN>
int launch_step(const AdamEmaParams& p, cudaStream_t stream) {
  using A = compute_t<T>;
  const Options<A> o = options_of<A>(p);
  dim3 count_grid = grid_for(p.numel / kN, 8);
  if (count_grid.x > kAdamPartials) count_grid.x = kAdamPartials;
  launch(count_kernel<T, kN>, count_grid, dim3(kThreads), 0, stream, p, o.grad_scale);
  if (const int error = last_error()) return error;
  launch(update_kernel<T, kN>, grid_for(p.numel / kN), dim3(kThreads), 0, stream, p, o,
         int(count_grid.x));
  return last_error();
}

// Also where numel is 0: the step's number advances with an empty buffer as with any other.
int step(const AdamEmaParams& p, const Exec& exec) {
  const auto stream = static_cast<cudaStream_t>(exec.stream);
  const bool is_aligned = is_aligned16(p.param) && is_aligned16(p.grad) &&
                          is_aligned16(p.exp_avg) && is_aligned16(p.exp_avg_sq) &&
                          is_aligned16(p.ema);
  return dispatch(p.dtype, [&](auto type) {
    using T = decltype(type);
    if constexpr (sizeof(T) < 8)
      if (is_aligned) return launch_step<T, Vec<T>::kN>(p, stream);
    return launch_step<T, 1>(p, stream);
  });
}

}  // namespace

extern const AdamEmaKernels adam_ema;
const AdamEmaKernels adam_ema = {step};

}  // namespace fastgan::cuda
