// Planes (NCHW) through shared memory: a block stages the input of a tile of outputs, each thread
// filters a strip of kX × kY outputs, and the tile leaves again through shared memory.
//
// Rows of GANs are often odd (2H + 1 before a blur, H + 1 after one), so neither their width nor
// their padding may decide how memory is accessed. Global memory is read and written in aligned
// 16-byte chunks throughout: a staged row begins with as many elements of the chunk before it as
// its address is off alignment, and the strips, which read single elements, step over them.
#pragma once

#include "tiling.cuh"

namespace fastgan::cuda {
namespace {

// Rows in shared memory, each shifted by its address's distance from a 16-byte boundary.
template <class T>
struct StagedRows {
  int pitch;  // a multiple of kN, or the row's length where `step` is 0
  uint32_t first, step;

  // Row 0 is the one whose first element is p[offset]; only the offset's low bits matter.
  __device__ __forceinline__ StagedRows(const void* p, uint32_t offset, int width, int row_pitch)
      : pitch(row_pitch), first(uint32_t(uintptr_t(p) / sizeof(T)) + offset), step(width) {}
  __device__ __forceinline__ int shift(int row) const {
    return int((first + uint32_t(row) * step) & (Vec<T>::kN - 1));
  }
  __device__ __forceinline__ int at(int row) const { return row * pitch + shift(row); }
};

template <class T>
__device__ __forceinline__ StagedRows<T> staged_input(const Upfirdn2dParams& p, const Tiling& t,
                                                      const Tile& tile, int plane) {
  const uint32_t row = uint32_t(tile.plane + plane) * uint32_t(t.y.a.in) + uint32_t(tile.in_y);
  return {p.x, row * uint32_t(t.x.a.in) + uint32_t(tile.in_x), t.x.a.in, t.chunks * Vec<T>::kN};
}

template <class T>
__device__ __forceinline__ StagedRows<T> staged_output(const Upfirdn2dParams& p, const Tiling& t,
                                                       const Tile& tile) {
  const uint32_t row = uint32_t(tile.plane) * uint32_t(t.y.a.out) + uint32_t(tile.out_y);
  const uint32_t offset = row * uint32_t(t.x.a.out) + uint32_t(tile.out_x);
  if (t.is_flat) {
    StagedRows<T> rows{p.out, offset, 0, t.x.a.out};
    return rows;
  }
  return {p.out, offset, t.x.a.out, t.out_chunks * Vec<T>::kN};
}

// Where a chunk of staged input comes from: columns [column, column + kN) of a row of the tensor.
struct Source {
  int64_t at;  // the first of them, which may belong to another row or lie before the tensor
  int column;
  bool is_inside;  // the row exists and the chunk holds some of it
};

template <class T>
__device__ __forceinline__ Source source_of(const Upfirdn2dParams& p, const Tiling& t,
                                            const Tile& tile, int chunk) {
  constexpr int kN = Vec<T>::kN;
  const int row = int(t.by_chunks.divide(chunk)), plane = int(t.by_rows.divide(row));
  const int in_row = row - plane * t.rows, y = tile.in_y + in_row, width = t.x.a.in;
  const int shift = staged_input<T>(p, t, tile, plane).shift(in_row);
  Source s;
  s.column = tile.in_x - shift + (chunk - row * t.chunks) * kN;
  s.is_inside =
      plane < tile.planes && y >= 0 && y < t.y.a.in && s.column + kN > 0 && s.column < width;
  s.at = (tile.plane + plane) * t.y.a.in * width + s.column;
  if (s.is_inside) s.at += int64_t(NarrowIndex(y) * width);
  return s;
}

// Zeros stand where there is no input.
template <class T>
__device__ __forceinline__ void stage_input(T* staged, const Upfirdn2dParams& p, const Tiling& t,
                                            const Tile& tile) {
  constexpr int kN = Vec<T>::kN, kAtOnce = 4;  // loads in flight per thread
  const T* x = static_cast<const T*>(p.x);
  const int width = t.x.a.in, total = tile.planes * t.rows * t.chunks;
  const int64_t numel = t.planes * t.y.a.in * width;
  for (int first = threadIdx.x; first < total; first += kAtOnce * kTileThreads) {
    Vec<T> v[kAtOnce];
    unsigned cut = 0;  // which chunks reach over an end of the tensor
#pragma unroll
    for (int b = 0; b < kAtOnce; ++b) {
      *reinterpret_cast<uint4*>(&v[b]) = make_uint4(0, 0, 0, 0);
      const T zero = v[b].v[0];
      const Source s = source_of<T>(p, t, tile, first + b * kTileThreads);
      if (!s.is_inside) continue;
      if (s.at < 0 || s.at + kN > numel) {
        cut |= 1u << b;
        continue;
      }
      v[b] = load16(x + s.at);
      if (s.column >= 0 && s.column + kN <= width) continue;
#pragma unroll
      for (int k = 0; k < kN; ++k)
        if (s.column + k < 0 || s.column + k >= width) v[b].v[k] = zero;
    }
#pragma unroll
    for (int b = 0; b < kAtOnce; ++b)
      if (first + b * kTileThreads < total) store16(staged + (first + b * kTileThreads) * kN, v[b]);
#pragma unroll 1
    for (int i = first; cut != 0; i += kTileThreads, cut >>= 1) {
      if ((cut & 1) == 0) continue;
      const Source s = source_of<T>(p, t, tile, i);
#pragma unroll 1
      for (int k = 0; k < kN; ++k)
        if (s.column + k >= 0 && s.column + k < width) staged[i * kN + k] = x[s.at + k];
    }
  }
}

// kX × kY outputs by rows and columns: `from` is the strip's place in staged row 0. Calls
// store(j, values) with the kX values of row j.
template <class P, int kX, int kY, class T, class Store>
__device__ __forceinline__ void filter_separable(const T* from, const StagedRows<T>& rows, int row,
                                                 const compute_t<T>* fy, const compute_t<T>* fx,
                                                 Store&& store) {
  using A = compute_t<T>;
  constexpr int kRows = P::window(kY), kWindow = P::window(kX);
  A sums[kRows][kX];
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    A window[kWindow];
    const T* line = from + rows.at(row + r);
#pragma unroll
    for (int c = 0; c < kWindow; ++c) window[c] = load(line[c]);
#pragma unroll
    for (int o = 0; o < kX; ++o) {
      sums[r][o] = 0;
#pragma unroll
      for (int k = 0; k < P::kMet; ++k) sums[r][o] += fx[P::tap(o, k)] * window[P::first(o) + k];
    }
#pragma unroll
    for (int j = 0; j < kY; ++j) {
      if (P::window(j + 1) != r + 1) continue;
      A values[kX];
#pragma unroll
      for (int o = 0; o < kX; ++o) {
        values[o] = 0;
#pragma unroll
        for (int k = 0; k < P::kMet; ++k) values[o] += fy[P::tap(j, k)] * sums[P::first(j) + k][o];
      }
      store(j, values);
    }
  }
}

// The same with 4 × 4 taps that are no outer product.
template <class P, int kX, int kY, class T, class Store>
__device__ __forceinline__ void filter_square(const T* from, const StagedRows<T>& rows, int row,
                                              const compute_t<T>* grid, Store&& store) {
  using A = compute_t<T>;
  constexpr int kRows = P::window(kY), kWindow = P::window(kX);
  A window[kRows][kWindow];
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const T* line = from + rows.at(row + r);
#pragma unroll
    for (int c = 0; c < kWindow; ++c) window[r][c] = load(line[c]);
#pragma unroll
    for (int j = 0; j < kY; ++j) {
      if (P::window(j + 1) != r + 1) continue;
      A values[kX];
#pragma unroll
      for (int o = 0; o < kX; ++o) {
        values[o] = 0;
#pragma unroll
        for (int ky = 0; ky < P::kMet; ++ky)
#pragma unroll
          for (int kx = 0; kx < P::kMet; ++kx)
            values[o] += grid[P::tap(j, ky) * 4 + P::tap(o, kx)] *
                         window[P::first(j) + ky][P::first(o) + kx];
      }
      store(j, values);
    }
  }
}

