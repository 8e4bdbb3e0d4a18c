// SPDX-License-Identifier: Apache-2.0
// CUDA kernels of minibatch_stddev. One thread looks at one place (kN adjacent ones) in all samples
// of a group: the deviation needs no sum over threads, only its mean over a run does.
#include "minibatch_stddev.h"

#include <algorithm>

#include "../../common/reduce.cuh"
#include "../../common/run.cuh"

namespace fastgan::cuda {
namespace {

constexpr int64_t kForwardSlice = 8192, kBackwardSlice = 2048;

__device__ __forceinline__ float inverse_root(float v) { return rsqrtf(v); }
__device__ __forceinline__ double inverse_root(double v) { return 1 / sqrt(v); }

// Moments of one place over a group, about its first sample, which loses no digits where the
// samples share a large mean: x = shift + c, mean(c) = offset, σ² = mean(c²) - offset².
template <class T, int kN>
struct Moments {
  using A = compute_t<T>;
  A shift[kN], offset[kN], variance[kN];

  __device__ __forceinline__ void begin(const Run<T, kN>& first) {
#pragma unroll
    for (int k = 0; k < kN; ++k) {
      shift[k] = load(first.v[k]);
      offset[k] = variance[k] = 0;
    }
  }
  __device__ __forceinline__ void add(const Run<T, kN>& next) {
#pragma unroll
    for (int k = 0; k < kN; ++k) {
      const A c = load(next.v[k]) - shift[k];
      offset[k] += c;
      variance[k] += c * c;
    }
  }
  __device__ __forceinline__ void end(int group) {
    const A share = A(1) / A(group);
#pragma unroll
    for (int k = 0; k < kN; ++k) {
      const A sum = offset[k];
      offset[k] = sum * share;
      const A found = (variance[k] - sum * offset[k]) * share;
      variance[k] = found < 0 ? A(0) : found;  // a NaN passes
    }
  }
};

// A place in all samples of a group. Groups of kGroup stay in registers, all loads in flight
// together; 0: of any size, read again where they are needed again.
template <class T, int kN, int kGroup, class Index>
struct Samples {
  const T* x;
  Index first, stride;
  int group;
  Run<T, kN> kept[kGroup ? kGroup : 1];

