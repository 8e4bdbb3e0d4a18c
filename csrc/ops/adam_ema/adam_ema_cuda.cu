// CUDA kernels of adam_ema_: a pass over the gradient that counts what is not finite, then the
// update, which every block of it enters or skips by the same count. Flat indices are 64-bit: there
// is no division to save, and all passes wait for memory.
#include "../../common/reduce.cuh"
#include "../../common/run.cuh"
#include "adam_ema.h"

namespace fastgan::cuda {
namespace {

// Options in the type that the update is computed in. The weights are 1 - beta1 and 1 - beta2.
template <class A>
struct Options {
  A weight1, weight2, eps, weight_decay, grad_scale;
};

template <class A>
Options<A> options_of(const AdamEmaParams& p) {
  return {A(1 - p.beta1), A(1 - p.beta2), A(p.eps), A(p.weight_decay), A(p.grad_scale)};
}

// 1 for NaN and the infinities, whose difference with themselves is NaN.
template <class A>
__device__ __forceinline__ int is_nonfinite(A v) {
  return v - v == A(0) ? 0 : 1;
}

// Block b leaves its count in scratch[1 + b]; the first also keeps the step that the update pass
// starts from, since that pass overwrites it.
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
  p.scratch[1 + blockIdx.x] = count;
  if (blockIdx.x == 0) p.scratch[0] = *p.step;
}

// What depends on the step's number: the same in every block.
template <class A>
struct Coefficients {
  A step_size;   // lr / (1 - beta1^step)
  A rescale;     // 1 / sqrt(1 - beta2^step)
  A ema_weight;  // 1 - beta of the moving average
  bool is_skipped;
};

template <class A>
__device__ __forceinline__ Coefficients<A> begin_step(const AdamEmaParams& p, int partials) {
  Coefficients<A>& shared_coefficients = shared<Coefficients<A>>();
  int64_t count = 0;
  for (int k = int(threadIdx.x); k < partials; k += kThreads) count += p.scratch[1 + k];
  count = block_sum(count);
  if (threadIdx.x == 0) {
    const int64_t step = p.scratch[0] + 1;
    if (blockIdx.x == 0) {
      if (count == 0)
        *p.step = step;
      else
        *p.nonfinite += count;
    }
    Coefficients<A> c;
    c.step_size = A(double(*static_cast<const A*>(p.lr)) / (1 - pow(p.beta1, double(step))));
    c.rescale = A(1 / sqrt(1 - pow(p.beta2, double(step))));
    c.ema_weight = p.ema ? *static_cast<const A*>(p.ema_weight) : A(0);
    c.is_skipped = count != 0;
    shared_coefficients = c;
  }
  __syncthreads();
  return shared_coefficients;
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
    v.v[k] = interpolate(v.v[k], g * g, o.weight2);
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
  const Coefficients<compute_t<T>> c = begin_step<compute_t<T>>(p, partials);
  if (c.is_skipped) return;
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
  const dim3 count_grid = grid_for(p.numel / kN, kAdamPartials);
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
