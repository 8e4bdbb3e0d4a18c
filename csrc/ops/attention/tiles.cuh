// SPDX-License-Identifier: Apache-2.0
// What the kernels of attention are made of. A block of 256 threads owns kTile rows of one side,
// queries or keys, and walks along the rows of the other, kTile at a time. A thread has kN × kN
// elements of a tile: rows `down() + 16 i`, columns `across() + 16 j`; of an output, channels
// `kN across() + j`. Shared memory holds both kinds of rows, kChunk channels at a time, in the
// compute type, and the tile where it is a factor itself.
#pragma once

#include "../../common/run.cuh"
#include "attention.h"

namespace fastgan::cuda {

// float: 4 × 4 of 64 × 64, and 32 channels; double: 2 × 2 of 32 × 32, and 16.
template <class A>
struct TileSize {
  static constexpr int kN = Vec<A>::kN, kTile = 16 * kN, kChunk = 8 * kN;
};

template <class A>
struct Tile {
  A v[TileSize<A>::kN][TileSize<A>::kN];
};

// A row of kChunk channels and one run more: 16 rows then start in all banks. The rows of the tile
// that a warp writes, two at once, start 16 values apart.
template <class A>
struct TileMemory {
  using Size = TileSize<A>;
  alignas(16) A rows[2][Size::kTile][Size::kChunk + Size::kN];
  A tile[Size::kTile][Size::kTile + 16];
};

__device__ __forceinline__ int across() { return threadIdx.x % 16; }
__device__ __forceinline__ int down() { return threadIdx.x / 16; }

// The rows of one item of the batch.
template <class T>
struct Rows {
  const T* x;  // [count, channels]
  int count, channels;
  bool is_wide;  // every row starts at a multiple of 16 bytes
};

template <class T>
__device__ __forceinline__ Rows<T> rows_of(const void* x, int64_t item, int64_t count,
                                           int64_t channels, bool is_wide) {
  return {static_cast<const T*>(x) + item * count * channels, int(count), int(channels), is_wide};
}

// Copies rows from `first` on and channels from `from` on, kWidth of them, to `to`: zeros outside.
// kRun adjacent channels at once.
template <int kWidth, int kStride, int kRun, class T>
__device__ __forceinline__ void stage_runs(compute_t<T>* to, const Rows<T>& rows, int first,
                                           int from) {
  using A = compute_t<T>;
  constexpr int kTile = TileSize<A>::kTile, kRuns = kWidth / kRun;
#pragma unroll 1
  for (int k = 0; k < kTile * kRuns / kThreads; ++k) {
    const int run = threadIdx.x + k * kThreads, row = run / kRuns, channel = run % kRuns * kRun;
    const bool is_inside = first + row < rows.count && from + channel < rows.channels;
    const T* place = rows.x + int64_t(first + row) * rows.channels + (from + channel);
    A* target = to + row * kStride + channel;
    if constexpr (sizeof(T) == sizeof(A)) {
      copy_async<kRun * sizeof(T)>(target, place, is_inside);
    } else {
      Run<A, kRun> values{};
      if (is_inside) {
        const Run<T, kRun> found = load_run<kRun>(place);
#pragma unroll
        for (int i = 0; i < kRun; ++i) values.v[i] = load(found.v[i]);
      }
      store_run(target, values);
    }
  }
}

template <int kWidth, int kStride, class T>
__device__ __forceinline__ void stage(compute_t<T>* to, const Rows<T>& rows, int first, int from) {
  if (rows.is_wide)
    stage_runs<kWidth, kStride, Vec<T>::kN>(to, rows, first, from);
  else
    stage_runs<kWidth, kStride, 1>(to, rows, first, from);
}

// What is staged is there for every thread.
__device__ __forceinline__ void end_staging() {
  wait_for_copies();
  __syncthreads();
}

// tile += own · otherᵀ, from the rows `own_first` and `other_first` on.
template <class T>
__device__ __forceinline__ void add_dots(TileMemory<compute_t<T>>& memory, Tile<compute_t<T>>& tile,
                                         const Rows<T>& own, int own_first, const Rows<T>& other,
                                         int other_first) {
  using A = compute_t<T>;
  constexpr int kN = TileSize<A>::kN, kChunk = TileSize<A>::kChunk, kStride = kChunk + kN;
#pragma unroll 1
  for (int from = 0; from < own.channels; from += kChunk) {
    __syncthreads();  // every thread has done with the rows before
    stage<kChunk, kStride>(&memory.rows[0][0][0], own, own_first, from);
    stage<kChunk, kStride>(&memory.rows[1][0][0], other, other_first, from);
    end_staging();
    const int end = min(kChunk, own.channels - from);
#pragma unroll 1
    for (int channel = 0; channel < end; channel += kN) {
      Run<A, kN> b[kN];
#pragma unroll
      for (int j = 0; j < kN; ++j) b[j] = load_run<kN>(&memory.rows[1][across() + 16 * j][channel]);
#pragma unroll
      for (int i = 0; i < kN; ++i) {
        const Run<A, kN> a = load_run<kN>(&memory.rows[0][down() + 16 * i][channel]);
#pragma unroll
        for (int j = 0; j < kN; ++j)
#pragma unroll
          for (int k = 0; k < kN; ++k) tile.v[i][j] += a.v[k] * b[j].v[k];
      }
    }
  }
}

// Calls f(element, its row and column among the kN × kN of the thread).
template <class A, class F>
__device__ __forceinline__ void for_tile(Tile<A>& tile, F&& f) {
  constexpr int kN = TileSize<A>::kN;
#pragma unroll
  for (int i = 0; i < kN; ++i)
#pragma unroll
    for (int j = 0; j < kN; ++j) f(tile.v[i][j], i, j);
}

template <class A>
__device__ __forceinline__ void multiply(Tile<A>& tile, const Tile<A>& factors) {
  for_tile(tile, [&](A& v, int i, int j) { v *= factors.v[i][j]; });
}

template <class A>
__device__ __forceinline__ void put_tile(TileMemory<A>& memory, const Tile<A>& tile) {
  constexpr int kN = TileSize<A>::kN;
#pragma unroll
  for (int i = 0; i < kN; ++i)
#pragma unroll
    for (int j = 0; j < kN; ++j) memory.tile[down() + 16 * i][across() + 16 * j] = tile.v[i][j];
}

// kTile channels of the rows of the other side, from `channel` on, in the place of both rows.
template <class T>
__device__ __forceinline__ void put_values(TileMemory<compute_t<T>>& memory, const Rows<T>& other,
                                           int first, int channel) {
  constexpr int kTile = TileSize<compute_t<T>>::kTile;
  stage<kTile, kTile>(&memory.rows[0][0][0], other, first, channel);
}

// out += (the tile in shared memory) · (the values in shared memory), over `count` columns.
template <class A>
__device__ __forceinline__ void add_product(const TileMemory<A>& memory, Tile<A>& out, int count) {
  constexpr int kN = TileSize<A>::kN, kTile = TileSize<A>::kTile;
  const A* values = &memory.rows[0][0][0] + kN * across();
  const int end = min(kTile, count);
#pragma unroll 1
  for (int column = 0; column < end; column += kN) {
    Run<A, kN> x[kN];
#pragma unroll
    for (int k = 0; k < kN; ++k) x[k] = load_run<kN>(values + (column + k) * kTile);
#pragma unroll
    for (int i = 0; i < kN; ++i) {
      const Run<A, kN> a = load_run<kN>(&memory.tile[down() + 16 * i][column]);
#pragma unroll
      for (int k = 0; k < kN; ++k)
#pragma unroll
        for (int j = 0; j < kN; ++j) out.v[i][j] += a.v[k] * x[k].v[j];
    }
  }
}

// out += tile · (the rows of `other` from `first` on, channels from `channel` on).
template <class T>
__device__ __forceinline__ void add_tile(TileMemory<compute_t<T>>& memory, Tile<compute_t<T>>& out,
                                         const Tile<compute_t<T>>& tile, const Rows<T>& other,
                                         int first, int channel) {
  __syncthreads();  // every thread has done with the rows and with the tile before
  put_tile(memory, tile);
  put_values(memory, other, first, channel);
  end_staging();
  add_product(memory, out, other.count - first);
}

// The sum of `v` over the threads that share rows, the same in each of them.
template <class A>
__device__ __forceinline__ A sum_across(A v) {
#pragma unroll
  for (int offset = 8; offset > 0; offset >>= 1) v += __shfl_xor_sync(0xffffffffu, v, offset);
  return v;
}

// Which elements of a tile count: those inside whose mask says so.
struct Counting {
  const unsigned char* mask;  // of this item of the batch, or null
  int64_t row_step, column_step;
  int rows, columns;

