// SPDX-License-Identifier: Apache-2.0
// The epilogue of a layer in one pass.
#pragma once

#include "../../common/leaky_relu.cuh"
#include "../../common/strip.cuh"
#include "noise_bias_act.h"
#include "options.cuh"

namespace fastgan::cuda {
namespace {

template <class T, class A = compute_t<T>>
__device__ __forceinline__ A forward_one(A u, const Options<T>& o) {
  // relu(-inf) is 0, relu(NaN) NaN; a NaN passes through both comparisons with the clamp.
  const A v = o.gain * (u > 0 ? u : o.alpha == 0 && u < 0 ? A(0) : u * o.alpha);
  const A low = v < -o.clamp ? -o.clamp : v;
  return low > o.clamp ? o.clamp : low;
}

// Where element i finds its parameters and its noise.
template <class Index>
struct Axes {
  Divisor<Index> channels, inner;
  int64_t channel_count, inner_count, noise_stride;  // noise_stride: from sample to sample
  bool is_channels_last;

  explicit Axes(const NoiseBiasActParams& p)
      : channels(p.channels),
        inner(p.inner),
        channel_count(p.channels),
        inner_count(p.inner),
        noise_stride(p.is_noise_shared ? 0 : p.inner),
        is_channels_last(p.is_channels_last) {}
};

// Whatever the kernels below do not take: element by element.
template <class T, class Index>
__global__ void __launch_bounds__(kThreads)
    scalar_forward_kernel(NoiseBiasActParams p, Options<T> o, Axes<Index> axes, Index numel) {
  using A = compute_t<T>;
  const T* noises = static_cast<const T*>(p.noise);
  const A* scales = static_cast<const A*>(p.scale);
  const A* biases = static_cast<const A*>(p.b);
  const A strength = p.strength ? *static_cast<const A*>(p.strength) : A(1);
  const Index stride = Index(gridDim.x * kThreads), channels = Index(axes.channel_count);
  const Index inner = Index(axes.inner_count), noise_stride = Index(axes.noise_stride);
  for (Index i = Index(blockIdx.x * kThreads + threadIdx.x); i < numel; i += stride) {
    const Index width = axes.is_channels_last ? channels : inner;
    const Index row = (axes.is_channels_last ? axes.channels : axes.inner).divide(i);
    const Index height = axes.is_channels_last ? inner : channels;
    const Index n = (axes.is_channels_last ? axes.inner : axes.channels).divide(row);
    const Index column = i - row * width, line = row - n * height;
    const Index c = axes.is_channels_last ? column : line,
                s = axes.is_channels_last ? line : column;
    const A scale = scales ? scales[n * channels + c] : A(1), b = biases ? biases[c] : A(0);
    const A add = noises ? strength * load(noises[n * noise_stride + s]) : A(0);
    const A u = scale * load(static_cast<const T*>(p.x)[i]) + add + b;
    static_cast<T*>(p.out)[i] = narrow<T>(forward_one<T>(u, o));
  }
}

template <class A>
__device__ __forceinline__ A strength_of(const NoiseBiasActParams& p) {
  return !p.noise ? A(0) : p.strength ? *static_cast<const A*>(p.strength) : A(1);
}

// Planes of whole runs. A strip stays in one plane, whose scale it keeps.
template <class T, int kN>
__global__ void __launch_bounds__(kThreads)
    forward_planes_kernel(NoiseBiasActParams p, LeakyRelu<compute_t<T>> act, Strips strips) {
  using A = compute_t<T>;
  struct Loaded {
    Run<T, kN> x;
    uint4 noise;  // 0 where there is none
  };
  const int64_t runs = p.inner / kN;
  const Strip own = strip_of_planes<false>(strips, p.outer, p.channels, runs);
  if (own.count == 0) return;
  const A b = p.b ? static_cast<const A*>(p.b)[own.channel] : A(0), strength = strength_of<A>(p);
  const int64_t first_plane = int64_t(blockIdx.y) * strips.rows * p.channels + own.channel;
  const int64_t begin = (own.first - first_plane * runs) * kN, stride = own.stride * kN;
  act.pick([&](auto&& f) {
#pragma unroll 1
    for (int row = 0; row < own.count; ++row) {
      const int64_t n = int64_t(blockIdx.y) * strips.rows + row,
                    plane = n * p.channels + own.channel;
      const A scale = p.scale ? static_cast<const A*>(p.scale)[plane] : A(1);
      const T* x = static_cast<const T*>(p.x) + (plane * p.inner + begin);
      T* y = static_cast<T*>(p.out) + (plane * p.inner + begin);
      const T* noise =
          static_cast<const T*>(p.noise) + ((p.is_noise_shared ? 0 : n * p.inner) + begin);
      walk_strip(
          own.length, stride,
          [&](int64_t i, int) {
            Loaded loaded{load_run<kN>(x + i), {}};
            if (p.noise) loaded.noise = *reinterpret_cast<const uint4*>(noise + i);
            return loaded;
          },
          [&](int64_t i, Loaded loaded) {
            A values[kN], noises[kN];
            unpack(loaded.x, values);
            unpack(*reinterpret_cast<const Run<T, kN>*>(&loaded.noise), noises);
#pragma unroll
            for (int k = 0; k < kN; ++k)
              loaded.x.v[k] = narrow<T>(f(scale * values[k] + (strength * noises[k] + b)));
            store_run<kN>(y + i, loaded.x);
          });
    }
  });
}

// Channels innermost and whole runs of them; z of the grid counts samples.
template <class T, int kN>
__global__ void __launch_bounds__(kThreads, 4)  // at most 64 registers
    forward_columns_kernel(NoiseBiasActParams p, LeakyRelu<compute_t<T>> act, Strips strips) {
  using A = compute_t<T>;
  struct Loaded {
    Run<T, kN> x;
    A noise;
  };
  const int64_t runs = p.channels / kN;
  const Strip own = strip_of_rows(strips, p.inner, runs);
  if (own.count == 0) return;
  const A strength = strength_of<A>(p);
  Run<A, kN> b{};
  if (p.b) b = load_run<kN>(static_cast<const A*>(p.b) + own.channel * kN);
  const int64_t pixel = int64_t(blockIdx.y) * strips.rows + (int(threadIdx.x) >> strips.log_width);
  act.pick([&](auto&& f) {
#pragma unroll 1
    for (int64_t n = blockIdx.z; n < p.outer; n += gridDim.z) {
      Run<A, kN> scale;
#pragma unroll
      for (int k = 0; k < kN; ++k) scale.v[k] = A(1);
      if (p.scale)
        scale = load_run<kN>(static_cast<const A*>(p.scale) + (n * runs + own.channel) * kN);
      const int64_t first = (n * p.inner * runs + own.first) * kN, stride = own.stride * kN;
      const T* x = static_cast<const T*>(p.x) + first;
      T* y = static_cast<T*>(p.out) + first;
      const T* noise =
          static_cast<const T*>(p.noise) + ((p.is_noise_shared ? 0 : n * p.inner) + pixel);
      walk_strip(
          own.length, stride,
          [&](int64_t i, int j) {
            Loaded loaded{load_run<kN>(x + i), A(0)};
            if (p.noise) loaded.noise = load(noise[j * strips.groups()]);
            return loaded;
          },
          [&](int64_t i, Loaded loaded) {
            const A add = strength * loaded.noise;
            A values[kN];
            unpack(loaded.x, values);
#pragma unroll
            for (int k = 0; k < kN; ++k)
              loaded.x.v[k] = narrow<T>(f(scale.v[k] * values[k] + (add + b.v[k])));
            store_run<kN>(y + i, loaded.x);
          });
    }
  });
}

}  // namespace
}  // namespace fastgan::cuda
