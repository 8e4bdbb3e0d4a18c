// SPDX-License-Identifier: Apache-2.0
// NHWC: a thread takes 16 bytes of channels of a strip of kX columns, from the top down.
// Neighbouring threads take neighbouring channels, then neighbouring strips of a row, whose common
// input pixels come out of the L1 cache. Channels that are no multiple of 16 bytes, or a misaligned
// x, go one by one.
#pragma once

#include "../../common/run.cuh"
#include "../../common/words.cuh"
#include "row_sums.cuh"

namespace fastgan::cuda {
namespace {

// Threads of a block first run over this many vectors of channels (256 bytes), then over strips.
constexpr int kChannelVectors = 16;

struct ChannelsLast {
  Phased x, y;
  int channels;
  int inner;  // vectors of channels that run fastest: all, or kChannelVectors
  int strips_x, strips_y;
  int rows;                  // of output per strip
  uint32_t threads, blocks;  // per sample
  Divisor<NarrowIndex> by_inner, by_strips_x, by_strips_y;
  Divisor<uint32_t> by_blocks;
};

// Columns of output per strip: two that share most of the input, or all of it (up = 2).
template <int kDown>
constexpr int kStripColumns = kDown == 2 ? 1 : 2;

// kN channels of a pixel.
template <class T, int kN>
struct Pixel {
  static constexpr int kWords = kN == 1 ? 1 : kN * int(sizeof(T)) / 4;
  uint32_t words[kWords];

