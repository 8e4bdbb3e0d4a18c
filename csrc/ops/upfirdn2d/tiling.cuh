// How the planes of a tensor are cut into tiles, one per block, and tiles into strips, one per
// thread. Decided by the shape alone.
#pragma once

#include <algorithm>

#include "polyphase.cuh"

namespace fastgan::cuda {

constexpr int kTileThreads = 128;
constexpr int kMostStripsAcross = 32;
constexpr int kTileBytes = 32 * 1024;   // of shared memory at most: 5 blocks fit (A100), 7 (H100)
constexpr int kEnoughBlocks = 2 * 132;  // before a block takes several small planes

struct TiledAxis {
  Phased a;
  int strips, size, tiles;  // strips and outputs per tile
};

struct Tiling {
  TiledAxis x, y;
  int64_t planes;
  int planes_per_block;     // several only where one tile holds a plane
  int rows, chunks;         // staged input per plane, and 16-byte chunks per row of it
  int out_chunks;           // per row of staged output; 0 where is_flat
  int in_bytes, out_bytes;  // of shared memory, in this order
  bool is_flat;             // tiles are as wide as planes: what a block writes is one run of memory
  Divisor<uint32_t> by_tiles_x, by_tiles_y, by_strips_x, by_strips, by_chunks, by_rows,
      by_out_chunks;
};

// Outputs across and down that a thread makes: from 8 bytes of input across, so that neighbours
// read shared memory two words apart; 12 taps leave registers for 4 at most.
template <class T, int kUp, int kDown, int kTaps>
struct Strip {
  static constexpr int kWide = 8 / int(sizeof(T)) * kUp / kDown;
  static constexpr int kX = kTaps == 12 && kWide > 4 ? 4 : kWide;
  static constexpr int kY = kTaps == 4 && kUp == 2 ? 4 : 8;
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

// Strips of `strip` outputs, dealt evenly to as few tiles as hold `most` at most.
inline TiledAxis tiled(const Axis& axis, int strip, int most) {
  TiledAxis t{Phased(axis), 0, 0, 0};
  const int all = (t.a.out + t.a.lead + strip - 1) / strip;
  const int tiles = (all + most - 1) / most;
  t.strips = (all + tiles - 1) / tiles;
  t.size = t.strips * strip;
  t.tiles = (all + t.strips - 1) / t.strips;
  return t;
}

template <class T, int kUp, int kDown, int kTaps>
Tiling plan_tiles(const Upfirdn2dParams& p) {
  using P = Polyphase<kUp, kDown, kTaps>;
  constexpr int kX = Strip<T, kUp, kDown, kTaps>::kX, kY = Strip<T, kUp, kDown, kTaps>::kY;
  constexpr int kN = Vec<T>::kN;
  // Chunks that hold n elements wherever the first of them lies in its chunk.
  const auto chunks_of = [](int n) { return (n + 2 * (kN - 1)) / kN; };
  Tiling t{};
  t.planes = p.n * p.c;
  t.x = tiled(p.ax, kX, kMostStripsAcross);
  t.is_flat = t.x.tiles == 1;
  t.chunks = chunks_of(P::window(t.x.size));
  t.out_chunks = t.is_flat ? 0 : chunks_of(t.x.size);
  // Of a block that takes so many planes.
  const auto in_chunks = [&](int planes) { return planes * t.rows * t.chunks; };
  const auto out_chunks = [&](int planes) {
    const int rows = planes * std::min(t.y.size, t.y.a.out);
    return t.is_flat ? chunks_of(rows * t.x.a.out) : rows * t.out_chunks;
  };
  const auto fits = [&](int planes) {
    return (in_chunks(planes) + out_chunks(planes)) * 16 <= kTileBytes;
  };
  for (int most = kTileThreads / t.x.strips; most > 0; most /= 2) {
    t.y = tiled(p.ay, kY, most);
    t.rows = P::window(t.y.size);
    if (fits(1)) break;
  }
  t.planes_per_block = 1;
  if (t.x.tiles == 1 && t.y.tiles == 1) {
    const int64_t most =
        std::min<int64_t>(t.planes / kEnoughBlocks, kTileThreads / (t.x.strips * t.y.strips));
    while (t.planes_per_block < most && fits(t.planes_per_block + 1)) ++t.planes_per_block;
  }
  t.in_bytes = in_chunks(t.planes_per_block) * 16;
  t.out_bytes = out_chunks(t.planes_per_block) * 16;
  t.by_tiles_x = Divisor<uint32_t>(t.x.tiles);
  t.by_tiles_y = Divisor<uint32_t>(t.y.tiles);
  t.by_strips_x = Divisor<uint32_t>(t.x.strips);
  t.by_strips = Divisor<uint32_t>(t.x.strips * t.y.strips);
  t.by_chunks = Divisor<uint32_t>(t.chunks);
  t.by_rows = Divisor<uint32_t>(t.rows);
  t.by_out_chunks = Divisor<uint32_t>(t.is_flat ? 1 : t.out_chunks);
  return t;
}

}  // namespace fastgan::cuda
