// SPDX-License-Identifier: Apache-2.0
// Any factors, taps and dtype: one thread per output sample, which visits only the taps that meet
// a sample.
#pragma once

#include "polyphase.cuh"

namespace fastgan::cuda {
namespace {

struct GeneralAxis {
  int in, out, taps, up, down, pad;

  GeneralAxis() = default;
  explicit GeneralAxis(const Axis& a)
      : in(int(a.in)),
        out(int(a.out)),
        taps(int(a.taps)),
        up(int(a.up)),
        down(int(a.down)),
        pad(int(a.pad)) {}
};

// The first tap that an output meets, and on which input.
struct FirstTap {
  int tap, in;
};
__device__ __forceinline__ FirstTap first_tap(const GeneralAxis& a, int o) {
  const int base = o * a.down - a.pad;
  const int in = base > 0 ? (base - 1) / a.up + 1 : -(-base / a.up);  // ceil(base / up)
  return {in * a.up - base, in};
}

template <class Index>
struct General {
  GeneralAxis x, y;
  int channels;  // that lie side by side: 1 for planes
  int64_t numel;
  Divisor<Index> by_channels, by_width, by_height;
};

template <class T, class Index>
__global__ void __launch_bounds__(kThreads) general_kernel(Upfirdn2dParams p, General<Index> s) {
  using A = compute_t<T>;
  const T* x = static_cast<const T*>(p.x);
  const A* f = static_cast<const A*>(p.f);
  const Index numel = Index(s.numel), stride = Index(gridDim.x) * kThreads;
  for (Index i = Index(blockIdx.x) * kThreads + threadIdx.x; i < numel; i += stride) {
    const Index pixel = s.by_channels.divide(i), row = s.by_width.divide(pixel);
    const Index plane = s.by_height.divide(row);
    const int c = int(i - pixel * s.channels);
    const FirstTap first_x = first_tap(s.x, int(pixel - row * s.x.out));
    const FirstTap first_y = first_tap(s.y, int(row - plane * s.y.out));
    A sum = 0;
    for (int ky = first_y.tap, y = first_y.in; ky < s.y.taps; ky += s.y.up, ++y) {
      if (y < 0 || y >= s.y.in) continue;
      const Index line = (plane * s.y.in + y) * s.x.in;
      const int fy = tap_index(p, ky, s.y.taps);
      A across = 0;
      for (int kx = first_x.tap, column = first_x.in; kx < s.x.taps; kx += s.x.up, ++column) {
        if (column < 0 || column >= s.x.in) continue;
        const int fx = tap_index(p, kx, s.x.taps);
        const A tap = p.is_separable ? f[fx] : f[int64_t(fy) * s.x.taps + fx];
        across += tap * load(x[(line + column) * s.channels + c]);
      }
      sum += p.is_separable ? f[fy] * across : across;
    }
    static_cast<T*>(p.out)[i] = narrow<T>(sum * A(p.gain));
  }
}

template <class T>
int launch_general(const Upfirdn2dParams& p, cudaStream_t stream) {
  const int64_t planes = p.n * p.c, numel = planes * p.ay.out * p.ax.out;
  const int64_t in_numel = planes * p.ay.in * p.ax.in;
  return dispatch_index(numel > in_numel ? numel : in_numel, [&](auto zero) {
    using Index = decltype(zero);
    General<Index> s{};
    s.x = GeneralAxis(p.ax);
    s.y = GeneralAxis(p.ay);
    s.channels = p.is_channels_last ? int(p.c) : 1;
    s.numel = numel;
    s.by_channels = Divisor<Index>(s.channels);
    s.by_width = Divisor<Index>(p.ax.out);
    s.by_height = Divisor<Index>(p.ay.out);
    launch(general_kernel<T, Index>, grid_for(numel), dim3(kThreads), 0, stream, p, s);
    return last_error();
  });
}

}  // namespace
}  // namespace fastgan::cuda
