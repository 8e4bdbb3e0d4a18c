// CUDA kernels of bias_act. Memory-bound: what counts is 16-byte accesses, no 64-bit division, and
// the bias gradient out of the pass that makes dx.
#include "../../common/reduce.cuh"
#include "activation.cuh"
#include "bias_act.h"

namespace fastgan::cuda {
namespace {

template <class A>
struct Options {
  A alpha, gain, clamp;
};

template <class T>
Options<compute_t<T>> options_of(const BiasActParams& p) {
  using A = compute_t<T>;
  return {A(p.alpha), A(p.gain), A(p.clamp)};
}

template <class Act, class A>
__device__ __forceinline__ A forward_one(A u, const Options<A>& o) {
  const A v = o.gain * Act::value(u, o.alpha);
  const A low = v < -o.clamp ? -o.clamp : v;  // a NaN passes through both comparisons
  return low > o.clamp ? o.clamp : low;
}

// dx of one element; kFromY reads the branch off the forward output.
template <class Act, bool kFromY, class A>
__device__ __forceinline__ A backward_one(A dy, A reference, const Options<A>& o) {
  A v, slope;
  if (kFromY) {
    v = reference;
    slope = v > 0 ? o.gain : o.gain * o.alpha;
  } else {
    v = o.gain * Act::value(reference, o.alpha);
    slope = o.gain * Act::slope(reference, o.alpha);
  }
  return (v < 0 ? -v : v) >= o.clamp ? A(0) : dy * slope;  // a NaN is never hidden
}

// Where element i of [outer, channels, inner] finds its channel.
template <class Divisor>
struct Channels {
  Divisor inner, channels;
  int64_t count;
  bool is_innermost;

