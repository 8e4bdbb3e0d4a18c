// For upfirdn2d_cpu.cpp only: separable filters of 4 taps, by 2 up, 2 down or neither, in float32
// and bfloat16, all in registers. Each sample of an output row is first summed over the input rows
// that it meets (`Column`), and neighbours of these sums make the row: along vectors of pixels in a
// plane, along vectors of channels where these vary fastest. No row is stored and loaded again,
// which would stall, and nothing is padded: rows outside the image are read from a zero.
#pragma once

#include "../../common/cpu_simd.h"
#include "cpu_filter.h"

namespace fastgan::FASTGAN_ISA {
namespace {

constexpr int kTaps = 4;

// The two taps of up-sampling by 2 that outputs o, o + 2, … meet: f[k0] · x[i0] + f[k0 + 2] · x[i0
// + 1].
struct TwoTaps {
  int64_t k0, i0;
};
inline TwoTaps two_taps_of(const Axis& a, int64_t o) {
  const int64_t base = o - a.pad, i0 = (base + 1) >> 1;
  return {2 * i0 - base, i0};
}

// An image of [height, width] pixels of `step` values each; step 1: a plane.
template <class T>
struct Image {
  const T* at;
  int64_t height, width, step;
};

constexpr int kMostVectors = kLanes == 16 ? 4 : 2;  // of channels at once: what registers hold

// Vertical sums of `rows` neighbouring output rows, `down` input rows apart, at any place along
// them.
template <class T, int count, int down, int rows>
struct Columns {
  static constexpr int kInputs = count + (rows - 1) * down;
  const T* from[kInputs];
  int64_t steps[kInputs];  // 0 for a row outside the image, whose every pixel is `zeros`
  Floats taps[count];

  // Input rows first, first + 1, … from value `q` of their pixels on.
  FASTGAN_INLINE Columns(const Image<T>& x, int64_t first, int64_t q, const float* f,
                         int64_t f_step) {
    alignas(64) static const T zeros[kLanes * kMostVectors] = {};
#pragma GCC unroll 8
    for (int j = 0; j < kInputs; ++j) {
      const int64_t row = first + j;
      const bool is_inside = 0 <= row && row < x.height;
      from[j] = is_inside ? x.at + row * x.width * x.step + q : zeros;
      steps[j] = is_inside ? x.step : 0;
    }
#pragma GCC unroll 4
    for (int j = 0; j < count; ++j) taps[j] = all_lanes(f[j * f_step]);
  }

