// SPDX-License-Identifier: Apache-2.0
// For upfirdn2d_cpu.cpp only: separable filters of 4 taps, by 2 up, 2 down or neither, in float32
// and bfloat16, all in registers. Each sample of an output row is first summed over the input rows
// that it meets (`Columns`), and neighbours of these sums make the row: along vectors of pixels in
// a plane, along vectors of channels where these vary fastest. No row is stored and loaded again,
// which would stall, and nothing is padded: rows outside the image are read from a zero.
#pragma once

#include "cpu_channels_rows.h"

namespace fastgan::FASTGAN_ISA {
namespace {

constexpr int64_t kLongRow = 96;        // float32 pixels
constexpr int64_t kStripBytes = 32768;  // of input in L1

// Output rows of one image; `step` of x is at least kLanes, or 1 for a plane.
template <int up, int down, class T>
struct FourTaps {
  static constexpr int kRows = up == 2 ? 1 : 2;        // at once: they share input rows
  static constexpr int kRowsOfChannels = down;         // measured
  static constexpr int kUnits = kLanes == 16 ? 2 : 1;  // of Two: what registers hold
  const Axis &ax, &ay;
  const float* fy;
  RowTaps<up> along_x;

  FourTaps(const Upfirdn2dParams& p, const Filter<float>& f)
      : ax(p.ax), ay(p.ay), fy(f.fy), along_x(p.ax, f.fx) {}

  template <int rows>
  FASTGAN_INLINE Columns<T, kTaps / up, down, rows> columns(const Image<T>& x, int64_t oy) const {
    if constexpr (up == 2) {
      const TwoTaps s = two_taps_of(ay, oy);
      return {x, s.i0, fy + s.k0, 2};
    }
    return {x, oy * down - ay.pad, fy, 1};
  }

  template <int rows>
  void plane_by(const Image<T>& x, T* out, int64_t begin, int64_t end, bool is_streamed) const {
    const RowTaps<up> t = along_x;
    for (int64_t o = begin; o < end; o += rows) {
      const int64_t oy = smaller(o, end - rows);  // the last may repeat some rows
      plane_rows<up, down, rows>(columns<rows>(x, oy), t, ax.in, out + oy * ax.out, ax.out,
                                 is_streamed);
    }
  }
  void plane(const Image<T>& x, T* out, int64_t begin, int64_t end, bool is_streamed) const {
    if constexpr (up * down == 1 && sizeof(T) == 4)  // measured: two long rows at once are slower
      if (ax.in >= kLongRow) return plane_by<1>(x, out, begin, end, is_streamed);
    plane_by<kRows>(x, out, begin, end, is_streamed);
  }