  explicit Channels(const BiasActParams& p)
      : inner(p.inner), channels(p.channels), count(p.channels), is_innermost(p.inner == 1) {}
  __device__ __forceinline__ int64_t of(int64_t i) const {
    const int64_t row = is_innermost ? i : inner.divide(i);
    return row - channels.divide(row) * count;
  }
};

// kN elements a step: 16 bytes, all in one channel, or (channels innermost) in kN adjacent ones.
template <class T, class Act, int kN, class Divisor>
__global__ void __launch_bounds__(kThreads)
    forward_kernel(BiasActParams p, Options<compute_t<T>> o, Channels<Divisor> channels,
                   int64_t steps) {
  using A = compute_t<T>;
  const T* x = static_cast<const T*>(p.x);
  const T* b = static_cast<const T*>(p.b);
  T* y = static_cast<T*>(p.out);
  const int64_t stride = int64_t(gridDim.x) * kThreads;
  for (int64_t s = int64_t(blockIdx.x) * kThreads + threadIdx.x; s < steps; s += stride) {
    const int64_t i = s * kN;
    const int64_t c = b ? channels.of(i) : 0;
    if (kN == 1) {
      y[i] = narrow<T>(forward_one<Act, A>(load(x[i]) + (b ? load(b[c]) : A(0)), o));
      continue;
    }
    Vec<T> v = load16(x + i);
    Vec<T> bias;
    if (b && channels.is_innermost) bias = load16(b + c);
    const A common = b && !channels.is_innermost ? load(b[c]) : A(0);
#pragma unroll
    for (int k = 0; k < Vec<T>::kN; ++k) {
      const A add = b && channels.is_innermost ? load(bias.v[k]) : common;
      v.v[k] = narrow<T>(forward_one<Act, A>(load(v.v[k]) + add, o));
    }
    store16(y + i, v);
  }
}

template <class T, class Act, bool kFromY, int kN, class Divisor>
__global__ void __launch_bounds__(kThreads)
    backward_kernel(BiasActParams p, Options<compute_t<T>> o, Channels<Divisor> channels,
                    int64_t steps) {
  using A = compute_t<T>;
  const T* dy = static_cast<const T*>(p.dy);
  const T* reference = static_cast<const T*>(kFromY ? p.y : p.x);
  const T* b = kFromY ? nullptr : static_cast<const T*>(p.b);
  T* dx = static_cast<T*>(p.out);
  if (kFromY) o.clamp = load(narrow<T>(o.clamp));
  const int64_t stride = int64_t(gridDim.x) * kThreads;
  for (int64_t s = int64_t(blockIdx.x) * kThreads + threadIdx.x; s < steps; s += stride) {
    const int64_t i = s * kN;
    const int64_t c = b ? channels.of(i) : 0;
    Vec<T> d, r;
    if (kN == 1) {
      d.v[0] = dy[i];
      if (reference) r.v[0] = reference[i];
    } else {
      d = load16(dy + i);
      if (reference) r = load16(reference + i);
    }
#pragma unroll
    for (int k = 0; k < kN; ++k) {
      const A add = b ? load(b[channels.is_innermost ? c + k : c]) : A(0);
      d.v[k] =
          narrow<T>(reference ? backward_one<Act, kFromY, A>(load(d.v[k]), load(r.v[k]) + add, o)
                              : load(d.v[k]) * o.gain);
    }
    if (kN == 1)
      dx[i] = d.v[0];
    else
      store16(dx + i, d);
  }
}

// One element of dx with the channel known; returned unrounded for the bias gradient.
template <class T, class Act, bool kFromY>
__device__ __forceinline__ compute_t<T> backward_element(const BiasActParams& p, int64_t i,
                                                         compute_t<T> bias,
                                                         const Options<compute_t<T>>& o) {
  using A = compute_t<T>;
  const T* reference = static_cast<const T*>(kFromY ? p.y : p.x);
  const A dy = load(static_cast<const T*>(p.dy)[i]);
  const A d =
      reference ? backward_one<Act, kFromY, A>(dy, load(reference[i]) + bias, o) : dy * o.gain;
  static_cast<T*>(p.out)[i] = narrow<T>(d);
  return d;
}

// With db, planes: block (c, s) takes slice s of channel c's outer·inner elements.
template <class T, class Act, bool kFromY, class Divisor>
__global__ void __launch_bounds__(kThreads)
    backward_planes_kernel(BiasActParams p, Options<compute_t<T>> o, Divisor inner,
                           int64_t per_slice) {
  using A = compute_t<T>;
  if (kFromY) o.clamp = load(narrow<T>(o.clamp));
  const int64_t c = blockIdx.x, total = p.outer * p.inner;
  const int64_t begin = int64_t(blockIdx.y) * per_slice;
  const int64_t end = begin + per_slice < total ? begin + per_slice : total;
  const A bias = !kFromY && p.b ? load(static_cast<const T*>(p.b)[c]) : A(0);
  A sum = 0;
  for (int64_t e = begin + threadIdx.x; e < end; e += kThreads) {
    const int64_t outer = inner.divide(e);
    const int64_t i = (outer * p.channels + c) * p.inner + (e - outer * p.inner);
    sum += backward_element<T, Act, kFromY>(p, i, bias, o);
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) static_cast<A*>(p.scratch)[int64_t(blockIdx.y) * p.channels + c] = sum;
}

// With db, channels innermost: 32 channels by 8 rows of threads walk down one slice of rows.
constexpr int kColumns = 32, kRows = kThreads / kColumns;
template <class A>
struct ColumnSums {
  A sums[kRows][kColumns];
};
template <class T, class Act, bool kFromY>
__global__ void __launch_bounds__(kThreads)
    backward_columns_kernel(BiasActParams p, Options<compute_t<T>> o, int64_t per_slice) {
  using A = compute_t<T>;
  if (kFromY) o.clamp = load(narrow<T>(o.clamp));
  ColumnSums<A>& memory = shared<ColumnSums<A>>();
  const int column = threadIdx.x % kColumns, row = threadIdx.x / kColumns;
  const int64_t c = int64_t(blockIdx.x) * kColumns + column;
  const int64_t begin = int64_t(blockIdx.y) * per_slice;
  const int64_t end = begin + per_slice < p.outer ? begin + per_slice : p.outer;
  A sum = 0;
  if (c < p.channels) {
    const A bias = !kFromY && p.b ? load(static_cast<const T*>(p.b)[c]) : A(0);
    for (int64_t outer = begin + row; outer < end; outer += kRows)
      sum += backward_element<T, Act, kFromY>(p, outer * p.channels + c, bias, o);
  }
  memory.sums[row][column] = sum;
  __syncthreads();
  if (row != 0 || c >= p.channels) return;
  for (int k = 1; k < kRows; ++k) sum += memory.sums[k][column];
  static_cast<A*>(p.scratch)[int64_t(blockIdx.y) * p.channels + c] = sum;
}

template <class T>
__global__ void __launch_bounds__(kThreads) bias_gradient_kernel(BiasActParams p, int64_t slices) {
  using A = compute_t<T>;
  const int64_t c = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (c >= p.channels) return;
  A sum = 0;
  for (int64_t s = 0; s < slices; ++s) sum += static_cast<const A*>(p.scratch)[s * p.channels + c];
  static_cast<T*>(p.db)[c] = narrow<T>(sum);
}

// How many elements (planes) or rows (channels innermost) one slice holds: fixed by the shape.
int64_t per_slice(const BiasActParams& p) {
  const int64_t total = p.inner == 1 ? p.outer : p.outer * p.inner;
  const int64_t least = p.inner == 1 ? 64 : 4096, most_slices = 256;
  const int64_t share = (total + most_slices - 1) / most_slices;
  return share < least ? least : share;
}
int64_t slices(const BiasActParams& p) {
  const int64_t total = p.inner == 1 ? p.outer : p.outer * p.inner;
  return (total + per_slice(p) - 1) / per_slice(p);
}

template <class T>
bool is_vectorised(const BiasActParams& p) {
  const int64_t run = p.inner == 1 ? p.channels : p.inner;
  return run % Vec<T>::kN == 0 && is_aligned16(p.x) && is_aligned16(p.out) && is_aligned16(p.dy) &&
         is_aligned16(p.y) && (p.inner != 1 || is_aligned16(p.b));
}

// Calls f with the divisor type that numel allows.
template <class F>
int dispatch_width(int64_t numel, F&& f) {
  return numel <= kMaxNarrowIndex ? f(FastDivisor{}) : f(WideDivisor{});
}

int forward(const BiasActParams& p, const Exec& exec) {
  const int64_t numel = p.outer * p.channels * p.inner;
  const auto stream = static_cast<cudaStream_t>(exec.stream);
  if (numel == 0) return 0;
  return dispatch(p.dtype, [&](auto type) {
    using T = decltype(type);
    return dispatch_activation(p.act, [&](auto act) {
      using Act = decltype(act);
      return dispatch_width(numel, [&](auto divisor) {
        using Divisor = decltype(divisor);
        const Channels<Divisor> channels(p);
        const auto o = options_of<T>(p);
        if (is_vectorised<T>(p)) {
          const int64_t steps = numel / Vec<T>::kN;
          launch(forward_kernel<T, Act, Vec<T>::kN, Divisor>, grid_for(steps), dim3(kThreads), 0,
                 stream, p, o, channels, steps);
        } else {
          launch(forward_kernel<T, Act, 1, Divisor>, grid_for(numel), dim3(kThreads), 0, stream, p,
                 o, channels, numel);
        }
        return last_error();
      });
    });
  });
}

template <class T, class Act, bool kFromY>
int backward_typed(const BiasActParams& p, const Exec& exec) {
  const int64_t numel = p.outer * p.channels * p.inner;
  const auto stream = static_cast<cudaStream_t>(exec.stream);
  const auto o = options_of<T>(p);
  return dispatch_width(numel, [&](auto divisor) {
    using Divisor = decltype(divisor);
    if (!p.db) {
      const Channels<Divisor> channels(p);
      if (is_vectorised<T>(p)) {
        const int64_t steps = numel / Vec<T>::kN;
        launch(backward_kernel<T, Act, kFromY, Vec<T>::kN, Divisor>, grid_for(steps),
               dim3(kThreads), 0, stream, p, o, channels, steps);
      } else {
        launch(backward_kernel<T, Act, kFromY, 1, Divisor>, grid_for(numel), dim3(kThreads), 0,
               stream, p, o, channels, numel);
      }
      return last_error();
    }
    const int64_t count = slices(p);
    if (p.inner == 1) {
      const dim3 grid(unsigned((p.channels + kColumns - 1) / kColumns), unsigned(count));
      launch(backward_columns_kernel<T, Act, kFromY>, grid, dim3(kThreads), 0, stream, p, o,
             per_slice(p));
    } else {
      const dim3 grid(unsigned(p.channels), unsigned(count));  // y ends at 65535, x does not
      launch(backward_planes_kernel<T, Act, kFromY, Divisor>, grid, dim3(kThreads), 0, stream, p, o,
             Divisor(p.inner), per_slice(p));
    }
    if (const int error = last_error()) return error;
    launch(bias_gradient_kernel<T>, grid_for(p.channels, kMaxNarrowIndex), dim3(kThreads), 0,
           stream, p, count);
    return last_error();
  });
}

int backward(const BiasActParams& p, const Exec& exec) {
  if (p.outer * p.channels * p.inner == 0) return 0;
  return dispatch(p.dtype, [&](auto type) {
    using T = decltype(type);
    if (p.y || !p.x) return backward_typed<T, PiecewiseLinear, true>(p, exec);
    return dispatch_activation(
        p.act, [&](auto act) { return backward_typed<T, decltype(act), false>(p, exec); });
  });
}

}  // namespace

extern const BiasActKernels bias_act;
const BiasActKernels bias_act = {slices, forward, backward};

}  // namespace fastgan::cuda
