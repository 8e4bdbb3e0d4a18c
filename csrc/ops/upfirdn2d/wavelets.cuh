// SPDX-License-Identifier: Apache-2.0
// 12 taps along planes (NCHW), the wavelets of augmentation: a block stages the input of a tile of
// outputs in shared memory, each thread filters a strip of kX × kY outputs, and the tile leaves
// again through shared memory. The strips, which read single elements, step over what stands before
// a staged row.
#pragma once

#include "staged_output.cuh"

namespace fastgan::cuda {
namespace {

// Outputs across and down that a thread makes: from 8 bytes of input across, so that neighbours
// read shared memory two words apart, but 4 at most, for which there are registers.
template <class T, int kUp, int kDown>
struct WaveletStrip {
  static constexpr int kWide = 8 / int(sizeof(T)) * kUp / kDown;
  static constexpr int kX = kWide > 4 ? 4 : kWide, kY = 8;
};

// Rows in shared memory, each shifted by its address's distance from a 16-byte boundary.
template <class T>
struct StagedRows {
  int pitch;  // a multiple of kN
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

template <class T, int kUp, int kDown>
__global__ void __launch_bounds__(kTileThreads, 8) wavelet_kernel(Upfirdn2dParams p, Tiling t) {
  using A = compute_t<T>;
  using P = Polyphase<kUp, kDown, 12>;
  using Strip = WaveletStrip<T, kUp, kDown>;
  constexpr int kX = Strip::kX, kY = Strip::kY;
  WaveletTaps<A>& taps = shared<WaveletTaps<A>>();
  T* staged = dynamic_shared<T>();
  T* results = staged + t.in_bytes / sizeof(T);
  const Tile tile = tile_of<kUp, kDown>(t, blockIdx.x);
  read_taps(taps, p);
  stage_input(staged, p, t, tile);
  __syncthreads();

  const StagedOutput staged_rows(p.out, sizeof(T), t, tile);
  const Place at = place_of(t);
  const int row = at.strip_y * kY - tile.lead_y, column = at.strip_x * kX - tile.lead_x;
  if (at.plane < tile.planes && row < tile.rows && column < tile.columns) {
    const StagedRows<T> rows = staged_input<T>(p, t, tile, at.plane);
    const T* from = staged + at.plane * t.rows * rows.pitch + at.strip_x * P::advance(kX);
    const A gain = A(p.gain);
    filter_separable<P, kX, kY>(
        from, rows, at.strip_y * P::advance(kY), taps.line, taps.line, [&](int j, A(&values)[kX]) {
          if (row + j < 0 || row + j >= tile.rows) return;
#pragma unroll
          for (int o = 0; o < kX; ++o) values[o] *= gain;
          T* to = results + staged_rows.at(at.plane * tile.rows + row + j) + column;
          store_strip<T, kX>(to, values, -column, tile.columns - column);
        });
  }
  __syncthreads();
  write_output(results, p, t, tile, staged_rows);
}

template <class T, int kUp, int kDown>
Tiling plan_wavelets(const Upfirdn2dParams& p) {
  using P = Polyphase<kUp, kDown, 12>;
  using Strip = WaveletStrip<T, kUp, kDown>;
  Tiling t{};
  t.planes = p.n * p.c;
  t.x = tiled(Phased(p.ax), Strip::kX, kMostStripsAcross);
  t.is_flat = t.x.tiles == 1;
  t.chunks = chunks_of<T>(P::window(t.x.size));
  set_output<T>(t);
  const auto in_chunks = [&](int planes) { return planes * t.rows * t.chunks; };
  const auto fits = [&](int planes) {
    return (in_chunks(planes) + staged_chunks<T>(t, planes)) * 16 <= kTileBytes;
  };
  for (int most = kTileThreads / t.x.strips; most > 0; most /= 2) {
    t.y = tiled(Phased(p.ay), Strip::kY, most);
    t.rows = P::window(t.y.size);
    if (fits(1)) break;
  }
  t.planes_per_block = 1;
  if (t.x.tiles == 1 && t.y.tiles == 1) {
    const int64_t most =
        std::min<int64_t>(2 * t.planes / kEnoughBlocks, kTileThreads / (t.x.strips * t.y.strips));
    while (t.planes_per_block < most && fits(t.planes_per_block + 1)) ++t.planes_per_block;
  }
  t.in_bytes = in_chunks(t.planes_per_block) * 16;
  t.out_bytes = staged_chunks<T>(t, t.planes_per_block) * 16;
  t.by_chunks = Divisor<uint32_t>(t.chunks);
  t.by_rows = Divisor<uint32_t>(t.rows);
  set_divisors(t);
  return t;
}

template <class T, int kUp, int kDown>
int launch_wavelets(const Upfirdn2dParams& p, cudaStream_t stream) {
  const Tiling t = plan_wavelets<T, kUp, kDown>(p);
  launch(wavelet_kernel<T, kUp, kDown>, dim3(unsigned(blocks_of(t))), dim3(kTileThreads),
         t.in_bytes + t.out_bytes, stream, p, t);
  return last_error();
}

}  // namespace
}  // namespace fastgan::cuda
