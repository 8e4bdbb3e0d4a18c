// SPDX-License-Identifier: Apache-2.0
// Planes (NCHW): a thread makes a strip of outputs of 16 bytes across (of 8 where it reads twice as
// much), from the top down, and reads its input in words of 4 bytes, which neighbouring threads
// find in the L1 cache.
//
// Rows of GANs are often odd (2H + 1 before a blur, H + 1 after one). A row of 16-bit elements that
// begins in the middle of a word is shifted in registers. Outputs whose rows are not aligned leave
// through shared memory, see staged_output.cuh.
#pragma once

#include "../../common/words.cuh"
#include "row_sums.cuh"
#include "staged_output.cuh"

namespace fastgan::cuda {
namespace {

constexpr int kPlaneThreads = 128;
constexpr int kRowsInFlight = 2;  // per thread: loads of both are issued before the first is used

// Outputs of a strip across.
template <class T, int kDown>
constexpr int kStripWidth = 16 / int(sizeof(T)) / kDown;

// The input of a strip, row by row: kWindow columns.
template <class T, int kWindow>
struct InputRows {
  // Words that hold a window wherever it begins in the first of them.
  static constexpr int kE = kPerWord<T>, kWords = (kWindow + 2 * (kE - 1)) / kE;

  struct Row {
    uint32_t words[kWords];
    uint32_t shift;  // bits of the first word that stand before the window
  };

  int number;     // of the row that is read next
  const T* from;  // its part of the window, which may lie outside x
  int width, height, column;
  int begin;  // of the rows of which every word lies within x, whatever is in it
  uint32_t count;
  uint32_t inside[kWords];  // masks of what lies within a row

  // For a strip that reads rows [first_row, first_row + rows).
  __device__ __forceinline__ InputRows(const Upfirdn2dParams& p, const Tiling& t, int64_t plane,
                                       int first_row, int rows, int first_column)
      : number(first_row),
        width(t.x.a.in),
        height(t.y.a.in),
        column(first_column),
        begin(first_row < 0 ? 0 : first_row) {
#pragma unroll
    for (int w = 0; w < kWords; ++w) {
      inside[w] = 0;
#pragma unroll
      for (int k = 0; k < kE; ++k)
        if (has(w * kE + k)) inside[w] |= kE == 1 ? ~0u : 0xffffu << 16 * k;
      keep(inside[w]);
    }
    const int64_t numel = t.planes * height * width;
    const int64_t first = plane * height * width + column;  // in row 0
    from = static_cast<const T*>(p.x) + first + int64_t(first_row) * width;
    int end = first_row + rows < height ? first_row + rows : height;
    if (column + kWindow <= 0 || column >= width) end = begin;  // a strip beside all rows
    while (begin < end && first + int64_t(begin) * width < kE - 1) ++begin;
    while (begin < end && first + int64_t(end - 1) * width + kWords * kE > numel) --end;
    count = end > begin ? uint32_t(end - begin) : 0;
    keep(count);
  }

  __device__ __forceinline__ bool has(int q) const {
    return q < kWindow && column + q >= 0 && column + q < width;
  }

  __device__ __forceinline__ void read(Row& row) {
    if (uint32_t(number - begin) < count) {
      const uint32_t before = uint32_t(reinterpret_cast<uintptr_t>(from)) & 3;
      const auto words =
          reinterpret_cast<const uint32_t*>(reinterpret_cast<const char*>(from) - before);
#pragma unroll
      for (int w = 0; w < kWords; ++w) row.words[w] = __ldg(words + w);
      row.shift = 8 * before;
    } else {
      keep_branch();
      row.shift = 0;
#pragma unroll
      for (int w = 0; w < kWords; ++w) row.words[w] = 0;
      if (uint32_t(number) < uint32_t(height)) read_elements(row);
    }
    ++number;
    from += width;
  }

  // One by one: of a row at an end of x.
  __device__ __forceinline__ void read_elements(Row& row) const {
#pragma unroll 1
    for (int w = 0; w < kWords; ++w) {  // each word enters behind the others
      uint32_t word = 0;
#pragma unroll
      for (int k = 0; k < kE; ++k) {
        const int q = w * kE + k;
        if (!has(q)) continue;
        if constexpr (kE == 1)
          word = __ldg(reinterpret_cast<const uint32_t*>(from) + q);
        else
          word |= uint32_t(__ldg(reinterpret_cast<const uint16_t*>(from) + q)) << 16 * k;
      }
#pragma unroll
      for (int v = 0; v + 1 < kWords; ++v) row.words[v] = row.words[v + 1];
      row.words[kWords - 1] = word;
    }
  }

