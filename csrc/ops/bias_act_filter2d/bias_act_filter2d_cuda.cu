// SPDX-License-Identifier: Apache-2.0
// CUDA kernels of bias_act_filter2d: those of upfirdn2d for channels_last maps, with the activation
// where pixels enter and with slopes where they enter or leave.
#include "bias_act_filter2d.h"

#include "../../common/partial_sums.cuh"
#include "forward_strip.cuh"

namespace fastgan::cuda {
namespace {

// Four channels of a pixel in float64, for tests.
template <>
struct Pixel<double, 4> {
  Run<double, 4> run;

  __device__ __forceinline__ void read(const double* from) { run = load_run<4>(from); }
  __device__ __forceinline__ double channel(int k) const { return run.v[k]; }
  __device__ __forceinline__ void set(const double (&values)[4]) {
#pragma unroll
    for (int k = 0; k < 4; ++k) run.v[k] = values[k];
  }
  __device__ __forceinline__ void keep_if(bool is_kept) {
    if (!is_kept) run = {};
  }
};

// Channels of a thread, whose codes are one byte. Twice as many would be 16 bytes of 16-bit values,
// but take more registers than there are.
constexpr int kN = 4;
// Blocks that a multiprocessor is to hold.
template <class T>
constexpr int kBlocks = sizeof(T) == 8 ? 1 : 2;

constexpr int kPadForward = 2, kPadBackward = 1;

// The codes of a thread's channels, from its first one of a sample on.
template <class T>
__device__ __forceinline__ uint8_t* codes_of(const BiasActFilter2dParams& p, int64_t map,
                                             const StripOfPixels& at) {
  const int64_t first = (at.sample * map * p.filter.c + at.channel) / kN;
  return static_cast<uint8_t*>(p.codes) + first;
}

template <class A>
struct Slopes {
  A gain, leaky;  // leaky = gain · alpha

  __device__ __forceinline__ A of(unsigned codes, int k) const {
    const unsigned code = codes >> 2 * k;
    return (code & 2) ? A(0) : (code & 1) ? leaky : gain;
  }
};

// The slopes, as each pixel enters.
template <class T>
struct Masked : OnlyFilter<T, kN> {
  using A = compute_t<T>;
  using Beside = uint8_t;
  const uint8_t* codes;
  Slopes<A> slopes;

  __device__ __forceinline__ void read(Beside& code, uint32_t offset) { code = codes[offset / kN]; }
  template <int kWindow, class Offset>
  __device__ __forceinline__ void enter(Pixel<T, kN> (&pixels)[kWindow],
                                        const Beside (&besides)[kWindow], unsigned, int, Offset&&) {
#pragma unroll
    for (int q = 0; q < kWindow; ++q) {
      A values[kN];
#pragma unroll
      for (int k = 0; k < kN; ++k) values[k] = pixels[q].channel(k) * slopes.of(besides[q], k);
      pixels[q].set(values);
    }
  }
};

// The slopes, as each pixel leaves, and the sums of what leaves.
template <class T>
struct Sloped : OnlyFilter<T, kN> {
  static constexpr bool kExpects = true;
  using A = compute_t<T>;
  const uint8_t* codes;
  Slopes<A> slopes;
  uint8_t expected[kStripColumns<1>];
  A sums[kN] = {};