  __device__ __forceinline__ Samples(const MinibatchStddevParams& p, Index first)
      : x(static_cast<const T*>(p.x)),
        first(first),
        stride(Index(p.groups) * Index(p.elements)),
        group(kGroup ? kGroup : int(p.group)) {
    if constexpr (kGroup > 0) {
#pragma unroll
      for (int g = 0; g < kGroup; ++g) kept[g] = load_run<kN>(x + first + stride * g);
    }
  }
  __device__ __forceinline__ Run<T, kN> at(int g) const {
    if constexpr (kGroup > 0) return kept[g];
    return load_run<kN>(x + first + stride * g);
  }
  template <class F>
  __device__ __forceinline__ void for_each(int from, F&& f) const {
    if constexpr (kGroup > 0) {
#pragma unroll
      for (int g = from; g < kGroup; ++g) f(g);
    } else {
#pragma unroll 3
      for (int g = from; g < group; ++g) f(g);
    }
  }
  __device__ __forceinline__ Moments<T, kN> moments() const {
    Moments<T, kN> m;
    m.begin(at(0));
    for_each(1, [&](int g) { m.add(at(g)); });
    m.end(group);
    return m;
  }
};

// Where places [begin, end) of a run lie in the first sample of its group, kN at a time per thread.
template <int kN, class Index, class F>
__device__ __forceinline__ void for_places(const MinibatchStddevParams& p, Divisor<Index> by_width,
                                           Index begin, Index end, Index m, Index run, F&& f) {
  const Index width = Index(p.width), base = m * Index(p.elements) + run * width;
  for (Index step = begin / kN + int(threadIdx.x); step < end / kN; step += kThreads) {
    const Index j = step * kN, row = by_width.divide(j);
    f(base + row * Index(p.row_stride) + (j - row * width));
  }
}

// Block (m·runs + f, slice).
template <class T, int kN, int kGroup, class Index>
__global__ void __launch_bounds__(kThreads)
    forward_kernel(MinibatchStddevParams p, Divisor<Index> by_width, Index per_slice) {
  using A = compute_t<T>;
  const int m = int(blockIdx.x) / int(p.runs), run = int(blockIdx.x) % int(p.runs);
  const Index length = Index(p.rows) * Index(p.width);
  const Index begin = Index(blockIdx.y) * per_slice;
  const Index end = begin + per_slice < length ? begin + per_slice : length;
  A sum = 0;
  for_places<kN>(p, by_width, begin, end, Index(m), Index(run), [&](Index first) {
    const Moments<T, kN> moments = Samples<T, kN, kGroup, Index>(p, first).moments();
#pragma unroll
    for (int k = 0; k < kN; ++k) sum += fast_sqrt(moments.variance[k] + A(p.eps));
  });
  sum = block_sum(sum);
  if (threadIdx.x != 0) return;
  if (p.slices > 1) {
    static_cast<A*>(p.scratch)[int64_t(blockIdx.y) * gridDim.x + blockIdx.x] = sum;
    return;
  }
  for (int64_t g = 0; g < p.group; ++g)
    static_cast<T*>(p.out)[(g * p.groups + m) * p.runs + run] = narrow<T>(sum / A(length));
}

// Thread m·runs + f adds the slices of its run and tells all samples of its group. An empty run
// has no slice and no mean: NaN.
template <class T>
__global__ void __launch_bounds__(kThreads) mean_kernel(MinibatchStddevParams p) {
  using A = compute_t<T>;
  const int64_t count = p.groups * p.runs;
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  A sum = 0;
  for (int64_t s = 0; s < p.slices; ++s) sum += static_cast<const A*>(p.scratch)[s * count + i];
  const T mean = narrow<T>(sum / A(p.rows * p.width));
  for (int64_t g = 0; g < p.group; ++g) static_cast<T*>(p.out)[g * count + i] = mean;
}

// dx = h·c/σ with c = x - mean(x) and h = Σ_group dy / (group·length).
template <class T, int kN, int kGroup, class Index>
__global__ void __launch_bounds__(kThreads)
    backward_kernel(MinibatchStddevParams p, Divisor<Index> by_width, Index per_slice) {
  using A = compute_t<T>;
  const int m = int(blockIdx.x) / int(p.runs), run = int(blockIdx.x) % int(p.runs);
  const Index length = Index(p.rows) * Index(p.width);
  const Index begin = Index(blockIdx.y) * per_slice;
  const Index end = begin + per_slice < length ? begin + per_slice : length;
  A h = 0;
  for (int64_t g = 0; g < p.group; ++g)
    h += load(static_cast<const T*>(p.dy)[(g * p.groups + m) * p.runs + run]);
  h /= A(p.group) * A(length);
  for_places<kN>(p, by_width, begin, end, Index(m), Index(run), [&](Index first) {
    const Samples<T, kN, kGroup, Index> samples(p, first);
    const Moments<T, kN> moments = samples.moments();
    A scale[kN];
#pragma unroll
    for (int k = 0; k < kN; ++k) scale[k] = h * inverse_root(moments.variance[k] + A(p.eps));
    samples.for_each(0, [&](int g) {
      Run<T, kN> v = samples.at(g);
#pragma unroll
      for (int k = 0; k < kN; ++k)
        v.v[k] = narrow<T>((load(v.v[k]) - moments.shift[k] - moments.offset[k]) * scale[k]);
      store_run(static_cast<T*>(p.out) + (first + samples.stride * g), v);
    });
  });
}

// A multiple of 8, so that every slice starts where a vector does, and at most 1024 of them.
int64_t per_slice(int64_t length, int64_t least) {
  const int64_t share = (length + 1023) / 1024;
  return std::min(length, std::max(least, (share + 7) / 8 * 8));
}
int64_t slices_of(int64_t length, int64_t least) {
  return length == 0 ? 0 : (length - 1) / per_slice(length, least) + 1;
}
int64_t forward_slices(int64_t length) { return slices_of(length, kForwardSlice); }

template <int width, int group>
struct Path {
  static constexpr int kN = width, kGroup = group;
};

// Calls f(width and group of the kernel as constants, index type) for the path that p allows.
// Groups of four, the usual ones, have a kernel of their own.
template <class T, class F>
int dispatch_path(const MinibatchStddevParams& p, F&& f) {
  return dispatch_index(p.group * p.groups * p.elements, [&](auto index) {
    using Index = decltype(index);
    if constexpr (!std::is_same_v<T, double>) {
      constexpr int kN = Vec<T>::kN;
      if (p.width % kN == 0 && p.row_stride % kN == 0 && p.elements % kN == 0 &&
          is_aligned16(p.x) && (!p.dy || is_aligned16(p.out)))  // y goes one by one
      {
        if constexpr (!std::is_same_v<Index, int64_t>)
          if (p.group == 4) return f(Path<kN, 4>{}, Index{});
        return f(Path<kN, 0>{}, Index{});
      }
    }
    return f(Path<1, 0>{}, Index{});
  });
}

int forward(const MinibatchStddevParams& p, const Exec& exec) {
  const int64_t count = p.groups * p.runs, length = p.rows * p.width;
  const auto stream = static_cast<cudaStream_t>(exec.stream);
  if (count == 0) return 0;
  return dispatch(p.dtype, [&](auto type) {
    using T = decltype(type);
    if (p.slices > 0) {
      const int error = dispatch_path<T>(p, [&](auto path, auto index) {
        using Index = decltype(index);
        launch(forward_kernel<T, decltype(path)::kN, decltype(path)::kGroup, Index>,
               dim3(unsigned(count), unsigned(p.slices)), dim3(kThreads), 0, stream, p,
               Divisor<Index>(p.width), Index(per_slice(length, kForwardSlice)));
        return last_error();
      });
      if (error || p.slices == 1) return error;
    }
    launch(mean_kernel<T>, dim3(unsigned((count + kThreads - 1) / kThreads)), dim3(kThreads), 0,
           stream, p);
    return last_error();
  });
}

int backward(const MinibatchStddevParams& p, const Exec& exec) {
  const int64_t count = p.groups * p.runs, length = p.rows * p.width;
  const auto stream = static_cast<cudaStream_t>(exec.stream);
  if (count * length == 0) return 0;
  const dim3 grid(unsigned(count), unsigned(slices_of(length, kBackwardSlice)));
  return dispatch(p.dtype, [&](auto type) {
    using T = decltype(type);
    return dispatch_path<T>(p, [&](auto path, auto index) {
      using Index = decltype(index);
      launch(backward_kernel<T, decltype(path)::kN, decltype(path)::kGroup, Index>, grid,
             dim3(kThreads), 0, stream, p, Divisor<Index>(p.width),
             Index(per_slice(length, kBackwardSlice)));
      return last_error();
    });
  });
}

}  // namespace

extern const MinibatchStddevKernels minibatch_stddev;
const MinibatchStddevKernels minibatch_stddev = {forward_slices, forward, backward};

}  // namespace fastgan::cuda