  template <class Load>
  FASTGAN_INLINE void sum(Floats (&sums)[rows], Load&& value) const {
#pragma GCC unroll 8
    for (int j = 0; j < kInputs; ++j) {
      const Floats v = value(j);
#pragma GCC unroll 4
      for (int r = 0; r < rows; ++r) {
        const int k = j - r * down;
        if (k == 0) sums[r] = taps[0] * v;
        if (0 < k && k < count) sums[r] += taps[k] * v;
      }
    }
  }
  // At pixel i, from value `q` on.
  FASTGAN_INLINE void at(int64_t i, int64_t q, Floats (&sums)[rows]) const {
    sum(sums, [&](int j) { return load_vector(from[j] + i * steps[j] + q); });
  }
  // Lanes are pixels i, i + 1, … of [0, width); 0 outside.
  FASTGAN_INLINE void pixels(int64_t i, int64_t width, Floats (&sums)[rows]) const {
    if (i >= 0 && i + kLanes <= width) return at(i, 0, sums);
    if (i >= width || i + kLanes <= 0) {
      for (Floats& v : sums) v = Floats{};
      return;
    }
    sum(sums, [&](int j) { return load_lanes(from[j] + i * steps[j], -i, width - i); });
  }
};

// `rows` output rows of a plane, from `out` on: lanes are pixels.
template <int up, int down, int rows, class T, int count>
FASTGAN_INLINE void plane_rows(const Columns<T, count, down, rows>& columns, const Axis& a,
                               const float* f, T* out) {
  const int64_t width = a.in, n = a.out;
  if constexpr (up == 2) {
    const TwoTaps even = two_taps_of(a, 0), odd = two_taps_of(a, 1);
    const Floats e0 = all_lanes(f[even.k0]), e1 = all_lanes(f[even.k0 + 2]);
    const Floats o0 = all_lanes(f[odd.k0]), o1 = all_lanes(f[odd.k0 + 2]);
    const bool is_apart = odd.i0 != even.i0;
    Floats x0[rows], next[rows];
    columns.pixels(even.i0, width, x0);
    for (int64_t o = 0; o < n; o += 2 * kLanes) {
      columns.pixels(even.i0 + o / 2 + kLanes, width, next);
#pragma GCC unroll 4
      for (int r = 0; r < rows; ++r) {
        const Floats x1 = shift_lanes<1>(x0[r], next[r]);
        const Floats e = e0 * x0[r] + e1 * x1;
        const Floats d =
            is_apart ? o0 * x1 + o1 * shift_lanes<2>(x0[r], next[r]) : o0 * x0[r] + o1 * x1;
        T* to = out + r * n + o;
        store_lanes(to, interleave<0>(e, d), n - o);
        store_lanes(to + kLanes, interleave<1>(e, d), n - o - kLanes);
        x0[r] = next[r];
      }
    }
  } else {
    const Floats f0 = all_lanes(f[0]), f1 = all_lanes(f[1]), f2 = all_lanes(f[2]),
                 f3 = all_lanes(f[3]);
    if constexpr (down == 1) {
      Floats x[rows], next[rows];
      columns.pixels(-a.pad, width, x);
      for (int64_t o = 0; o < n; o += kLanes) {
        columns.pixels(o + kLanes - a.pad, width, next);
#pragma GCC unroll 4
        for (int r = 0; r < rows; ++r) {
          const Floats sum = f0 * x[r] + f1 * shift_lanes<1>(x[r], next[r]) +
                             f2 * shift_lanes<2>(x[r], next[r]) +
                             f3 * shift_lanes<3>(x[r], next[r]);
          store_lanes(out + r * n + o, sum, n - o);
          x[r] = next[r];
        }
      }
    } else {
      Floats even[rows], odd[rows], low[rows], high[rows];
      columns.pixels(-a.pad, width, low);
      columns.pixels(kLanes - a.pad, width, high);
#pragma GCC unroll 4
      for (int r = 0; r < rows; ++r) {
        even[r] = every_second<0>(low[r], high[r]);
        odd[r] = every_second<1>(low[r], high[r]);
      }
      for (int64_t o = 0; o < n; o += kLanes) {
        columns.pixels(2 * (o + kLanes) - a.pad, width, low);
        columns.pixels(2 * (o + kLanes) + kLanes - a.pad, width, high);
#pragma GCC unroll 4
        for (int r = 0; r < rows; ++r) {
          const Floats next_even = every_second<0>(low[r], high[r]);
          const Floats next_odd = every_second<1>(low[r], high[r]);
          const Floats sum = f0 * even[r] + f1 * odd[r] + f2 * shift_lanes<1>(even[r], next_even) +
                             f3 * shift_lanes<1>(odd[r], next_odd);
          store_lanes(out + r * n + o, sum, n - o);
          even[r] = next_even;
          odd[r] = next_odd;
        }
      }
    }
  }
}

// `rows` output rows of pixels of `step` values, at `vectors` · kLanes of these: lanes are
// channels.
template <int up, int down, int rows, int vectors, class T, int count>
FASTGAN_INLINE void channels_rows(const Columns<T, count, down, rows>& columns, const Axis& a,
                                  const float* f, T* out, int64_t step) {
  const int64_t n = a.out, row_values = n * step;
  using Sums = Floats[vectors][rows];
  const auto sum = [&](int64_t i, Sums& sums) {
    if (0 <= i && i < a.in) {
#pragma GCC unroll 4
      for (int k = 0; k < vectors; ++k) columns.at(i, k * kLanes, sums[k]);
    } else {
      for (auto& v : sums)
        for (Floats& w : v) w = Floats{};
    }
  };
  const auto each = [](auto&& body) {
#pragma GCC unroll 4
    for (int k = 0; k < vectors; ++k)
#pragma GCC unroll 4
      for (int r = 0; r < rows; ++r) body(k, r);
  };
  if constexpr (up == 2) {
    const TwoTaps even = two_taps_of(a, 0), odd = two_taps_of(a, 1);
    const Floats e0 = all_lanes(f[even.k0]), e1 = all_lanes(f[even.k0 + 2]);
    const Floats o0 = all_lanes(f[odd.k0]), o1 = all_lanes(f[odd.k0 + 2]);
    const bool is_apart = odd.i0 != even.i0;
    Sums x0, x1, x2;
    sum(even.i0, x0);
    sum(even.i0 + 1, x1);
    for (int64_t o = 0; o < n; o += 2) {
      sum(even.i0 + o / 2 + 2, x2);
      each([&](int k, int r) {
        T* to = out + r * row_values + o * step + k * kLanes;
        store_vector(to, e0 * x0[k][r] + e1 * x1[k][r]);
        const Floats& first = is_apart ? x1[k][r] : x0[k][r];
        const Floats& second = is_apart ? x2[k][r] : x1[k][r];
        if (o + 1 < n) store_vector(to + step, o0 * first + o1 * second);
        x0[k][r] = x1[k][r];
        x1[k][r] = x2[k][r];
      });
    }
  } else {
    const Floats f0 = all_lanes(f[0]), f1 = all_lanes(f[1]), f2 = all_lanes(f[2]),
                 f3 = all_lanes(f[3]);
    Sums x0, x1, x2, x3;
    sum(-a.pad, x0);
    sum(1 - a.pad, x1);
    if (down == 1) sum(2 - a.pad, x2);
    for (int64_t o = 0; o < n; ++o) {
      const int64_t i = o * down - a.pad;
      if (down == 2) sum(i + 2, x2);
      sum(i + 3, x3);
      each([&](int k, int r) {
        store_vector(out + r * row_values + o * step + k * kLanes,
                     f0 * x0[k][r] + f1 * x1[k][r] + f2 * x2[k][r] + f3 * x3[k][r]);
        x0[k][r] = down == 1 ? x1[k][r] : x2[k][r];
        x1[k][r] = down == 1 ? x2[k][r] : x3[k][r];
        if (down == 1) x2[k][r] = x3[k][r];
      });
    }
  }
}

constexpr int64_t kLongRow = 96;  // float32 pixels

// Output rows of one image; `step` of x is at least kLanes, or 1 for a plane.
template <int up, int down, class T>
struct FourTaps {
  static constexpr int kRows = up == 2 ? 1 : 2;  // at once: they share input rows
  static constexpr int kRowsOfChannels = up == 2 || kLanes < 16 ? 1 : 2;
  static constexpr int kVectors = kMostVectors;
  const Axis &ax, &ay;
  const float *fx, *fy;

