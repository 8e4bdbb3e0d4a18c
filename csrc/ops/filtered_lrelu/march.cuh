// SPDX-License-Identifier: Apache-2.0
// What the kernels of fixed factors share: how a block walks down its tiles.
//
// `lanes` threads side by side have a tile of one plane's outputs, four columns of v each, and walk
// down it together, a step of `Factors::kGroup` rows of v at a time; a block has several tiles.
// What a thread needs of the rows above is in its registers. Shared memory holds what columns of
// different threads exchange: rows of x, filtered along x by whoever needs them, and rows on their
// way to the filter along x after the activation. Each exists twice, so that a step needs one
// barrier: while a row is read, the next one is written to the other place.
//
// u, the input with the bias, is multiplied by up_gain·|gain| when it is staged, so that the
// activation is a sign, a product and a comparison; gain's sign is with the second filter.
#pragma once

#include "tile.cuh"

namespace fastgan::cuda {

constexpr int kColumns = 4;  // of v that a thread has: their codes are one byte
constexpr int kFewestLanes = 8;
constexpr int kUnroll = 2;  // steps: rows in shared memory have two places

// Rows and columns c of v with the same ⌈(c - pad) / up⌉ meet the same places of x. `phase` is by
// how much v's first row and column of a plane come before the last of those that have its own.
template <int up, int up_taps, int down, int down_taps, int phase>
struct Factors {
  static constexpr int kUp = up, kUpTaps = up_taps, kDown = down, kDownTaps = down_taps;
  static constexpr int kPhase = phase, kMeets = up_taps / up;
  // A step begins with the first of the rows that meet the same places: so many before the first
  // row that an output needs.
  static constexpr int kSkip = up - 1 - phase;
  // In a step: rows of v, of x, of outputs; outputs of a thread in a row.
  static constexpr int kGroup = up > down ? up : down, kIn = kGroup / up, kOut = kGroup / down;
  static constexpr int kOuts = kColumns / down;
  // Outputs from kLast before a step's first row of outputs on are under way; kOut end with it.
  static constexpr int kLast = (kSkip + down_taps - 1) / down, kUnderWay = kLast + kOut;
  // Steps before the first: rows of x that the first row of v meets besides the step's own.
  static constexpr int kBefore = (kMeets - 1 + kIn - 1) / kIn;
  // Places of x: the last column meets them from kLastPlace on; a thread's columns meet so many.
  static constexpr int kLastPlace = (kColumns - 1 - phase + up - 1) / up;
  static constexpr int kColumnsMet = kLastPlace + kMeets;
  static_assert(kMeets == 6 && up_taps % up == 0 && kColumns % down == 0 && kColumns % up == 0);
  static_assert(kGroup % up == 0 && kGroup % down == 0 && phase < up);
};

// The same for every block of a launch.
struct March {
  Pair out, tiles;            // outputs of a tile, and tiles of a plane
  int threads, lanes, units;  // of a block, of a tile; tiles of a block
  int steps, total;           // of a tile; tiles of the launch
  float scale, slope, clamp;  // of u: up_gain·|gain|
};

__device__ __forceinline__ int ceil_divide(int a, int b) { return -floor_divide(-a, b); }

// What a tile of up to kLanes threads has in shared memory, twice: rows of x, and kRows rows of
// which the filter along x takes what follows a thread's columns.
template <class F, int most_lanes, int rows>
struct Buffers {
  static constexpr int kLanes = most_lanes, kRows = rows;
  static constexpr int kInPitch = (most_lanes * (kColumns / F::kUp) + F::kColumnsMet + 3) / 4 * 4;
  static constexpr int kWidePitch = most_lanes * kColumns + 24;
  static constexpr int kIn = F::kIn * kInPitch, kWide = rows * kWidePitch;
  static constexpr int kSize = 2 * (kIn + kWide);
};

// One thread's place.
template <class F>
struct Walker {
  int lane, plane, unit_here;
  bool is_live;  // else it only meets the barriers
  Span x, y;

