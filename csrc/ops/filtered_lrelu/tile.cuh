// SPDX-License-Identifier: Apache-2.0
// What a block of filtered_lrelu holds on the chip, and the steps that are the same whatever the
// filters: loading x, the activation with its slope codes, storing y.
//
// A block makes a tile of one plane's outputs. Buffers in shared memory, rows of odd pitch so that
// lanes one above the other meet different banks:
//   x  [in.y, in.x]       u, 0 outside of the plane
//   h  [in.y, wide.x]     separable: filtered along x
//   v  [wide.y, wide.x]   filtered along both axes, then w
//   d  [out.y, wide.x]    separable: w filtered along y   (in place of x and h)
//   y  [out.y, out.x]                                     (after d)
#pragma once

#include "../../common/platform.cuh"
#include "filtered_lrelu.h"

namespace fastgan::cuda {

struct Pair {
  int x, y;
};

// The same for every block of a launch.
struct Tiling {
  Pair out, tiles, wide, in;
  int first;  // numbers before v: of x and h, or of d and y
};

__host__ __device__ constexpr int pitch_of(int n) { return n | 1; }

__device__ __forceinline__ int floor_divide(int a, int b) {
  return a >= 0 ? a / b : -((-a + b - 1) / b);
}

// One axis of one tile. Row or column c of v's buffer is v[start + c].
struct Span {
  int out, outs;  // the first output and how many there are
  int wide;       // the first v that they need
  int wides;      // how many
  int origin;     // its place in the buffer
  int in;         // x's index at place 0
  int owned;      // how many v have their codes written by this tile
};
__device__ __forceinline__ Span span_of(const FilteredAxis& a, int up, int down, int tile,
                                        int tiles, int index) {
  Span s;
  s.out = index * tile;
  const bool is_last = index == tiles - 1;
  s.outs = is_last ? int(a.out) - s.out : tile;
  s.wide = s.out * down;
  s.wides = (s.outs - 1) * down + int(a.down_taps);
  s.owned = is_last ? s.wides : tile * down;
  const int top = s.wide - int(a.pad);
  s.in = floor_divide(top, up);
  s.origin = top - s.in * up;
  return s;
}

template <class T>
struct Block {
  using A = compute_t<T>;
  Span x, y;
  int64_t plane;
  A *in, *across, *wide, *down, *result;  // x, h, v, d and y of the head of this file
  int in_pitch, wide_pitch, out_pitch;

  __device__ __forceinline__ Block(const FilteredLreluParams& p, const Tiling& t) {
    const unsigned tiles = unsigned(t.tiles.x) * unsigned(t.tiles.y);
    plane = blockIdx.x / tiles;
    const int tile = int(blockIdx.x - unsigned(plane) * tiles), row = tile / t.tiles.x;
    y = span_of(p.ay, int(p.up), int(p.down), t.out.y, t.tiles.y, row);
    x = span_of(p.ax, int(p.up), int(p.down), t.out.x, t.tiles.x, tile - row * t.tiles.x);
    in_pitch = pitch_of(t.in.x);
    wide_pitch = pitch_of(t.wide.x);
    out_pitch = pitch_of(t.out.x);
    in = down = dynamic_shared<A>();
    across = in + t.in.y * in_pitch;
    result = down + t.out.y * wide_pitch;
    wide = in + t.first;
  }
};

template <class T>
__device__ __forceinline__ void load_tile(const FilteredLreluParams& p, const Tiling& t,
                                          const Block<T>& b) {
  using A = compute_t<T>;
  const int height = int(p.ay.in), width = int(p.ax.in);
  const T* x = static_cast<const T*>(p.x) + b.plane * height * width;
  const A bias =
      p.b ? A(load(static_cast<const T*>(p.b)[unsigned(b.plane) % unsigned(p.channels)])) : A(0);
  for (int i = threadIdx.x; i < t.in.x * t.in.y; i += kThreads) {
    const int row = i / t.in.x, column = i - row * t.in.x;
    const int iy = b.y.in + row, ix = b.x.in + column;
    const bool is_in = iy >= 0 && iy < height && ix >= 0 && ix < width;
    b.in[row * b.in_pitch + column] = is_in ? A(load(x[int64_t(iy) * width + ix])) + bias : A(0);
  }
}

template <class A>
__device__ __forceinline__ A clamped(A w, A clamp) {  // a clamp that is NaN is none
  w = w > clamp ? clamp : w;
  return w < -clamp ? -clamp : w;
}

// v becomes w; codes are written or read. A thread has four columns, whose codes are one byte.
template <class T>
__device__ __forceinline__ void activate_tile(const FilteredLreluParams& p, const Block<T>& b) {
  using A = compute_t<T>;
  const A gain = A(p.gain), slope = A(p.slope), clamp = A(p.clamp);
  const bool is_read = p.mode == Signs::kRead, is_written = p.mode == Signs::kWrite;
  const int sign_x = b.x.wide + int(p.ax.sign_offset), sign_y = b.y.wide + int(p.ay.sign_offset);
  const int first = floor_divide(sign_x, 4);
  // Codes of what lies between two outputs' taps are nobody's, and 0.
  const int columns = is_written && b.x.owned > b.x.wides ? b.x.owned : b.x.wides;
  const int rows = is_written && b.y.owned > b.y.wides ? b.y.owned : b.y.wides;
  const int bytes = floor_divide(sign_x + columns - 1, 4) - first + 1;
  uint8_t* signs = p.signs ? p.signs + b.plane * p.sign_rows * p.sign_bytes : nullptr;
  for (int i = threadIdx.x; i < rows * bytes; i += kThreads) {
    const int row = i / bytes, byte = first + i - row * bytes, sign_row = sign_y + row;
    const bool has_byte =
        sign_row >= 0 && sign_row < p.sign_rows && byte >= 0 && byte < p.sign_bytes;
    uint8_t* at = has_byte && signs ? signs + sign_row * p.sign_bytes + byte : nullptr;
    const unsigned given = is_read && at ? *at : 0xaau;  // clamped, where there is none
    unsigned made = 0;
    A* to = b.wide + (b.y.origin + row) * b.wide_pitch + b.x.origin;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const int column = 4 * byte + k - sign_x;
      if (row >= b.y.wides || column < 0 || column >= b.x.wides) continue;
      const A v = to[column];
      if (is_read) {
        const unsigned code = given >> (2 * k) & 3;
        to[column] = code == unsigned(SlopeCode::kOne)     ? v
                     : code == unsigned(SlopeCode::kSlope) ? v * slope
                                                           : A(0);
        continue;
      }
      const A w = gain * (v > 0 ? v : slope * v);
      const unsigned sign = unsigned(v > 0 ? SlopeCode::kOne : SlopeCode::kSlope);
      made |= (w >= clamp || w <= -clamp ? unsigned(SlopeCode::kClamped) : sign) << (2 * k);
      to[column] = clamped(w, clamp);
    }
    if (is_written && at && row < b.y.owned && 4 * byte - sign_x < b.x.owned) *at = uint8_t(made);
  }
}

template <class T>
__device__ __forceinline__ void store_tile(const FilteredLreluParams& p, const Block<T>& b) {
  const int width = int(p.ax.out);
  T* y = static_cast<T*>(p.out) + (b.plane * p.ay.out + b.y.out) * width + b.x.out;
  for (int i = threadIdx.x; i < b.y.outs * b.x.outs; i += kThreads) {
    const int row = i / b.x.outs, column = i - row * b.x.outs;
    y[int64_t(row) * width + column] = narrow<T>(b.result[row * b.out_pitch + column]);
  }
}

}  // namespace fastgan::cuda
