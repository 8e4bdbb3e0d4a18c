// SPDX-License-Identifier: Apache-2.0
// How the planes of a tensor are cut into tiles, one per block, and tiles into strips, one per
// thread. Decided by the shape alone.
#pragma once

#include <algorithm>

#include "polyphase.cuh"

namespace fastgan::cuda {

constexpr int kTileThreads = 128;
constexpr int kMostStripsAcross = 32;
constexpr int kTileBytes = 32 * 1024;  // of shared memory at most: 5 blocks fit (A100), 7 (H100)

struct TiledAxis {
  Phased a;
  int strips, size, tiles;  // strips and outputs per tile
};

struct Tiling {
  TiledAxis x, y;
  int64_t planes;
  int planes_per_block;     // several only where one tile holds a plane
  int rows, chunks;         // staged input per plane, and 16-byte chunks per row of it
  int out_chunks;           // per row of staged output that is not flat
  int out_pitch;            // elements from one row of staged output to the next
  int in_bytes, out_bytes;  // of shared memory, in this order
  int strip_rows;           // of output
  bool is_flat;             // tiles are as wide as planes: what a block writes is one run of memory
  bool is_direct;           // outputs go straight to their aligned places in global memory
  Divisor<uint32_t> by_tiles_x, by_tiles_y, by_strips_x, by_strips, by_chunks, by_rows,
      by_out_chunks;
};

// What one block does.
struct Tile {
  int64_t plane;
  int planes;
  int in_y, in_x;      // input that meets the first strip's first tap; may lie outside
  int out_y, out_x;    // first output
  int lead_y, lead_x;  // outputs of the first strip that come before it
  int rows, columns;   // of output
};

// Outputs [first, first + count) of a tile along one axis, `lead` after its first strip's first.
__device__ __forceinline__ void span_of(const TiledAxis& t, int tile, int& first, int& count,
                                        int& lead) {
  const int begin = tile * t.size - t.a.lead;
  first = begin < 0 ? 0 : begin;
  lead = first - begin;
  count = (begin + t.size < t.a.out ? begin + t.size : t.a.out) - first;
}

template <int kUp, int kDown>
__device__ __forceinline__ Tile tile_of(const Tiling& t, uint32_t block) {
  const uint32_t row = t.by_tiles_x.divide(block), group = t.by_tiles_y.divide(row);
  const int x = int(block - row * t.x.tiles), y = int(row - group * t.y.tiles);
  Tile r;
  r.plane = int64_t(group) * t.planes_per_block;
  r.planes = t.planes - r.plane < t.planes_per_block ? int(t.planes - r.plane) : t.planes_per_block;
  span_of(t.x, x, r.out_x, r.columns, r.lead_x);
  span_of(t.y, y, r.out_y, r.rows, r.lead_y);
  r.in_x = x * (t.x.size / kUp * kDown) - t.x.a.origin;
  r.in_y = y * (t.y.size / kUp * kDown) - t.y.a.origin;
  return r;
}

// Which strip of its block a thread takes; `plane` may lie behind the last one.
struct Place {
  int plane, strip_y, strip_x;
};
__device__ __forceinline__ Place place_of(const Tiling& t) {
  Place r;
  r.plane = int(t.by_strips.divide(threadIdx.x));
  const int strip = int(threadIdx.x) - r.plane * t.x.strips * t.y.strips;
  r.strip_y = int(t.by_strips_x.divide(strip));
  r.strip_x = strip - r.strip_y * t.x.strips;
  return r;
}

// Strips of `strip` outputs, dealt evenly to as few tiles as hold `most` at most.
inline TiledAxis tiled(const Phased& axis, int strip, int most) {
  TiledAxis t{axis, 0, 0, 0};
  const int all = (axis.out + axis.lead + strip - 1) / strip;
  const int tiles = (all + most - 1) / most;
  t.strips = (all + tiles - 1) / tiles;
  t.size = t.strips * strip;
  t.tiles = (all + t.strips - 1) / t.strips;
  return t;
}

// 16-byte chunks that hold n elements wherever the first of them lies in its chunk.
template <class T>
int chunks_of(int n) {
  constexpr int kN = 16 / sizeof(T);
  return (n + 2 * (kN - 1)) / kN;
}

// How tiles of output lie in shared memory, given t.x and t.is_flat.
template <class T>
void set_output(Tiling& t) {
  constexpr int kN = 16 / sizeof(T);
  t.out_chunks = t.is_flat ? 1 : chunks_of<T>(t.x.size);
  // As far off a multiple of 16 bytes as from one row of the tensor to the next.
  t.out_pitch = t.is_flat ? t.x.a.out : t.x.size + ((t.x.a.out - t.x.size) & (kN - 1));
}

// Of staged output of a block that takes so many planes.
template <class T>
int staged_chunks(const Tiling& t, int planes) {
  return chunks_of<T>(planes * std::min(t.y.size, t.y.a.out) * t.out_pitch);
}

inline void set_divisors(Tiling& t) {
  t.by_tiles_x = Divisor<uint32_t>(t.x.tiles);
  t.by_tiles_y = Divisor<uint32_t>(t.y.tiles);
  t.by_strips_x = Divisor<uint32_t>(t.x.strips);
  t.by_strips = Divisor<uint32_t>(t.x.strips * t.y.strips);
  t.by_out_chunks = Divisor<uint32_t>(t.out_chunks);
}

inline int64_t blocks_of(const Tiling& t) {
  const int64_t groups = (t.planes + t.planes_per_block - 1) / t.planes_per_block;
  return groups * t.y.tiles * t.x.tiles;
}

}  // namespace fastgan::cuda