  __device__ __forceinline__ bool operator()(int row, int column) const {
    if (row >= rows || column >= columns) return false;
    return !mask || mask[row * row_step + column * column_step] != 0;
  }
};

// Rows are queries, or, where is_swapped, keys.
template <bool is_swapped>
__device__ __forceinline__ Counting counting_of(const AttentionShape& s, int64_t item) {
  const unsigned char* mask = static_cast<const unsigned char*>(s.mask);
  if (mask) mask += item / s.items_per_mask * s.mask_item;
  if (is_swapped) return {mask, s.mask_key, s.mask_query, int(s.keys), int(s.queries)};
  return {mask, s.mask_query, s.mask_key, int(s.queries), int(s.keys)};
}

// to[row, channel …] = scale · out, where inside; to: one item, [count, channels].
template <class T>
__device__ __forceinline__ void store_out(void* to, int64_t item, int64_t count, int64_t channels,
                                          bool is_wide, int first, int channel,
                                          const Tile<compute_t<T>>& out, compute_t<T> scale) {
  using A = compute_t<T>;
  constexpr int kN = TileSize<A>::kN;
  T* x = static_cast<T*>(to) + item * count * channels;
  const int c = channel + kN * across();
#pragma unroll
  for (int i = 0; i < kN; ++i) {
    const int row = first + down() + 16 * i;
    if (row >= count) continue;
    T* place = x + int64_t(row) * channels + c;
    if constexpr (sizeof(T) == sizeof(A)) {
      if (is_wide) {
        Run<T, kN> run;
#pragma unroll
        for (int j = 0; j < kN; ++j) run.v[j] = narrow<T>(scale * out.v[i][j]);
        if (c < channels) store_run(place, run);
        continue;
      }
    }
#pragma unroll
    for (int j = 0; j < kN; ++j)
      if (c + j < channels) place[j] = narrow<T>(scale * out.v[i][j]);
  }
}

__device__ __forceinline__ float exponential(float v) { return expf(v); }
__device__ __forceinline__ double exponential(double v) { return exp(v); }
__device__ __forceinline__ float logarithm(float v) { return logf(v); }
__device__ __forceinline__ double logarithm(double v) { return log(v); }

template <class A>
__device__ __forceinline__ A infinity() {
  return A(__builtin_huge_val());
}

// Where a block is: its item of the batch, the first row that it owns, the first channel of its
// outputs. A launch begins at item `first`.
struct Place {
  int64_t item;
  int row, channel;
};

template <class A>
__device__ __forceinline__ Place place_of(int64_t first, int rows) {
  constexpr int kTile = TileSize<A>::kTile;
  const int tiles = (rows + kTile - 1) / kTile, item = int(blockIdx.x) / tiles;
  return {first + item, (int(blockIdx.x) - item * tiles) * kTile, int(blockIdx.y) * kTile};
}

// A number of each of the rows, which are `step` apart, that a thread has: 0 for those outside.
template <class A>
struct OfRows {
  A v[TileSize<A>::kN];

  __device__ __forceinline__ OfRows(const void* x, int64_t item, int rows, int first) {
    const A* own = static_cast<const A*>(x) + item * rows;
#pragma unroll
    for (int i = 0; i < TileSize<A>::kN; ++i)
      v[i] = first + 16 * i < rows ? own[first + 16 * i] : A(0);
  }
  // The sum over the parts of x, which lie `part` apart.
  __device__ __forceinline__ OfRows(const void* x, int64_t item, int rows, int first, int64_t parts,
                                    int64_t part)
      : OfRows(x, item, rows, first) {
    for (int64_t n = 1; n < parts; ++n) {
      const OfRows more(static_cast<const A*>(x) + n * part, item, rows, first);
#pragma unroll
      for (int i = 0; i < TileSize<A>::kN; ++i) v[i] += more.v[i];
    }
  }
};

// p from s of one element; 0 where it does not count, whatever s is there.
template <class A>
__device__ __forceinline__ A probability(A s, A scale, A lse, bool counts) {
  return counts ? exponential(scale * s - lse) : A(0);
}

}  // namespace fastgan::cuda