  __device__ __forceinline__ void expect(int o, uint32_t offset) {
    expected[o] = codes[offset / kN];
  }
  __device__ __forceinline__ void leave(int o, A (&values)[kN]) {
#pragma unroll
    for (int k = 0; k < kN; ++k) {
      values[k] *= slopes.of(expected[o], k);
      sums[k] += values[k];
    }
  }
};

template <class T>
__global__ void __launch_bounds__(kThreads, kBlocks<T>)
    forward_kernel(BiasActFilter2dParams p, ChannelsLast s, Bounded<compute_t<T>> act) {
  using A = compute_t<T>;
  SquareTaps<A>& taps = shared<SquareTaps<A>>();
  read_taps(taps, p.filter);
  __syncthreads();
  StripOfPixels at;
  if (!find_strip<kN>(s, at)) return;
  const int64_t in = int64_t(s.y.in) * s.x.in, out = int64_t(s.y.out) * s.x.out;
  const T* x = static_cast<const T*>(p.filter.x) + at.sample * in * s.channels + at.channel;
  T* y = static_cast<T*>(p.filter.out) + at.sample * out * s.channels + at.channel;
  uint8_t* codes = p.codes ? codes_of<T>(p, in, at) : nullptr;
  A bias[kN];
#pragma unroll
  for (int k = 0; k < kN; ++k)
    bias[k] = p.b ? A(load(static_cast<const T*>(p.b)[at.channel + k])) : A(0);
  if (taps.is_separable)
    forward_strip<true, T, kN>(taps, x, y, codes, s, at, act, bias);
  else
    forward_strip<false, T, kN>(taps, x, y, codes, s, at, act, bias);
}

template <class T>
__global__ void __launch_bounds__(kThreads, kBlocks<T>)
    masked_kernel(BiasActFilter2dParams p, ChannelsLast s, Slopes<compute_t<T>> slopes) {
  using A = compute_t<T>;
  SquareTaps<A>& taps = shared<SquareTaps<A>>();
  read_taps(taps, p.filter);
  __syncthreads();
  StripOfPixels at;
  if (!find_strip<kN>(s, at)) return;
  Masked<T> besides;
  besides.codes = codes_of<T>(p, int64_t(s.y.in) * s.x.in, at);
  besides.slopes = slopes;
  filter_pixels<T, kN, 1, 1>(taps, p.filter, s, at, besides);
}

// A strip's sums go to scratch[strip][sample][channel].
template <class T>
__global__ void __launch_bounds__(kThreads, kBlocks<T>)
    backward_kernel(BiasActFilter2dParams p, ChannelsLast s, Slopes<compute_t<T>> slopes) {
  using A = compute_t<T>;
  SquareTaps<A>& taps = shared<SquareTaps<A>>();
  read_taps(taps, p.filter);
  __syncthreads();
  StripOfPixels at;
  if (!find_strip<kN>(s, at)) return;
  Sloped<T> besides;
  besides.codes = codes_of<T>(p, int64_t(s.y.out) * s.x.out, at);
  besides.slopes = slopes;
  filter_pixels<T, kN, 1, 1>(taps, p.filter, s, at, besides);
  if (!p.db) return;
  const int64_t row = (int64_t(at.y) * s.strips_x + at.x) * p.filter.n + at.sample;
  A* sums = static_cast<A*>(p.scratch) + row * s.channels + at.channel;
  write_pixel(sums, besides.sums);
}

ChannelsLast layout_of(const BiasActFilter2dParams& p) {
  return channels_last_of<kN, 1, 1>(p.filter);
}

bool is_valid(const BiasActFilter2dParams& p, int64_t pad) {
  const Upfirdn2dParams& f = p.filter;
  const int64_t in = f.ay.in * f.ax.in * f.c, out = f.ay.out * f.ax.out * f.c;
  return f.ay.taps == 4 && f.ax.taps == 4 && f.ay.pad == pad && f.ax.pad == pad && f.c % kN == 0 &&
         in <= narrow_limit() && out <= narrow_limit() && is_aligned16(f.x) && is_aligned16(f.out);
}

// Sums of the strips of each sample and channel, then of the samples.
template <class T>
int launch_sums(const BiasActFilter2dParams& p, const ChannelsLast& s, cudaStream_t stream) {
  using A = compute_t<T>;
  const int64_t strips = int64_t(s.strips_x) * s.strips_y, columns = p.filter.n * p.filter.c;
  A* parts = static_cast<A*>(p.scratch);
  A* sums = parts + strips * columns;
  const ColumnSumJob<A> first = {parts, sums, strips, columns};
  if (const int error = launch_column_sums<A>({first, {}, {}}, stream)) return error;
  const ColumnSumJob<T> second = {sums, static_cast<T*>(p.db), p.filter.n, p.filter.c};
  return launch_column_sums<T>({second, {}, {}}, stream);
}

int64_t scratch(const BiasActFilter2dParams& p) {
  const ChannelsLast s = layout_of(p);
  return (int64_t(s.strips_x) * s.strips_y + 1) * p.filter.n * p.filter.c;
}

enum class Pass { kForward, kBackward, kMasked };

template <Pass kPass>
int run(const BiasActFilter2dParams& p, const Exec& exec) {
  constexpr int64_t kPad = kPass == Pass::kBackward ? kPadBackward : kPadForward;
  if (!is_valid(p, kPad)) return 1;
  const auto stream = static_cast<cudaStream_t>(exec.stream);
  return dispatch(p.filter.dtype, [&](auto type) {
    using T = decltype(type);
    using A = compute_t<T>;
    const ChannelsLast s = layout_of(p);
    const dim3 grid(unsigned(s.blocks * p.filter.n)), block(kThreads);
    const Slopes<A> slopes = {A(p.gain), A(p.gain) * A(p.alpha)};
    if constexpr (kPass == Pass::kForward) {
      BiasActFilter2dParams q = p;
      q.filter.gain *= p.gain;
      const ChannelsLast wide = forward_layout<T, kN>(p.filter);
      launch(forward_kernel<T>, dim3(unsigned(wide.blocks * p.filter.n)), block, 0, stream, q, wide,
             Bounded<A>(A(p.alpha), A(p.clamp / p.gain)));
    } else if constexpr (kPass == Pass::kMasked) {
      launch(masked_kernel<T>, grid, block, 0, stream, p, s, slopes);
    } else {
      launch(backward_kernel<T>, grid, block, 0, stream, p, s, slopes);
      if (const int error = last_error()) return error;
      if (p.db) return launch_sums<T>(p, s, stream);
    }
    return last_error();
  });
}

}  // namespace

extern const BiasActFilter2dKernels bias_act_filter2d;
const BiasActFilter2dKernels bias_act_filter2d = {scratch, run<Pass::kForward>,
                                                  run<Pass::kBackward>, run<Pass::kMasked>};

}  // namespace fastgan::cuda