  __device__ __forceinline__ void read(const T* from) {
    if constexpr (kWords == 2) {
      const uint2 bits = *reinterpret_cast<const uint2*>(from);
      words[0] = bits.x, words[1] = bits.y;
    } else if constexpr (kN > 1) {
      const uint4 bits = *reinterpret_cast<const uint4*>(from);
      words[0] = bits.x, words[1] = bits.y, words[2] = bits.z, words[3] = bits.w;
    } else if constexpr (sizeof(T) == 2) {
      words[0] = *reinterpret_cast<const uint16_t*>(from);
    } else {
      words[0] = *reinterpret_cast<const uint32_t*>(from);
    }
  }
  __device__ __forceinline__ float channel(int k) const {
    return element<T>(words[k / kPerWord<T>], k % kPerWord<T>);
  }
  // Of kN > 1: rounds the values.
  __device__ __forceinline__ void set(const float (&values)[kN]) {
#pragma unroll
    for (int w = 0; w < kWords; ++w) words[w] = word_of<T>(values + w * kPerWord<T>);
  }
  __device__ __forceinline__ void keep_if(bool is_kept) {
    const uint32_t mask = is_kept ? ~0u : 0;
#pragma unroll
    for (uint32_t& word : words) word &= mask;
  }
};

// Values to a pixel's kN channels.
template <class T, int kN>
__device__ __forceinline__ void write_pixel(T* to, const compute_t<T> (&values)[kN]) {
  if constexpr (kN == 1) {
    *to = narrow<T>(values[0]);
  } else if constexpr (sizeof(T) == 8) {
    Run<T, kN> run;
#pragma unroll
    for (int k = 0; k < kN; ++k) run.v[k] = values[k];
    store_run<kN>(to, run);
  } else {
    constexpr int kWords = Pixel<T, kN>::kWords;
    uint32_t words[kWords];
#pragma unroll
    for (int w = 0; w < kWords; ++w) words[w] = word_of<T>(values + w * kPerWord<T>);
    store_words(to, words);
  }
}

// What a kernel does besides filtering: nothing here; see bias_act_filter2d for others. An offset
// is that of a pixel's first channel, from the thread's first channel of its sample on.
template <class T, int kN>
struct OnlyFilter {
  using A = compute_t<T>;
  struct Beside {};  // what is read with a pixel
  __device__ __forceinline__ void read(Beside&, uint32_t) {}
  // A row of input has come: `here` tells the pixels that lie in x, and offset(q) where.
  template <int kWindow, class Offset>
  __device__ __forceinline__ void enter(Pixel<T, kN> (&)[kWindow], const Beside (&)[kWindow],
                                        unsigned, int, Offset&&) {}
  // kExpects, for up = 1: output o of a row is to be made; afterwards it has been.
  static constexpr bool kExpects = false;
  __device__ __forceinline__ void expect(int, uint32_t) {}
  __device__ __forceinline__ void leave(int, A (&)[kN]) {}
};

template <bool kIsSeparable, class T, int kN, int kUp, int kDown, class Besides>
__device__ __forceinline__ void filter_strip(const SquareTaps<compute_t<T>>& square, const T* x,
                                             T* y, const ChannelsLast& s, int strip_x, int strip_y,
                                             Besides& besides) {
  using A = compute_t<T>;
  constexpr int kX = kStripColumns<kDown>;
  using Sums = RowSums<A, kUp, kDown, kX, kUp == 2, kN, kIsSeparable>;
  constexpr int kWindow = Sums::kWindow;
  const StripTaps<A, kIsSeparable> taps(square);
  const int in_x = strip_x * (kX * kDown / kUp) - s.x.origin;
  const int in_y = strip_y * (s.rows * kDown / kUp) - s.y.origin;
  const int out_x = strip_x * kX - s.x.lead, out_y = strip_y * s.rows - s.y.lead;
  const int left = s.y.out - out_y, rows = left < s.rows ? left : s.rows;
  const int steps = (rows + kUp - 1) / kUp + Sums::kWarmUp;

  // Pixels outside x are read from its border, and zeroed where they are used.
  uint32_t at[kWindow];
  unsigned inside = 0;
#pragma unroll
  for (int q = 0; q < kWindow; ++q) {
    const int column = in_x + q, last = s.x.in - 1;
    at[q] = uint32_t(column < 0 ? 0 : column > last ? last : column) * s.channels;
    if (column >= 0 && column <= last) inside |= 1u << q;
  }
  constexpr unsigned kAll = (1u << kWindow) - 1;
  const uint32_t pitch = uint32_t(s.x.in) * s.channels;
  struct Row {
    Pixel<T, kN> pixels[kWindow];
    typename Besides::Beside besides[kWindow];
  };
  const auto line_of = [&](int number) {
    const int last = s.y.in - 1;
    return int64_t(NarrowIndex(number < 0 ? 0 : number > last ? last : number) * pitch);
  };
  const auto read = [&](Row& row, int number) {
    const int64_t line = line_of(number);
    const T* from = x + line;
#pragma unroll
    for (int q = 0; q < kWindow; ++q) {
      row.pixels[q].read(from + at[q]);
      besides.read(row.besides[q], uint32_t(line) + at[q]);
    }
  };

  bool is_stored[kX];
#pragma unroll
  for (int o = 0; o < kX; ++o) is_stored[o] = out_x + o >= 0 && out_x + o < s.x.out;
  const uint32_t out_pitch = uint32_t(s.x.out) * s.channels;
  y += int64_t(out_x) * s.channels;

  Sums sums;
  Row row;
  read(row, in_y);
#pragma unroll 1
  for (int step = 0; step < steps; ++step) {
    A made[Sums::kMade][kX][kN];
    if (Besides::kExpects && step >= Sums::kWarmUp) {
      const NarrowIndex line = NarrowIndex(out_y + step - Sums::kWarmUp) * out_pitch;
#pragma unroll
      for (int o = 0; o < kX; ++o)
        if (is_stored[o]) besides.expect(o, uint32_t(int64_t(line)) + (out_x + o) * s.channels);
    }
#pragma unroll
    for (int r = 0; r < Sums::kTaken; ++r) {
      const int number = in_y + step * Sums::kTaken + r;
      const unsigned here = number >= 0 && number < s.y.in ? inside : 0;
      besides.enter(row.pixels, row.besides, here, step,
                    [&](int q) { return uint32_t(line_of(number)) + at[q]; });
      if (here != kAll) {
        keep_branch();
#pragma unroll
        for (int q = 0; q < kWindow; ++q) row.pixels[q].keep_if(here >> q & 1);
      }
      sums.add(
          taps, r, [&](int q, int k) { return row.pixels[q].channel(k); },
          [&] {
            if (r + 1 == Sums::kTaken && step + 1 == steps) return;
            keep_branch();
            read(row, number + 1);
          },
          [&](int j, int o, int k, A sum) { made[j][o][k] = sum; });
    }
    if (step < Sums::kWarmUp) continue;
#pragma unroll
    for (int j = 0; j < Sums::kMade; ++j) {
      const int to_y = out_y + (step - Sums::kWarmUp) * kUp + j;
      if (kUp == 2 && (to_y < 0 || to_y >= s.y.out)) continue;
      T* to = y + int64_t(NarrowIndex(to_y) * out_pitch);
#pragma unroll
      for (int o = 0; o < kX; ++o)
        if (is_stored[o]) {
          besides.leave(o, made[j][o]);
          write_pixel(to + o * s.channels, made[j][o]);
        }
    }
  }
}

// What a thread of a block does.
struct StripOfPixels {
  uint32_t sample;
  int x, y, channel;  // its first channel
};

// Whether there is work for the thread.
template <int kN>
__device__ __forceinline__ bool find_strip(const ChannelsLast& s, StripOfPixels& r) {
  r.sample = s.by_blocks.divide(blockIdx.x);
  const NarrowIndex i = NarrowIndex(blockIdx.x - r.sample * s.blocks) * kThreads + threadIdx.x;
  if (i >= s.threads) return false;
  const NarrowIndex strip = s.by_inner.divide(i), row = s.by_strips_x.divide(strip);
  const NarrowIndex outer = s.by_strips_y.divide(row);
  r.x = int(strip - row * s.strips_x);
  r.y = int(row - outer * s.strips_y);
  r.channel = int((outer * s.inner + (i - strip * s.inner)) * kN);
  return true;
}

template <class T, int kN, int kUp, int kDown, class Besides>
__device__ __forceinline__ void filter_pixels(const SquareTaps<compute_t<T>>& taps,
                                              const Upfirdn2dParams& p, const ChannelsLast& s,
                                              const StripOfPixels& at, Besides& besides) {
  const int64_t in = int64_t(s.y.in) * s.x.in * s.channels;
  const int64_t out = int64_t(s.y.out) * s.x.out * s.channels;
  const T* x = static_cast<const T*>(p.x) + at.sample * in + at.channel;
  T* y = static_cast<T*>(p.out) + at.sample * out + at.channel;
  if (taps.is_separable)
    filter_strip<true, T, kN, kUp, kDown>(taps, x, y, s, at.x, at.y, besides);
  else
    filter_strip<false, T, kN, kUp, kDown>(taps, x, y, s, at.x, at.y, besides);
}

template <class T, int kN, int kUp, int kDown>
__global__ void __launch_bounds__(kThreads, 2)
    channels_last_kernel(Upfirdn2dParams p, ChannelsLast s) {
  using A = compute_t<T>;
  SquareTaps<A>& taps = shared<SquareTaps<A>>();
  read_taps(taps, p);
  __syncthreads();
  StripOfPixels at;
  if (!find_strip<kN>(s, at)) return;
  OnlyFilter<T, kN> nothing;
  filter_pixels<T, kN, kUp, kDown>(taps, p, s, at, nothing);
}

template <int kN, int kUp, int kDown>
ChannelsLast channels_last_of(const Upfirdn2dParams& p) {
  constexpr int kX = kStripColumns<kDown>;
  ChannelsLast s{};
  s.x = kUp == 2 ? Phased::paired(p.ax) : Phased(p.ax);
  s.y = kUp == 2 ? Phased::paired(p.ay) : Phased(p.ay);
  s.channels = int(p.c);
  const int vectors = s.channels / kN, out_y = s.y.out + s.y.lead;
  s.inner = vectors % kChannelVectors == 0 ? kChannelVectors : vectors;
  s.strips_x = (s.x.out + s.x.lead + kX - 1) / kX;
  const auto threads_of = [&](int rows) {
    return int64_t(vectors) * s.strips_x * ((out_y + rows - 1) / rows);
  };
  s.rows = rows_of_strips(out_y, kUp, [&](int rows) { return threads_of(rows) * p.n / kThreads; });
  s.strips_y = (out_y + s.rows - 1) / s.rows;
  s.threads = uint32_t(threads_of(s.rows));
  s.blocks = (s.threads + kThreads - 1) / kThreads;
  s.by_inner = Divisor<NarrowIndex>(s.inner);
  s.by_strips_x = Divisor<NarrowIndex>(s.strips_x);
  s.by_strips_y = Divisor<NarrowIndex>(s.strips_y);
  s.by_blocks = Divisor<uint32_t>(s.blocks);
  return s;
}

template <class T, int kN, int kUp, int kDown>
int launch_vectors(const Upfirdn2dParams& p, cudaStream_t stream) {
  const ChannelsLast s = channels_last_of<kN, kUp, kDown>(p);
  launch(channels_last_kernel<T, kN, kUp, kDown>, dim3(unsigned(s.blocks * p.n)), dim3(kThreads), 0,
         stream, p, s);
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
