// SPDX-License-Identifier: Apache-2.0
// CUDA kernels of modulate and channel_dot. Memory-bound: 16-byte accesses in both layouts, also
// where planes start off a 16-byte boundary, and no 64-bit division below 2^31 elements.
#include "modulate.h"

#include <algorithm>

#include "../../common/strip.cuh"

namespace fastgan::cuda {
namespace {

template <class T, class Index>
__device__ __forceinline__ compute_t<T> style_at(const ModulateParams& p, Index i) {
  return p.is_s_wide ? static_cast<const compute_t<T>*>(p.s)[i]
                     : load(static_cast<const T*>(p.s)[i]);
}

// Planes of at least kN pixels, 16 bytes a step; a vector may straddle the border of two planes.
template <class T, class Index>
__global__ void __launch_bounds__(kThreads)
    modulate_planes_kernel(ModulateParams p, Divisor<Index> by_plane, Index plane, Index numel) {
  using A = compute_t<T>;
  constexpr int kN = Vec<T>::kN;
  const T* x = static_cast<const T*>(p.x);
  T* y = static_cast<T*>(p.y);
  const Index steps = (numel + (kN - 1)) / kN, stride = Index(gridDim.x) * kThreads;
  for (Index step = Index(blockIdx.x) * kThreads + threadIdx.x; step < steps; step += stride) {
    const Index i = step * kN, row = by_plane.divide(i), end = (row + 1) * plane;
    const A s = style_at<T>(p, row);
    if (i + kN > numel) {  // the end of the last plane
      for (Index k = i; k < numel; ++k) y[k] = narrow<T>(load(x[k]) * s);
      continue;
    }
    const int left = end - i < kN ? int(end - i) : kN;  // pixels of this plane
    const A next = left < kN ? style_at<T>(p, row + 1) : s;
    Vec<T> v = load16(x + i);
#pragma unroll
    for (int k = 0; k < kN; ++k) v.v[k] = narrow<T>(load(v.v[k]) * (k < left ? s : next));
    store16(y + i, v);
  }
}

// Channels innermost and a multiple of kN.
template <class T, class Index>
__global__ void __launch_bounds__(kThreads)
    modulate_columns_kernel(ModulateParams p, Divisor<Index> by_channels, Divisor<Index> by_pixels,
                            Index channels, Index steps) {
  using A = compute_t<T>;
  constexpr int kN = Vec<T>::kN, kWide = Vec<A>::kN;
  const T* x = static_cast<const T*>(p.x);
  T* y = static_cast<T*>(p.y);
  const Index stride = Index(gridDim.x) * kThreads;
  for (Index step = Index(blockIdx.x) * kThreads + threadIdx.x; step < steps; step += stride) {
    const Index i = step * kN, pixel = by_channels.divide(i);
    const Index first = by_pixels.divide(pixel) * channels + (i - pixel * channels);
    Vec<T> v = load16(x + i);
    if (p.is_s_wide) {
#pragma unroll
      for (int q = 0; q < kN; q += kWide) {
        const Vec<A> s = load16(static_cast<const A*>(p.s) + first + q);
#pragma unroll
        for (int k = 0; k < kWide; ++k) v.v[q + k] = narrow<T>(load(v.v[q + k]) * s.v[k]);
      }
    } else {
      const Vec<T> s = load16(static_cast<const T*>(p.s) + first);
#pragma unroll
      for (int k = 0; k < kN; ++k) v.v[k] = narrow<T>(load(v.v[k]) * load(s.v[k]));
    }
    store16(y + i, v);
  }
}

// Everything else: float64, tiny planes, odd channel counts, pointers off a 16-byte boundary.
template <class T, class Index>
__global__ void __launch_bounds__(kThreads)
    modulate_scalar_kernel(ModulateParams p, Divisor<Index> by_inner, Divisor<Index> by_pixels,
                           Index inner, Index numel) {
  const Index stride = Index(gridDim.x) * kThreads;
  for (Index i = Index(blockIdx.x) * kThreads + threadIdx.x; i < numel; i += stride) {
    Index at = by_inner.divide(i);  // channels last: the pixel of its n; else the plane
    if (p.maps.is_channels_last) at = by_pixels.divide(at) * inner + (i - at * inner);
    static_cast<T*>(p.y)[i] = narrow<T>(load(static_cast<const T*>(p.x)[i]) * style_at<T>(p, at));
  }
}

template <class T, class Index>
int modulate_typed(const ModulateParams& p, cudaStream_t stream) {
  constexpr int kN = Vec<T>::kN;
  const Maps& maps = p.maps;
  const int64_t numel = maps.n * maps.channels * maps.pixels;
  const int64_t inner = maps.is_channels_last ? maps.channels : maps.pixels;
  const Divisor<Index> by_inner(inner), by_pixels(maps.pixels);
  if constexpr (!std::is_same_v<T, double>) {
    const bool is_aligned = is_aligned16(p.x) && is_aligned16(p.y);
    if (is_aligned && maps.is_channels_last && inner % kN == 0 && is_aligned16(p.s)) {
      launch(modulate_columns_kernel<T, Index>, grid_for(numel / kN), dim3(kThreads), 0, stream, p,
             by_inner, by_pixels, Index(inner), Index(numel / kN));
      return last_error();
    }
    if (is_aligned && !maps.is_channels_last && inner >= kN) {
      launch(modulate_planes_kernel<T, Index>, grid_for(numel / kN + 1), dim3(kThreads), 0, stream,
             p, by_inner, Index(inner), Index(numel));
      return last_error();
    }
  }
  launch(modulate_scalar_kernel<T, Index>, grid_for(numel), dim3(kThreads), 0, stream, p, by_inner,
         by_pixels, Index(inner), Index(numel));
  return last_error();
}

// sums[k % kSums] += x[i + k]·y[i + k] for k < kN.
template <int kN, class T, class Index, class A, int kSums>
__device__ __forceinline__ void add_products(A (&sums)[kSums], const T* x, const T* y, Index i) {
  const Run<T, kN> a = load_run<kN>(x + i), b = load_run<kN>(y + i);
#pragma unroll
  for (int k = 0; k < kN; ++k) sums[k % kSums] += load(a.v[k]) * load(b.v[k]);
}

// `lanes` (a power of two up to 32) neighbouring threads sum one slice of one plane. The vectors
// lie on 16-byte boundaries of memory; what a slice has before and after them goes one by one.
template <class T, int kN, class Index>
__global__ void __launch_bounds__(kThreads)
    dot_planes_kernel(ChannelDotParams p, Divisor<Index> by_slices, Index planes, Index plane,
                      Index per_slice, int lanes) {
  using A = compute_t<T>;
  const T* x = static_cast<const T*>(p.x);
  const T* y = static_cast<const T*>(p.y);
  const Index slices = Index(p.slices), units = planes * slices;
  const Index unit = Index(blockIdx.x) * (kThreads / lanes) + int(threadIdx.x) / lanes;
  const int lane = int(threadIdx.x) % lanes;
  const Index row = by_slices.divide(unit), slice = unit - row * slices;
  A sums[1] = {};
  if (unit < units) {
    const Index begin = row * plane + slice * per_slice;
    const Index end = slice + 1 < slices ? begin + per_slice : (row + 1) * plane;
    const Index first = (begin + (kN - 1)) / kN * kN, last = end / kN * kN;
    const Index head = first < end ? first : end, tail = first < last ? last : head;
    for (Index i = begin + lane; i < head; i += lanes) add_products<1>(sums, x, y, i);
    for (Index i = first + lane * kN; i < last; i += lanes * kN) add_products<kN>(sums, x, y, i);
    for (Index i = tail + lane; i < end; i += lanes) add_products<1>(sums, x, y, i);
  }
  group_sums(sums, lanes);
  if (lane != 0 || unit >= units) return;
  static_cast<A*>(p.slices > 1 ? p.scratch : p.z)[slice * planes + row] = sums[0];
}

// Channels innermost: a block has `columns` (a power of two up to 32) threads side by side, each
// with kN channels, and as many rows of them as fit, which walk down one slice of the pixels.
template <class T, int kN, class Index>
__global__ void __launch_bounds__(kThreads)
    dot_columns_kernel(ChannelDotParams p, int columns, int groups, Index per_slice) {
  using A = compute_t<T>;
  const T* x = static_cast<const T*>(p.x);
  const T* y = static_cast<const T*>(p.y);
  const Index channels = Index(p.maps.channels), pixels = Index(p.maps.pixels);
  const int n = int(blockIdx.x) / groups, group = int(blockIdx.x) % groups;
  const int rows = kThreads / columns, row = int(threadIdx.x) / columns;
  const Index c = (Index(group) * columns + int(threadIdx.x) % columns) * kN;
  const Index begin = Index(blockIdx.y) * per_slice;
  const Index end = begin + per_slice < pixels ? begin + per_slice : pixels;
  A sums[kN] = {};
  if (c < channels) {
    for (Index pixel = begin + row; pixel < end; pixel += rows)
      add_products<kN>(sums, x, y, (Index(n) * pixels + pixel) * channels + c);
  }
  const A sum = column_sum(sums, columns);
  const Index channel = Index(group) * (columns * kN) + int(threadIdx.x);
  if (int(threadIdx.x) >= columns * kN || channel >= channels) return;
  static_cast<A*>(p.slices > 1
                      ? p.scratch
                      : p.z)[(Index(blockIdx.y) * Index(p.maps.n) + n) * channels + channel] = sum;
}

// dx, and the sums of one strip: sums[k % kSums] += dz·x, with the factors s[k % kSums].
template <class T, int kN, int kSums>
__device__ __forceinline__ void walk_backward(const ModulateBackwardParams& p, int64_t first,
                                              int64_t stride, int count,
                                              const compute_t<T> (&s)[kSums],
                                              compute_t<T> (&sums)[kSums]) {
  const T* dz = static_cast<const T*>(p.dz) + first;
  const T* x = static_cast<const T*>(p.x) + first;
  T* dx = static_cast<T*>(p.dx) + first;
  struct Loaded {
    Run<T, kN> dz, x;
  };
  walk_strip(
      count, stride,
      [&](int64_t i, int) { return Loaded{load_run<kN>(dz + i), load_run<kN>(x + i)}; },
      [&](int64_t i, Loaded loaded) {
#pragma unroll
        for (int k = 0; k < kN; ++k) {
          const auto d = load(loaded.dz.v[k]);
          sums[k % kSums] += d * load(loaded.x.v[k]);
          loaded.dz.v[k] = narrow<T>(d * s[k % kSums]);
        }
        store_run<kN>(dx + i, loaded.dz);
      });
}

template <class T>
__device__ __forceinline__ compute_t<T> factor_at(const ModulateBackwardParams& p, int64_t i) {
  return p.is_s_wide ? static_cast<const compute_t<T>*>(p.s)[i]
                     : load(static_cast<const T*>(p.s)[i]);
}

// Planes of whole runs: a block has one piece of neighbouring planes of one sample.
template <class T, int kN>
__global__ void __launch_bounds__(kThreads)
    backward_planes_kernel(ModulateBackwardParams p, Strips strips) {
  using A = compute_t<T>;
  const int64_t channels = p.maps.channels, n = blockIdx.y;
  const Strip own = strip_of_planes<false>(strips, p.maps.n, channels, p.maps.pixels / kN);
  A sums[1] = {}, s[1] = {};
  const int64_t plane = n * channels + own.channel;
  if (own.count > 0) {
    s[0] = factor_at<T>(p, plane);
    walk_backward<T, kN>(p, own.first * kN, own.stride * kN, own.length, s, sums);
  }
  group_sums(sums, strips.width());
  if ((int(threadIdx.x) & (strips.width() - 1)) != 0 || own.channel >= channels) return;
  A* parts = static_cast<A*>(p.slices > 1 ? p.scratch : p.ds);
  parts[int64_t(blockIdx.z) * p.maps.n * channels + plane] = sums[0];
}

// Channels innermost, in whole runs; z of the grid is the sample.
template <class T, int kN>
__global__ void __launch_bounds__(kThreads, 4)  // at most 64 registers
    backward_columns_kernel(ModulateBackwardParams p, Strips strips) {
  using A = compute_t<T>;
  const int64_t channels = p.maps.channels, runs = channels / kN, n = blockIdx.z;
  const Strip own = strip_of_rows(strips, p.maps.pixels, runs);
  A sums[kN] = {}, s[kN] = {};
  if (own.count > 0) {
#pragma unroll
    for (int k = 0; k < kN; ++k) s[k] = factor_at<T>(p, n * channels + own.channel * kN + k);
    const int64_t first = (n * p.maps.pixels * runs + own.first) * kN;
    walk_backward<T, kN>(p, first, own.stride * kN, own.length, s, sums);
  }
  const A sum = column_sum(sums, strips.width());
  const int64_t c = int64_t(blockIdx.x) * strips.width() * kN + threadIdx.x;
  if (int(threadIdx.x) >= strips.width() * kN || c >= channels) return;
  A* parts = static_cast<A*>(p.slices > 1 ? p.scratch : p.ds);
  parts[(int64_t(blockIdx.y) * p.maps.n + n) * channels + c] = sum;
}

int vector_length(DType dtype) {
  return dtype == DType::kFloat64 ? 1 : dtype == DType::kFloat32 ? 4 : 8;
}

// Pixels that one partial sum covers. Planes: a warp's. Channels last: 16 for each thread of a
// block that is full of channels.
int64_t pixels_per_slice(const Maps& maps) {
  int64_t each = 4096;
  if (maps.is_channels_last) {
    const int columns = power_of_two(maps.channels / vector_length(maps.dtype), kWarp);
    each = std::max(int64_t(16 * kThreads / columns), divide_up(maps.pixels, kMostSlices));
  }
  return std::min(each, maps.pixels);
}

int64_t slices(const Maps& maps) { return divide_up(maps.pixels, pixels_per_slice(maps)); }

template <class T, int kN, class Index>
int dot_typed(const ChannelDotParams& p, cudaStream_t stream) {
  const Maps& maps = p.maps;
  const int64_t planes = maps.n * maps.channels;
  if (maps.is_channels_last) {
    const int columns = power_of_two(maps.channels / kN, kWarp);
    const int64_t groups = divide_up(maps.channels, columns * kN);
    launch(dot_columns_kernel<T, kN, Index>, dim3(unsigned(maps.n * groups), unsigned(p.slices)),
           dim3(kThreads), 0, stream, p, columns, int(groups), Index(pixels_per_slice(maps)));
  } else {
    const int64_t per_slice = pixels_per_slice(maps);
    const int lanes = power_of_two(divide_up(per_slice, kN), kWarp);
    const int64_t blocks = divide_up(planes * p.slices, kThreads / lanes);
    launch(dot_planes_kernel<T, kN, Index>, dim3(unsigned(blocks)), dim3(kThreads), 0, stream, p,
           Divisor<Index>(p.slices), Index(planes), Index(maps.pixels), Index(per_slice), lanes);
  }
  const int error = last_error();
  if (error || p.slices == 1) return error;
  using A = compute_t<T>;
  const ColumnSumJob<A> z{static_cast<const A*>(p.scratch), static_cast<A*>(p.z), p.slices, planes};
  return launch_column_sums<A>({z, {}, {}}, stream);
}

int scale(const ModulateParams& p, const Exec& exec) {
  const int64_t numel = p.maps.n * p.maps.channels * p.maps.pixels;
  if (numel == 0) return 0;
  return dispatch(p.maps.dtype, [&](auto type) {
    return dispatch_index(numel, [&](auto index) {
      return modulate_typed<decltype(type), decltype(index)>(
          p, static_cast<cudaStream_t>(exec.stream));
    });
  });
}

int dot(const ChannelDotParams& p, const Exec& exec) {
  const int64_t numel = p.maps.n * p.maps.channels * p.maps.pixels;
  const auto stream = static_cast<cudaStream_t>(exec.stream);
  if (numel == 0) return 0;
  return dispatch(p.maps.dtype, [&](auto type) {
    using T = decltype(type);
    return dispatch_index(numel, [&](auto index) {
      using Index = decltype(index);
      if constexpr (!std::is_same_v<T, double>) {
        constexpr int kN = Vec<T>::kN;
        const bool is_ragged = p.maps.is_channels_last && p.maps.channels % kN != 0;
        if (!is_ragged && is_aligned16(p.x) && is_aligned16(p.y))
          return dot_typed<T, kN, Index>(p, stream);
      }
      return dot_typed<T, 1, Index>(p, stream);
    });
  });
}

// Whole runs at aligned pointers, and a sample for each y or z of a grid.
bool is_one_pass(const ModulateBackwardParams& p) {
  const Maps& maps = p.maps;
  if (maps.dtype == DType::kFloat64 || maps.n > kMostOuter) return false;
  const int64_t inner = maps.is_channels_last ? maps.channels : maps.pixels;
  return inner % vector_length(maps.dtype) == 0 && is_aligned16(p.dz) && is_aligned16(p.x) &&
         is_aligned16(p.dx);
}

Strips backward_strips(const Maps& maps) {
  const int64_t n = vector_length(maps.dtype);
  if (!maps.is_channels_last) return planes_in_strips(maps.n, maps.channels, maps.pixels / n, 1);
  Strips strips = rows_in_strips(maps.pixels, maps.channels / n);
  strips.grid.z = unsigned(maps.n);
  return strips;
}

int64_t backward_slices(const ModulateBackwardParams& p) {
  if (!is_one_pass(p)) return 0;
  const dim3 grid = backward_strips(p.maps).grid;
  return p.maps.is_channels_last ? grid.y : grid.z;
}

int backward(const ModulateBackwardParams& p, const Exec& exec) {
  const auto stream = static_cast<cudaStream_t>(exec.stream);
  const Strips strips = backward_strips(p.maps);
  return dispatch(p.maps.dtype, [&](auto type) {
    using T = decltype(type);
    if constexpr (std::is_same_v<T, double>) {
      return 1;  // see is_one_pass
    } else {
      using A = compute_t<T>;
      constexpr int kN = Vec<T>::kN;
      const auto kernel =
          p.maps.is_channels_last ? backward_columns_kernel<T, kN> : backward_planes_kernel<T, kN>;
      launch(kernel, strips.grid, dim3(kThreads), 0, stream, p, strips);
      const int error = last_error();
      if (error || p.slices == 1) return error;
      const ColumnSumJob<A> ds{static_cast<const A*>(p.scratch), static_cast<A*>(p.ds), p.slices,
                               p.maps.n * p.maps.channels};
      return launch_column_sums<A>({ds, {}, {}}, stream);
    }
  });
}

}  // namespace

extern const ModulateKernels modulate;
const ModulateKernels modulate = {slices, backward_slices, scale, dot, backward};

}  // namespace fastgan::cuda