// A few elements that travel as one access: as one integer, see store16.
template <class T, int kX>
struct alignas(kX * sizeof(T)) Word {
  T v[kX];
};

template <class T, int kX>
__device__ __forceinline__ void store_word(T* to, const Word<T, kX>& word) {
  if constexpr (sizeof(word) == 16) {
    store16(to, *reinterpret_cast<const Vec<T>*>(&word));
  } else if constexpr (sizeof(word) == 8) {
    const uint2 bits = *reinterpret_cast<const uint2*>(&word);
    *reinterpret_cast<uint64_t*>(to) = bits.x | uint64_t(bits.y) << 32;
  } else {
    *reinterpret_cast<uint32_t*>(to) = *reinterpret_cast<const uint32_t*>(&word);
  }
}

// Elements [0, kX) of a row at `to`, those in [begin, end): as one word where all are wanted and it
// is aligned.
template <class T, int kX>
__device__ __forceinline__ void store_strip(T* to, const compute_t<T> (&values)[kX], int begin,
                                            int end) {
  Word<T, kX> word;
#pragma unroll
  for (int k = 0; k < kX; ++k) word.v[k] = narrow<T>(values[k]);
  if (begin <= 0 && end >= kX && uintptr_t(to) % sizeof(word) == 0) {
    store_word(to, word);
    return;
  }
#pragma unroll
  for (int k = 0; k < kX; ++k)
    if (begin <= k && k < end) to[k] = word.v[k];
}