  __device__ __forceinline__ Walker(const FilteredLreluParams& p, const March& t) {
    unit_here = int(threadIdx.x) / t.lanes;
    lane = int(threadIdx.x) - unit_here * t.lanes;
    int unit = int(blockIdx.x) * t.units + unit_here;
    is_live = unit_here < t.units && unit < t.total;
    unit = is_live ? unit : 0;
    const int of_plane = t.tiles.x * t.tiles.y;
    plane = unit / of_plane;
    const int tile = unit - plane * of_plane, row = tile / t.tiles.x;
    y = span_of(p.ay, F::kUp, F::kDown, t.out.y, t.tiles.y, row);
    x = span_of(p.ax, F::kUp, F::kDown, t.out.x, t.tiles.x, tile - row * t.tiles.x);
  }
  // The place of x that the tile's first column or row meets first.
  static __device__ __forceinline__ int first_of(const FilteredAxis& a, const Span& s) {
    return ceil_divide(s.wide - int(a.pad), F::kUp);
  }
};

// Rows of x, one after another, on their way into shared memory: fetched a step before they are
// put. A thread brings the columns that its own begin with, and the first ones bring what the last
// ones meet besides.
template <class T, class F>
struct Rows {
  static constexpr int kOwn = kColumns / F::kUp, kLoads = kOwn + 1;
  static_assert(F::kColumnsMet - kOwn <= kFewestLanes);
  const T *at, *beyond;
  T next[F::kIn][kLoads];
  int row, height, width, lane, place_beyond;  // -1: it brings none
  unsigned columns_in, rows_in;                // a bit for each load, and for each row fetched
  float scale, shift[kLoads];                  // 0 outside of the plane

  __device__ __forceinline__ Rows(const FilteredLreluParams& p, const March& t,
                                  const Walker<F>& w) {
    height = int(p.ay.in);
    width = int(p.ax.in);
    lane = w.lane;
    const int column = Walker<F>::first_of(p.ax, w.x) + kOwn * lane;
    row = Walker<F>::first_of(p.ay, w.y) - (F::kBefore * F::kIn - (F::kMeets - 1));
    scale = t.scale;
    const float b = p.b ? load(static_cast<const T*>(p.b)[w.plane % int(p.channels)]) : 0.0f;
    place_beyond = lane < F::kColumnsMet - kOwn ? kOwn * t.lanes + lane : -1;
    const int to_beyond = kOwn * t.lanes + lane - kOwn * lane;
    columns_in = rows_in = 0;
#pragma unroll
    for (int k = 0; k < kLoads; ++k) {
      const int c = k < kOwn ? column + k : column + to_beyond;
      const bool is_in = w.is_live && c >= 0 && c < width && (k < kOwn || place_beyond >= 0);
      columns_in |= unsigned(is_in) << k;
      shift[k] = is_in ? b * scale : 0.0f;
#pragma unroll
      for (int i = 0; i < F::kIn; ++i) next[i][k] = narrow<T>(0);
    }
    at = static_cast<const T*>(p.x) + (int64_t(w.plane) * height + row) * width + column;
    beyond = at + to_beyond;
  }

  __device__ __forceinline__ void fetch() {
    rows_in = 0;
#pragma unroll
    for (int i = 0; i < F::kIn; ++i) {
      if (row >= 0 && row < height) {
        rows_in |= 1u << i;
#pragma unroll
        for (int k = 0; k < kLoads; ++k)
          if (columns_in >> k & 1) next[i][k] = k < kOwn ? at[k] : *beyond;
      }
      ++row;
      at += width;
      beyond += width;
    }
  }