  // Brings the window to the beginning of the words, and zeros to where there is no input.
  __device__ __forceinline__ void align(Row& row) const {
#pragma unroll
    for (int w = 0; w < kWords; ++w) {
      const uint64_t next = kE == 2 && w + 1 < kWords ? row.words[w + 1] : 0;
      if (kE == 2) row.words[w] = uint32_t((next << 32 | row.words[w]) >> row.shift);
      row.words[w] &= inside[w];
    }
  }
};

// A strip's outputs to shared memory, those in [begin, end), in as few accesses as their alignment
// allows.
template <class T, int kWords>
__device__ __forceinline__ void stage_words(T* to, const uint32_t (&words)[kWords], bool is_whole,
                                            int begin, int end) {
  constexpr int kE = kPerWord<T>, kX = kWords * kE;
  const uint32_t address = uint32_t(reinterpret_cast<uintptr_t>(to));
  if (is_whole && address % (4 * kWords) == 0) {
    store_words(to, words);
  } else if (is_whole && address % 4 == 0) {
#pragma unroll
    for (int w = 0; w < kWords; ++w) reinterpret_cast<uint32_t*>(to)[w] = words[w];
  } else if constexpr (kE == 1) {
#pragma unroll
    for (int k = 0; k < kX; ++k)
      if (begin <= k && k < end) reinterpret_cast<uint32_t*>(to)[k] = words[k];
  } else {
    uint16_t* parts = reinterpret_cast<uint16_t*>(to);
    if (is_whole) {
      parts[0] = uint16_t(words[0]);
#pragma unroll
      for (int w = 0; w + 1 < kWords; ++w)
        reinterpret_cast<uint32_t*>(parts + 1)[w] = words[w] >> 16 | words[w + 1] << 16;
      parts[kX - 1] = uint16_t(words[kWords - 1] >> 16);
      return;
    }
#pragma unroll
    for (int k = 0; k < kX; ++k)
      if (begin <= k && k < end) parts[k] = uint16_t(words[k / 2] >> 16 * (k % 2));
  }
}

template <bool kIsSeparable, class T, int kUp, int kDown>
__device__ __forceinline__ void filter_planes(const SquareTaps<compute_t<T>>& square,
                                              const Upfirdn2dParams& p, const Tiling& t,
                                              const Tile& tile, const Place& at, T* results) {
  constexpr int kX = kStripWidth<T, kDown>, kE = kPerWord<T>;
  using Sums = RowSums<compute_t<T>, kUp, kDown, kX, 0, 1, kIsSeparable>;
  using P = Polyphase<kUp, kDown, 4>;
  const StripTaps<compute_t<T>, kIsSeparable> taps(square);
  const int out_row = at.strip_y * t.strip_rows - tile.lead_y;
  const int column = at.strip_x * kX - tile.lead_x, left = tile.rows - out_row;
  const int rows = left < t.strip_rows ? left : t.strip_rows;
  uint32_t steps = uint32_t((rows + kUp - 1) / kUp + Sums::kWarmUp);
  keep(steps);
  const int first_row = tile.in_y + at.strip_y * (t.strip_rows / kUp * kDown);
  using Input = InputRows<T, Sums::kWindow>;
  Input input(p, t, tile.plane + at.plane, first_row, int(steps) * Sums::kTaken + kRowsInFlight,
              tile.in_x + at.strip_x * P::advance(kX));
  const int line = at.plane * tile.rows + out_row;
  const int pitch = t.is_direct ? t.x.a.out : t.out_pitch;
  T* to;
  if (t.is_direct)
    to = static_cast<T*>(p.out) +
         ((tile.plane + at.plane) * t.y.a.out + tile.out_y + out_row) * t.x.a.out + tile.out_x +
         column;
  else
    to = results + StagedOutput(p.out, sizeof(T), t, tile).at(line) + column;
  uint32_t is_whole = column >= 0 && column + kX <= tile.columns;
  keep(is_whole);

  Sums sums;
  typename Input::Row ahead[kRowsInFlight];
#pragma unroll
  for (int r = 0; r < kRowsInFlight; ++r) input.read(ahead[r]);
#pragma unroll 1
  for (uint32_t step = 0; step < steps; step += kRowsInFlight / Sums::kTaken) {
    float made[Sums::kMade][kX];
#pragma unroll
    for (int r = 0; r < kRowsInFlight; ++r) {
      typename Input::Row& row = ahead[r];
      input.align(row);
      sums.add(
          taps, r % Sums::kTaken, [&](int q, int) { return element<T>(row.words[q / kE], q % kE); },
          [&] { input.read(row); }, [&](int j, int o, int, float sum) { made[j][o] = sum; });
      // Neither the first steps nor one behind the last.
      if (r % Sums::kTaken + 1 < Sums::kTaken ||
          step + r / Sums::kTaken - Sums::kWarmUp >= steps - Sums::kWarmUp)
        continue;
#pragma unroll
      for (int j = 0; j < Sums::kMade; ++j) {
        const int line = out_row + int(step + r / Sums::kTaken - Sums::kWarmUp) * kUp + j;
        if (kUp == 1 || (line >= 0 && line < tile.rows)) {
          uint32_t words[kX / kE];
#pragma unroll
          for (int w = 0; w < kX / kE; ++w) words[w] = word_of<T>(made[j] + w * kE);
          if (t.is_direct)
            store_words(to, words);
          else
            stage_words(to, words, is_whole, -column, tile.columns - column);
        }
        to += pitch;
      }
    }
  }
}

template <class T, int kUp, int kDown>
__global__ void __launch_bounds__(kPlaneThreads, 5) planes_kernel(Upfirdn2dParams p, Tiling t) {
  SquareTaps<compute_t<T>>& taps = shared<SquareTaps<compute_t<T>>>();
  T* results = t.is_direct ? nullptr : dynamic_shared<T>();
  const Tile tile = tile_of<kUp, kDown>(t, blockIdx.x);
  read_taps(taps, p);
  __syncthreads();

  const Place at = place_of(t);
  if (at.plane < tile.planes && at.strip_y * t.strip_rows - tile.lead_y < tile.rows &&
      at.strip_x * kStripWidth<T, kDown> - tile.lead_x < tile.columns) {
    if (taps.is_separable)
      filter_planes<true, T, kUp, kDown>(taps, p, t, tile, at, results);
    else
      filter_planes<false, T, kUp, kDown>(taps, p, t, tile, at, results);
  }
  if (t.is_direct) return;
  __syncthreads();
  write_output(results, p, t, tile, StagedOutput(p.out, sizeof(T), t, tile));
}

// Rows of strips per block, of `strips` threads each, that leave few threads of its warps idle.
inline int rows_of_threads(int strips) {
  int best = 1, best_share = 0;
  for (int rows = 1; rows * strips <= kPlaneThreads; ++rows) {
    const int threads = rows * strips, lanes = (threads + 31) / 32 * 32;
    const int share = std::min(threads, kPlaneThreads / 2) * 64 / lanes;
    if (share > best_share) best = rows, best_share = share;
  }
  return best;
}

template <class T, int kUp, int kDown>
Tiling plan_planes(const Upfirdn2dParams& p) {
  constexpr int kX = kStripWidth<T, kDown>;
  Tiling t{};
  t.planes = p.n * p.c;
  const Phased x(p.ax), y = kUp == 2 ? Phased::paired(p.ay) : Phased(p.ay);
  const int across = (x.out + x.lead + kX - 1) / kX, down = y.out + y.lead;
  t.x = tiled(x, kX, across <= kPlaneThreads ? kPlaneThreads : kPlaneThreads / 2);
  t.is_flat = t.x.tiles == 1;
  t.is_direct =
      x.lead == 0 && x.out % kX == 0 && reinterpret_cast<uintptr_t>(p.out) % (kX * sizeof(T)) == 0;
  set_output<T>(t);
  const auto fits = [&](int planes) {
    return t.is_direct || staged_chunks<T>(t, planes) * 16 <= kTileBytes;
  };
  const int most = rows_of_threads(t.x.strips);
  t.strip_rows = rows_of_strips(down, kUp, [&](int rows) {
    return t.planes * across * ((down + rows - 1) / rows) / kPlaneThreads;
  });
  for (int group = most;;) {
    t.y = tiled(y, t.strip_rows, group);
    if (fits(1)) break;
    if (t.strip_rows > 2 * kFewestRows)
      t.strip_rows = (t.strip_rows / 2 + kUp - 1) / kUp * kUp;
    else
      group = (group + 1) / 2;
  }
  t.planes_per_block = 1;
  if (t.x.tiles == 1 && t.y.tiles == 1) {
    const int64_t limit =
        std::min<int64_t>(2 * t.planes / kEnoughBlocks, kPlaneThreads / (t.x.strips * t.y.strips));
    while (t.planes_per_block < limit && fits(t.planes_per_block + 1)) ++t.planes_per_block;
  }
  t.out_bytes = t.is_direct ? 0 : staged_chunks<T>(t, t.planes_per_block) * 16;
  set_divisors(t);
  return t;
}

template <class T, int kUp, int kDown>
int launch_planes(const Upfirdn2dParams& p, cudaStream_t stream) {
  const Tiling t = plan_planes<T, kUp, kDown>(p);
  const int threads = t.x.strips * t.y.strips * t.planes_per_block;
  launch(planes_kernel<T, kUp, kDown>, dim3(unsigned(blocks_of(t))),
         dim3(unsigned((threads + 31) / 32 * 32)), t.out_bytes, stream, p, t);
  return last_error();
}

}  // namespace
}  // namespace fastgan::cuda