// Writes the staged tile: one run of memory, or one per row.
template <class T>
__device__ __forceinline__ void write_output(const T* staged, const Upfirdn2dParams& p,
                                             const Tiling& t, const Tile& tile,
                                             const StagedRows<T>& rows) {
  constexpr int kN = Vec<T>::kN;
  const int64_t plane_size = int64_t(t.y.a.out) * t.x.a.out;
  T* out = static_cast<T*>(p.out) + tile.plane * plane_size +
           int64_t(NarrowIndex(tile.out_y) * t.x.a.out + tile.out_x);
  const int length = t.is_flat ? tile.planes * tile.rows * tile.columns : tile.columns;
  const int chunks = t.is_flat ? (rows.shift(0) + length + kN - 1) / kN : t.out_chunks;
  const int total = t.is_flat ? chunks : chunks * tile.rows;
  for (int i = threadIdx.x; i < total; i += kTileThreads) {
    const int row = t.is_flat ? 0 : int(t.by_out_chunks.divide(i));
    const int begin = (i - row * chunks) * kN - rows.shift(row);
    if (begin >= length) continue;
    const T* from = staged + i * kN;
    T* to = out + int64_t(row) * t.x.a.out + begin;
    if (begin >= 0 && begin + kN <= length) {
      store16(to, load16(from));
      continue;
    }
    const int last = length - begin < kN ? length - begin : kN;
#pragma unroll 1
    for (int k = begin < 0 ? -begin : 0; k < last; ++k) to[k] = from[k];
  }
}

template <class T, int kUp, int kDown, int kTaps>
__global__ void __launch_bounds__(kTileThreads, 8) planes_kernel(Upfirdn2dParams p, Tiling t) {
  using A = compute_t<T>;
  using P = Polyphase<kUp, kDown, kTaps>;
  using Taps = std::conditional_t<kTaps == 4, SquareTaps<A>, WaveletTaps<A>>;
  constexpr int kX = Strip<T, kUp, kDown, kTaps>::kX, kY = Strip<T, kUp, kDown, kTaps>::kY;
  Taps& taps = shared<Taps>();
  T* staged = dynamic_shared<T>();
  T* results = staged + t.in_bytes / sizeof(T);
  const Tile tile = tile_of<kUp, kDown>(t, blockIdx.x);
  read_taps(taps, p);
  stage_input(staged, p, t, tile);
  __syncthreads();

  const StagedRows<T> out_rows = staged_output<T>(p, t, tile);
  const int plane = int(t.by_strips.divide(threadIdx.x));
  const int strip = int(threadIdx.x) - plane * t.x.strips * t.y.strips;
  const int strip_y = int(t.by_strips_x.divide(strip)), strip_x = strip - strip_y * t.x.strips;
  const int row = strip_y * kY - tile.lead_y, column = strip_x * kX - tile.lead_x;
  if (plane < tile.planes && row < tile.rows && column < tile.columns) {
    const auto store = [&](int j, const A(&values)[kX]) {
      if (row + j < 0 || row + j >= tile.rows) return;
      T* to = results + out_rows.at(plane * tile.rows + row + j) + column;
      store_strip<T, kX>(to, values, -column, tile.columns - column);
    };
    const StagedRows<T> rows = staged_input<T>(p, t, tile, plane);
    const T* from = staged + plane * t.rows * rows.pitch + strip_x * P::advance(kX);
    const int in_row = strip_y * P::advance(kY);
    if constexpr (kTaps == 12) {
      const A gain = A(p.gain);
      filter_separable<P, kX, kY>(from, rows, in_row, taps.line, taps.line,
                                  [&](int j, A(&values)[kX]) {
#pragma unroll
                                    for (int o = 0; o < kX; ++o) values[o] *= gain;
                                    store(j, values);
                                  });
    } else if (taps.is_separable) {
      filter_separable<P, kX, kY>(from, rows, in_row, taps.y, taps.x, store);
    } else {
      filter_square<P, kX, kY>(from, rows, in_row, taps.grid, store);
    }
  }
  __syncthreads();
  write_output(results, p, t, tile, out_rows);
}

template <class T, int kUp, int kDown, int kTaps>
int launch_planes(const Upfirdn2dParams& p, cudaStream_t stream) {
  const Tiling t = plan_tiles<T, kUp, kDown, kTaps>(p);
  const int64_t groups = (t.planes + t.planes_per_block - 1) / t.planes_per_block;
  launch(planes_kernel<T, kUp, kDown, kTaps>, dim3(unsigned(groups * t.y.tiles * t.x.tiles)),
         dim3(kTileThreads), t.in_bytes + t.out_bytes, stream, p, t);
  return last_error();
}

}  // namespace
}  // namespace fastgan::cuda