  // to: the tile's rows.
  __device__ __forceinline__ void put(float* to, int pitch) const {
#pragma unroll
    for (int i = 0; i < F::kIn; ++i) {
      const bool is_in = rows_in >> i & 1;
#pragma unroll
      for (int k = 0; k < kLoads; ++k) {
        const float u = is_in ? load(next[i][k]) * scale + shift[k] : 0.0f;
        if (k < kOwn)
          to[i * pitch + kOwn * lane + k] = u;
        else if (place_beyond >= 0)
          to[i * pitch + place_beyond] = u;
      }
    }
  }
};

// n numbers at a multiple of 4, of which `from` is a multiple of 4 · step away from one.
template <int n, int step>
__device__ __forceinline__ void load_numbers(float (&to)[n], const float* from) {
  if constexpr (step % 4 == 0) {
#pragma unroll
    for (int k = 0; k < n; k += 4) {
      const Vec<float> v = load16(from + k);
#pragma unroll
      for (int i = 0; i < 4 && k + i < n; ++i) to[k + i] = v.v[i];
    }
  } else if constexpr (step == 2) {
#pragma unroll
    for (int k = 0; k < n; k += 2) {
      const float2 v = *reinterpret_cast<const float2*>(from + k);
      to[k] = v.x;
      if (k + 1 < n) to[k + 1] = v.y;
    }
  } else {
#pragma unroll
    for (int k = 0; k < n; ++k) to[k] = from[k];
  }
}

__device__ __forceinline__ void store_columns(float* to, const float (&from)[kColumns]) {
  Vec<float> v;
#pragma unroll
  for (int k = 0; k < kColumns; ++k) v.v[k] = from[k];
  store16(to, v);
}

// A separable filter as it is correlated.
template <int n>
struct Weights {
  float w[n];

  __device__ __forceinline__ Weights(const void* f, bool is_flipped, bool is_negated) {
#pragma unroll
    for (int k = 0; k < n; ++k) {
      const float v = static_cast<const float*>(f)[is_flipped ? k : n - 1 - k];
      w[k] = is_negated ? -v : v;
    }
  }
};

// One thread's part of the slope codes that are made: a byte of each row.
template <class F>
struct CodesMade {
  uint8_t* at;
  int row, rows;  // rows: how many are this thread's
  unsigned mask;  // bits of columns that are there
  int64_t step;

  __device__ __forceinline__ CodesMade(const FilteredLreluParams& p, const Walker<F>& w) {
    const int first = w.lane * kColumns, left = w.x.wides - first;
    step = p.sign_bytes;
    row = -F::kSkip;  // those before 0 belong to the tile above
    mask = left >= 4 ? 0xffu : left > 0 ? (1u << (2 * left)) - 1 : 0;
    rows = p.mode == Signs::kWrite && w.is_live && first < w.x.owned && mask ? w.y.owned : 0;
    // Without codes, never used: the output, because a null pointer has no neighbours.
    at = (p.signs ? p.signs : static_cast<uint8_t*>(p.out)) +
         (int64_t(w.plane) * p.sign_rows + w.y.wide + row) * step + w.x.wide / 4 + w.lane;
  }

  __device__ __forceinline__ void write(unsigned made) {
    if (unsigned(row) < unsigned(rows)) *at = uint8_t(made & mask);
    ++row;
    at += step;
  }
};

// Those that are read, a step before they are used: four in two neighbouring bytes.
template <class F>
struct CodesGiven {
  const uint8_t* at;
  int row, rows, shift;
  bool has_low, has_high;
  int64_t step;
  unsigned next[F::kGroup];

  // The thread's first column is `skipped` before a multiple of 4 from the tile's first.
  __device__ __forceinline__ CodesGiven(const FilteredLreluParams& p, const Walker<F>& w,
                                        int skipped) {
    step = p.sign_bytes;
    row = w.y.wide + int(p.ay.sign_offset) - F::kSkip;
    rows = int(p.sign_rows);
    const int column = w.x.wide + w.lane * kColumns - skipped + int(p.ax.sign_offset);
    const int byte = floor_divide(column, 4);
    at = p.signs + (int64_t(w.plane) * p.sign_rows + row) * step + byte;
    has_low = byte >= 0 && byte < step && w.is_live;
    has_high = byte + 1 >= 0 && byte + 1 < step && w.is_live;
    shift = 2 * (column - 4 * byte);
  }