  template <int rows>
  FASTGAN_INLINE Columns<T, kTaps / up, down, rows> columns(const Image<T>& x, int64_t oy,
                                                            int64_t q) const {
    if constexpr (up == 2) {
      const TwoTaps s = two_taps_of(ay, oy);
      return {x, s.i0, q, fy + s.k0, 2};
    }
    return {x, oy * down - ay.pad, q, fy, 1};
  }

  template <int rows>
  void plane_by(const Image<T>& x, T* out, int64_t begin, int64_t end) const {
    for (int64_t o = begin; o < end; o += rows) {
      const int64_t oy = smaller(o, end - rows);  // the last may repeat some rows
      plane_rows<up, down, rows>(columns<rows>(x, oy, 0), ax, fx, out + oy * ax.out);
    }
  }
  void plane(const Image<T>& x, T* out, int64_t begin, int64_t end) const {
    if constexpr (kRows > 1 && sizeof(T) == 4)  // measured: two long rows at once are slower
      if (ax.in >= kLongRow) return plane_by<1>(x, out, begin, end);
    plane_by<kRows>(x, out, begin, end);
  }

  template <int rows, int vectors>
  FASTGAN_INLINE void some_of_channels(const Image<T>& x, T* out, int64_t oy, int64_t q) const {
    channels_rows<up, down, rows, vectors>(columns<rows>(x, oy, q), ax, fx,
                                           out + oy * ax.out * x.step + q, x.step);
  }
  template <int rows>
  void channels_at(const Image<T>& x, T* out, int64_t oy) const {
    int64_t q = 0;
    for (; q + kVectors * kLanes <= x.step; q += kVectors * kLanes)
      some_of_channels<rows, kVectors>(x, out, oy, q);
    for (; q < x.step; q += kLanes)  // the last may repeat some channels
      some_of_channels<rows, 1>(x, out, oy, smaller(q, x.step - kLanes));
  }
  void channels(const Image<T>& x, T* out, int64_t begin, int64_t end) const {
    for (int64_t o = begin; o < end; o += kRowsOfChannels)
      channels_at<kRowsOfChannels>(x, out, smaller(o, end - kRowsOfChannels));
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
constexpr int64_t kRowGrain = 8;       // output rows of a task, at least

template <int up, int down, class T>
int run_four_taps(const Upfirdn2dParams& p, const Filter<float>& f, const Exec& exec) {
  const FourTaps<up, down, T> taps{p.ax, p.ay, f.fx, f.fy};
  const T* x = static_cast<const T*>(p.x);
  T* out = static_cast<T*>(p.out);
  const int64_t in_size = p.ay.in * p.ax.in, out_size = p.ay.out * p.ax.out;
  if (!p.is_channels_last && p.ax.in < kWidePlane<T> && in_size <= kMostPixels &&
      out_size <= kMostPixels) {
    const FourTaps<up, down, float> wide{p.ax, p.ay, f.fx, f.fy};
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
        wide.channels({lanes, p.ay.in, p.ax.in, kLanes}, result, 0, p.ay.out);
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
  auto range = [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t image = task / pieces, row = task % pieces * kRowGrain;
      const Image<T> from{x + image * in_size * step, p.ay.in, p.ax.in, step};
      T* to = out + image * out_size * step;
      const int64_t last = task % pieces == pieces - 1 ? p.ay.out : row + kRowGrain;
      if (p.is_channels_last)
        taps.channels(from, to, row, last);
      else
        taps.plane(from, to, row, last);
    }
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
