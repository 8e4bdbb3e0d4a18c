// CUDA kernel of upfirdn2d: one thread per output sample, which visits only the taps that meet a
// sample. Factors and taps of the common cases are compile-time constants.
#include "upfirdn2d.h"

#include "../../common/platform.cuh"

namespace fastgan::cuda {
namespace {

__device__ __forceinline__ int floor_divide(int a, int b) {
  return a >= 0 ? a / b : -((-a + b - 1) / b);
}

// First tap k0 ≥ 0 and input index i0 of output o along one axis.
struct Phase {
  int k0, i0;
};
__device__ __forceinline__ Phase phase_of(int o, int up, int down, int pad) {
  const int base = o * down - pad;
  const int i0 = -floor_divide(-base, up);
  return {i0 * up - base, i0};
}

struct Shape {
  int in_h, in_w, out_h, out_w, up_x, up_y, down_x, down_y, pad_x, pad_y, taps_x, taps_y;
  int c;  // interleaved channels: 1 for planes
};

// kUp, kDown, kTaps: those of both axes, or 0 where only `s` knows them.
template <class T, int kUp, int kDown, int kTaps, class Divisor>
__global__ void __launch_bounds__(kThreads)
    upfirdn2d_kernel(Upfirdn2dParams p, Shape s, Divisor by_c, Divisor by_width, Divisor by_height,
                     int64_t numel) {
  using A = compute_t<T>;
  const T* x = static_cast<const T*>(p.x);
  const A* f = static_cast<const A*>(p.f);
  const int up_x = kUp ? kUp : s.up_x, up_y = kUp ? kUp : s.up_y;
  const int down_x = kDown ? kDown : s.down_x, down_y = kDown ? kDown : s.down_y;
  const int taps_x = kTaps ? kTaps : s.taps_x, taps_y = kTaps ? kTaps : s.taps_y;
  const int64_t stride = int64_t(gridDim.x) * kThreads;
  for (int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x; i < numel; i += stride) {
    const int64_t pixel = by_c.divide(i), row = by_width.divide(pixel);
    const int64_t plane = by_height.divide(row);
    const int c = int(i - pixel * s.c);
    const int ox = int(pixel - row * s.out_w), oy = int(row - plane * s.out_h);
    const Phase px = phase_of(ox, up_x, down_x, s.pad_x), py = phase_of(oy, up_y, down_y, s.pad_y);
    const T* from = x + plane * s.in_h * s.in_w * s.c + c;
    A sum = 0;
#pragma unroll
    for (int ky = py.k0, iy = py.i0; ky < taps_y; ky += up_y, ++iy) {
      if (iy < 0 || iy >= s.in_h) continue;
      const int fy = p.is_flipped ? ky : taps_y - 1 - ky;
      A line = 0;
#pragma unroll
      for (int kx = px.k0, ix = px.i0; kx < taps_x; kx += up_x, ++ix) {
        if (ix < 0 || ix >= s.in_w) continue;
        const int fx = p.is_flipped ? kx : taps_x - 1 - kx;
        const A w = p.is_separable ? f[fx] : f[fy * taps_x + fx];
        line += w * load(from[(int64_t(iy) * s.in_w + ix) * s.c]);
      }
      sum += p.is_separable ? f[fy] * line : line;
    }
    static_cast<T*>(p.out)[i] = narrow<T>(sum * A(p.gain));
  }
}

template <class T, int kUp, int kDown, int kTaps>
int launch_case(const Upfirdn2dParams& p, const Shape& s, int64_t numel, cudaStream_t stream) {
  // One division serves input and output: both must stay below the narrow limit.
  if (numel <= kMaxNarrowIndex) {
    launch(upfirdn2d_kernel<T, kUp, kDown, kTaps, FastDivisor>, grid_for(numel), dim3(kThreads), 0,
           stream, p, s, FastDivisor(s.c), FastDivisor(s.out_w), FastDivisor(s.out_h), numel);
  } else {
    launch(upfirdn2d_kernel<T, kUp, kDown, kTaps, WideDivisor>, grid_for(numel), dim3(kThreads), 0,
           stream, p, s, WideDivisor(s.c), WideDivisor(s.out_w), WideDivisor(s.out_h), numel);
  }
  return last_error();
}

bool fits(const Axis& a) {
  const int64_t reach = a.out * a.down + a.taps + (a.pad < 0 ? -a.pad : a.pad);
  return a.in * a.up <= kMaxNarrowIndex && reach <= kMaxNarrowIndex;
}

int run(const Upfirdn2dParams& p, const Exec& exec) {
  const int64_t numel = p.n * p.c * p.ay.out * p.ax.out;
  if (numel == 0) return 0;
  if (!fits(p.ax) || !fits(p.ay)) return static_cast<int>(cudaErrorInvalidValue);
  const auto stream = static_cast<cudaStream_t>(exec.stream);
  const Shape s{int(p.ay.in),
                int(p.ax.in),
                int(p.ay.out),
                int(p.ax.out),
                int(p.ax.up),
                int(p.ay.up),
                int(p.ax.down),
                int(p.ay.down),
                int(p.ax.pad),
                int(p.ay.pad),
                int(p.ax.taps),
                int(p.ay.taps),
                p.is_channels_last ? int(p.c) : 1};
  const bool is_square = p.ax.up == p.ay.up && p.ax.down == p.ay.down && p.ax.taps == p.ay.taps;
  return dispatch(p.dtype, [&](auto type) {
    using T = decltype(type);
    if (is_square && p.ax.taps == 4) {
      if (p.ax.up == 2 && p.ax.down == 1) return launch_case<T, 2, 1, 4>(p, s, numel, stream);
      if (p.ax.up == 1 && p.ax.down == 2) return launch_case<T, 1, 2, 4>(p, s, numel, stream);
      if (p.ax.up == 1 && p.ax.down == 1) return launch_case<T, 1, 1, 4>(p, s, numel, stream);
    }
    return launch_case<T, 0, 0, 0>(p, s, numel, stream);
  });
}

}  // namespace

extern const Upfirdn2dKernels upfirdn2d;
const Upfirdn2dKernels upfirdn2d = {run};

}  // namespace fastgan::cuda