  // Pixels go by strips that are narrow enough for the input rows of one output row to wait in L1
  // for the next.
  template <class V, int units>
  FASTGAN_INLINE void some_channels(const Image<T>& x, T* out, int64_t begin, int64_t end,
                                    int64_t q, bool is_streamed) const {
    constexpr int rows = kRowsOfChannels;
    constexpr int64_t inputs = kTaps / up + (rows - 1) * down;
    constexpr int64_t pixels = kStripBytes / (inputs * kValues<V> * units * int64_t(sizeof(T)));
    constexpr int64_t strip = pixels * up / down;
    const RowTaps<up> t = along_x;
    for (int64_t first = 0; first < ax.out; first += strip) {
      const int64_t last = smaller(first + strip, ax.out);
      for (int64_t o = begin; o < end; o += rows) {
        const int64_t oy = smaller(o, end - rows);  // the last may repeat some rows
        channels_rows<up, down, rows, V, units>(columns<rows>(x, oy), t, ax.in, x.step, q,
                                                out + oy * ax.out * x.step, ax.out, first, last,
                                                is_streamed);
      }
    }
  }
  void channels(const Image<T>& x, T* out, int64_t begin, int64_t end, bool is_streamed) const {
    int64_t q = 0;
    for (; q + kUnits * kTwo <= x.step; q += kUnits * kTwo)
      some_channels<Two, kUnits>(x, out, begin, end, q, is_streamed);
    for (; q < x.step; q += kLanes)  // the last may repeat some channels
      some_channels<Floats, 1>(x, out, begin, end, smaller(q, x.step - kLanes), is_streamed);
  }
};

// Small planes, kLanes of them at a time: with lanes for planes, they are an image of kLanes
// channels. `count` of the planes are there.
template <class T>
void planes_to_lanes(const T* x, int64_t size, int64_t count, float* to) {
  int64_t i = 0;
  if (size >= kLanes) {
    for (; i < size; i += kLanes) {
      const int64_t at = smaller(i, size - kLanes);  // the last may repeat some pixels
      Floats v[kLanes];
#pragma GCC unroll 16
      for (int k = 0; k < kLanes; ++k) v[k] = load_vector(x + (k < count ? k : 0) * size + at);
      transpose(v);
#pragma GCC unroll 16
      for (int k = 0; k < kLanes; ++k) store_vector(to + (at + k) * kLanes, v[k]);
    }
    return;
  }
  for (; i < size; ++i)
    for (int k = 0; k < kLanes; ++k) to[i * kLanes + k] = load(x[(k < count ? k : 0) * size + i]);
}

template <class T>
void lanes_to_planes(const float* from, int64_t size, int64_t count, T* out) {
  int64_t i = 0;
  if (size >= kLanes) {
    for (; i < size; i += kLanes) {
      const int64_t at = smaller(i, size - kLanes);
      Floats v[kLanes];
#pragma GCC unroll 16
      for (int k = 0; k < kLanes; ++k) v[k] = load_vector(from + (at + k) * kLanes);
      transpose(v);
#pragma GCC unroll 16
      for (int k = 0; k < kLanes; ++k)
        if (k < count) store_vector(out + k * size + at, v[k]);
    }
    return;
  }
  for (; i < size; ++i)
    for (int k = 0; k < count; ++k) store(out + k * size + i, from[i * kLanes + k]);
}

// Whether these kernels take the filter: NaN taps would make NaNs that round_at_16 does not keep.
inline bool has_four_taps(const Upfirdn2dParams& p, const Filter<float>& f) {
  if (!f.is_separable || p.ax.taps != kTaps || p.ay.taps != kTaps) return false;
  if (p.ax.up != p.ay.up || p.ax.down != p.ay.down || p.ax.up * p.ax.down > 2) return false;
  if (p.ay.out < 2) return false;  // they do two rows at once
  for (int k = 0; k < kTaps; ++k)
    if (f.fx[k] != f.fx[k] || f.fy[k] != f.fy[k]) return false;
  return true;
}

// Narrower planes lie side by side in a vector; wider ones along it. Measured with 16 lanes.
template <class T>
constexpr int64_t kWidePlane = sizeof(T) == 2 ? kLanes * 5 / 2 : kLanes * 5 / 4;
constexpr int64_t kMostPixels = 4096;  // of a small plane, whose lanes wait in L2
constexpr int64_t kFarPlanesBytes = int64_t(1) << 20;
constexpr int64_t kRowGrain = 32;  // output rows of a task, at least

template <int up, int down, class T>
int run_four_taps(const Upfirdn2dParams& p, const Filter<float>& f, const Exec& exec) {
  const FourTaps<up, down, T> taps(p, f);
  const T* x = static_cast<const T*>(p.x);
  T* out = static_cast<T*>(p.out);
  const int64_t in_size = p.ay.in * p.ax.in, out_size = p.ay.out * p.ax.out;
  if (!p.is_channels_last && p.ax.in < kWidePlane<T> && in_size <= kMostPixels &&
      out_size <= kMostPixels) {
    const FourTaps<up, down, float> wide(p, f);
    const int64_t planes = p.n * p.c;
    bool failed = false;
    auto range = [&](int64_t begin, int64_t end) {
      float* lanes = static_cast<float*>(scratch_bytes<float>((in_size + out_size) * kLanes));
      if (!lanes) {
        __atomic_store_n(&failed, true, __ATOMIC_RELAXED);
        return;
      }
      float* result = lanes + in_size * kLanes;
      for (int64_t group = begin; group < end; ++group) {
        const int64_t first = group * kLanes, count = smaller(kLanes, planes - first);
        planes_to_lanes(x + first * in_size, in_size, count, lanes);
        wide.channels({lanes, p.ay.in, p.ax.in, kLanes, false}, result, 0, p.ay.out, false);
        lanes_to_planes(result, out_size, count, out + first * out_size);
      }
      std::free(lanes);
    };
    const int64_t bytes = out_size * kLanes * int64_t(sizeof(T));
    parallel(exec, divide_up(planes, kLanes), at_least_one(kGrainBytes / bytes), range);
    return failed ? 1 : 0;
  }
  const int64_t step = p.is_channels_last ? p.c : 1, images = p.is_channels_last ? p.n : p.n * p.c;
  const int64_t row_bytes = p.ax.out * step * int64_t(sizeof(T));
  const int64_t pieces = at_least_one(p.ay.out / kRowGrain);  // the last takes what is left
  const bool is_streamed =
      is_streamable(out, images * p.ay.out * row_bytes,
                    p.is_channels_last ? step * int64_t(sizeof(T)) : row_bytes);
  const bool is_far = images * in_size * step * int64_t(sizeof(T)) >=
                      (p.is_channels_last ? kStreamBytes : kFarPlanesBytes);
  auto range = [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t image = task / pieces, row = task % pieces * kRowGrain;
      const Image<T> from{x + image * in_size * step, p.ay.in, p.ax.in, step, is_far};
      T* to = out + image * out_size * step;
      const int64_t last = task % pieces == pieces - 1 ? p.ay.out : row + kRowGrain;
      if (p.is_channels_last)
        taps.channels(from, to, row, last, is_streamed);
      else
        taps.plane(from, to, row, last, is_streamed);
    }
    if (is_streamed) end_of_stream();
  };
  parallel(exec, images * pieces, at_least_one(kGrainBytes / at_least_one(kRowGrain * row_bytes)),
           range);
  return 0;
}

template <class T>
int run_four_taps(const Upfirdn2dParams& p, const Filter<float>& f, const Exec& exec) {
  if (p.ax.up == 2) return run_four_taps<2, 1, T>(p, f, exec);
  if (p.ax.down == 2) return run_four_taps<1, 2, T>(p, f, exec);
  return run_four_taps<1, 1, T>(p, f, exec);
}

}  // namespace
}  // namespace fastgan::FASTGAN_ISA