  __device__ __forceinline__ void fetch() {
#pragma unroll
    for (int t = 0; t < F::kGroup; ++t) {
      unsigned low = 0xaa, high = 0xaa;  // clamped, where there is none
      if (unsigned(row) < unsigned(rows)) {
        if (has_low) low = at[0];
        if (has_high) high = at[1];
      }
      next[t] = low | high << 8;
      ++row;
      at += step;
    }
  }
  __device__ __forceinline__ unsigned of(int t) const { return next[t] >> shift; }
};

// w of v, and its code: what it became of v when it was clamped is told apart only where one was.
__device__ __forceinline__ unsigned activate(float (&v)[kColumns], float slope, float clamp) {
  unsigned made = 0;
  float most = 0;
#pragma unroll
  for (int k = 0; k < kColumns; ++k) {
    if (!(v[k] > 0)) {
      v[k] *= slope;
      made |= unsigned(SlopeCode::kSlope) << (2 * k);
    }
    most = fmaxf(most, fabsf(v[k]));
  }
  if (most >= clamp) {  // a clamp that is NaN is none
#pragma unroll
    for (int k = 0; k < kColumns; ++k)
      if (fabsf(v[k]) >= clamp) {
        v[k] = v[k] < 0 ? -clamp : clamp;
        made = (made & ~(3u << (2 * k))) | unsigned(SlopeCode::kClamped) << (2 * k);
      }
  }
  return made;
}

__device__ __forceinline__ void apply_codes(float (&v)[kColumns], unsigned codes, float slope) {
#pragma unroll
  for (int k = 0; k < kColumns; ++k) {
    if (codes >> (2 * k) & 1) v[k] *= slope;
    if (codes >> (2 * k) & 2) v[k] = 0;
  }
}

// A thread's outputs, row by row.
template <class T, class F>
struct Outputs {
  T* at;
  int row, rows, count, width;

  __device__ __forceinline__ Outputs(const FilteredLreluParams& p, const Walker<F>& w) {
    const int first = w.lane * F::kOuts, left = w.is_live ? w.x.outs - first : 0;
    count = left > F::kOuts ? F::kOuts : left;
    row = -F::kLast;
    rows = left > 0 ? w.y.outs : 0;
    width = int(p.ax.out);
    at = static_cast<T*>(p.out) +
         ((int64_t(w.plane) * p.ay.out + w.y.out + row) * width + w.x.out + first);
  }
  __device__ __forceinline__ void store(const float (&y)[F::kOuts]) {
    if (unsigned(row) < unsigned(rows)) {
#pragma unroll
      for (int q = 0; q < F::kOuts; ++q)
        if (q == 0 || q < count) at[q] = narrow<T>(y[q]);
    }
    ++row;
    at += width;
  }
};

// Adds a row of w, the step's `t`-th, to the outputs under way.
template <class F, int n>
__device__ __forceinline__ void down_into(float (&sums)[F::kUnderWay][n], const float (&w)[n],
                                          int t, const Weights<F::kDownTaps>& g) {
#pragma unroll
  for (int d = 0; d < F::kUnderWay; ++d) {
    const int tap = t - F::kSkip - (d - F::kLast) * F::kDown;
    if (tap < 0 || tap >= F::kDownTaps) continue;
#pragma unroll
    for (int k = 0; k < n; ++k) sums[d][k] += g.w[tap] * w[k];
  }
}

template <class F, int n>
__device__ __forceinline__ void move_on(float (&sums)[F::kUnderWay][n]) {
#pragma unroll
  for (int d = 0; d < F::kUnderWay; ++d)
#pragma unroll
    for (int k = 0; k < n; ++k) sums[d][k] = d + F::kOut < F::kUnderWay ? sums[d + F::kOut][k] : 0;
}

// A thread's outputs of a row, whose first one begins `first` columns from its own.
template <class F, int first>
__device__ __forceinline__ void down_across(float (&y)[F::kOuts], const float* row,
                                            const Weights<F::kDownTaps>& g) {
  constexpr int kCount = first + (F::kOuts - 1) * F::kDown + F::kDownTaps;
  float c[kCount];
  load_numbers<kCount, 4>(c, row);
#pragma unroll
  for (int q = 0; q < F::kOuts; ++q) y[q] = 0;
#pragma unroll
  for (int k = 0; k < F::kDownTaps; ++k)
#pragma unroll
    for (int q = 0; q < F::kOuts; ++q) y[q] += g.w[k] * c[first + q * F::kDown + k];
}

}  // namespace fastgan::cuda
