// NHWC: a thread takes 16 bytes of channels of kX × kY output pixels. Neighbouring threads take
// neighbouring channels, then neighbouring pixels of a row, whose common input pixels come out of
// the L1 cache. Channels that are no multiple of 16 bytes, or a misaligned x, go one by one.
#pragma once

#include "polyphase.cuh"

namespace fastgan::cuda {
namespace {

// Threads of a block first run over this many vectors of channels (256 bytes), then over pixels.
constexpr int kChannelVectors = 16;

struct ChannelsLast {
  Phased x, y;
  int64_t samples;
  int channels;
  int inner;  // vectors of channels that run fastest: all, or kChannelVectors
  int strips_x, strips_y;
  uint32_t threads;  // per sample
  Divisor<NarrowIndex> by_inner, by_strips_x, by_strips_y;
};

template <class A>
struct TapsByColumn {
  A taps[16];
};

template <int kUp>
struct PixelStrip {
  static constexpr int kX = kUp == 2 ? 2 : 1, kY = kUp == 2 ? 2 : 4;
};

template <class T, int kN, int kUp, int kDown>
__global__ void __launch_bounds__(kThreads, kUp == 2 ? 3 : 4)
    channels_last_kernel(Upfirdn2dParams p, ChannelsLast s) {
  using A = compute_t<T>;
  using P = Polyphase<kUp, kDown, 4>;
  constexpr int kX = PixelStrip<kUp>::kX, kY = PixelStrip<kUp>::kY;
  constexpr int kColumns = P::window(kX);
  A* taps = shared<TapsByColumn<A>>().taps;
  if (threadIdx.x < 16)
    taps[threadIdx.x] = tap_at<A>(p, threadIdx.x & 3, threadIdx.x >> 2, 4, 4) * A(p.gain);
  __syncthreads();

  const NarrowIndex i = NarrowIndex(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= s.threads) return;
  const NarrowIndex pixel = s.by_inner.divide(i), row = s.by_strips_x.divide(pixel);
  const NarrowIndex outer = s.by_strips_y.divide(row);
  const int strip_x = int(pixel - row * s.strips_x);
  const int strip_y = int(row - outer * s.strips_y);
  const int c = int((outer * s.inner + (i - pixel * s.inner)) * kN);
  const int in_x = strip_x * P::advance(kX) - s.x.origin;
  const int in_y = strip_y * P::advance(kY) - s.y.origin;
  for (int64_t sample = blockIdx.y; sample < s.samples; sample += gridDim.y) {
    const T* x = static_cast<const T*>(p.x) + sample * s.y.in * s.x.in * s.channels + c;
    T* y = static_cast<T*>(p.out) + sample * s.y.out * s.x.out * s.channels + c;
    A sums[kY][kX][kN] = {};
    // Columns stay a loop where it can: the loads of all would take more registers than there are.
#pragma unroll(kX == 1 ? 1 : kColumns)
    for (int q = 0; q < kColumns; ++q) {
      if (in_x + q < 0 || in_x + q >= s.x.in) continue;
#pragma unroll
      for (int r = 0; r < P::window(kY); ++r) {
        if (in_y + r < 0 || in_y + r >= s.y.in) continue;
        const T* from = x + int64_t((NarrowIndex(in_y + r) * s.x.in + (in_x + q)) * s.channels);
        Vec<T> v;
        if (kN == 1)
          v.v[0] = *from;
        else
          v = load16(from);
        A values[kN];
#pragma unroll
        for (int k = 0; k < kN; ++k) values[k] = load(v.v[k]);
#pragma unroll
        for (int j = 0; j < kY; ++j) {
          if (r < P::first(j) || r >= P::first(j) + P::kMet) continue;
#pragma unroll
          for (int o = 0; o < kX; ++o) {
            if (q < P::first(o) || q >= P::first(o) + P::kMet) continue;
            const A tap = taps[P::tap(o, q - P::first(o)) * 4 + P::tap(j, r - P::first(j))];
#pragma unroll
            for (int k = 0; k < kN; ++k) sums[j][o][k] += tap * values[k];
          }
        }
      }
    }
#pragma unroll
    for (int j = 0; j < kY; ++j) {
      const int out_y = strip_y * kY + j - s.y.lead;
      if (out_y < 0 || out_y >= s.y.out) continue;
#pragma unroll
      for (int o = 0; o < kX; ++o) {
        const int out_x = strip_x * kX + o - s.x.lead;
        if (out_x < 0 || out_x >= s.x.out) continue;
        T* to = y + int64_t((NarrowIndex(out_y) * s.x.out + out_x) * s.channels);
        Vec<T> v;
#pragma unroll
        for (int k = 0; k < kN; ++k) v.v[k] = narrow<T>(sums[j][o][k]);
        if (kN == 1)
          *to = v.v[0];
        else
          store16(to, v);
      }
    }
  }
}

template <class T, int kN, int kUp, int kDown>
int launch_vectors(const Upfirdn2dParams& p, cudaStream_t stream) {
  constexpr int kX = PixelStrip<kUp>::kX, kY = PixelStrip<kUp>::kY;
  ChannelsLast s{};
  s.x = Phased(p.ax);
  s.y = Phased(p.ay);
  s.samples = p.n;
  s.channels = int(p.c);
  const int vectors = s.channels / kN;
  s.inner = vectors % kChannelVectors == 0 ? kChannelVectors : vectors;
  s.strips_x = (s.x.out + s.x.lead + kX - 1) / kX;
  s.strips_y = (s.y.out + s.y.lead + kY - 1) / kY;
  const int64_t threads = int64_t(vectors) * s.strips_x * s.strips_y;
  s.threads = uint32_t(threads);
  s.by_inner = Divisor<NarrowIndex>(s.inner);
  s.by_strips_x = Divisor<NarrowIndex>(s.strips_x);
  s.by_strips_y = Divisor<NarrowIndex>(s.strips_y);
  const int64_t blocks = (threads + kThreads - 1) / kThreads;
  const dim3 grid(unsigned(blocks), unsigned(p.n < 65535 ? p.n : 65535));
  launch(channels_last_kernel<T, kN, kUp, kDown>, grid, dim3(kThreads), 0, stream, p, s);
  return last_error();
}

template <class T, int kUp, int kDown>
int launch_channels_last(const Upfirdn2dParams& p, cudaStream_t stream) {
  constexpr int kN = Vec<T>::kN;
  if (p.c % kN == 0 && is_aligned16(p.x) && is_aligned16(p.out))
    return launch_vectors<T, kN, kUp, kDown>(p, stream);
  return launch_vectors<T, 1, kUp, kDown>(p, stream);
}

}  // namespace
}  // namespace fastgan::cuda
