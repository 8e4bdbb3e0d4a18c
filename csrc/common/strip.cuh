// SPDX-License-Identifier: Apache-2.0
// How the kernels that add a bias per channel go over [outer, channels, inner]: a thread owns a
// channel (channels innermost: kN adjacent ones), so that what depends on the channel is read once,
// and walks a strip of runs that lie one stride apart. No index is divided inside the walk.
#pragma once

#include "partial_sums.cuh"
#include "run.cuh"

namespace fastgan {

// Calls use(i, load(i, j)) for j = 0 … count - 1 and i = j · stride, two loads ahead of their use.
template <class Load, class Use>
__device__ __forceinline__ void walk_strip(int count, int64_t stride, Load&& load, Use&& use) {
  int64_t i = 0;
  int j = 0;
#pragma unroll 1
  for (; j + 1 < count; j += 2, i += 2 * stride) {
    const auto first = load(i, j), second = load(i + stride, j + 1);
    use(i, first);
    use(i + stride, second);
  }
  if (j < count) use(i, load(i, j));
}

// A grid: x counts blocks side by side, y outer items, z the pieces of a plane. Runs are kN
// elements. Planes: groups of 2^log_width adjacent threads, the least power of two that covers a
// plane (up to the whole block), have adjacent channels; a block takes `rows` outer items of
// `piece` runs each. Channels innermost: so many threads lie side by side, and the block's rows of
// them go down `rows` rows of the tensor together.
struct Strips {
  int log_width, rows, piece;
  dim3 grid;

  __host__ __device__ int width() const { return 1 << log_width; }
  __host__ __device__ int groups() const { return kThreads >> log_width; }
};

constexpr int kLogThreads = 8;
static_assert(1 << kLogThreads == kThreads);
constexpr int kStripRuns = 8;          // what a thread walks where there is so much
constexpr int64_t kMostOuter = 65535;  // y and z of a grid

inline int log_of(int power) { return power <= 1 ? 0 : 1 + log_of(power / 2); }

// y of a grid in which each block takes `rows`, or more where it must.
inline unsigned deal_rows(int64_t outer, int64_t rows, Strips& s) {
  const int64_t least = divide_up(outer, kMostOuter);
  s.rows = int(divide_up(rows < least ? least : rows, rows) * rows);
  return unsigned(divide_up(outer, s.rows));
}

// `rows`: how many outer items a block takes at least, so far as there are.
inline Strips planes_in_strips(int64_t outer, int64_t channels, int64_t runs, int64_t rows) {
  Strips s{};
  s.log_width = log_of(power_of_two(runs, kThreads));
  const int64_t steps = divide_up(runs, s.width());
  const int64_t wanted = divide_up(steps, kStripRuns);
  s.piece = int(divide_up(steps, wanted < kMostOuter ? wanted : kMostOuter) * s.width());
  s.grid.x = unsigned(divide_up(channels, s.groups()));
  s.grid.y = deal_rows(outer, rows, s);
  s.grid.z = unsigned(divide_up(runs, s.piece));
  return s;
}

// The same, with so many outer items that a thread has kStripRuns runs also of small planes.
inline Strips planes_in_strips(int64_t outer, int64_t channels, int64_t runs) {
  const int64_t steps = divide_up(runs, power_of_two(runs, kThreads));
  return planes_in_strips(outer, channels, runs, divide_up(kStripRuns, steps));
}

inline Strips rows_in_strips(int64_t outer, int64_t runs) {
  Strips s{};
  s.log_width = log_of(power_of_two(runs, kWarp));
  s.grid.x = unsigned(divide_up(runs, s.width()));
  s.grid.y = deal_rows(outer, int64_t(s.groups()) * kStripRuns, s);
  return s;
}

// The thread's channel, and the strips of it: `count` of them, each of `length` runs `stride`
// apart, from run `first` on, `next` runs from one strip to the next.
struct Strip {
  int64_t channel, first, stride, next;
  int length, count;
};

__device__ __forceinline__ int at_most(int64_t n, int most) { return n < most ? int(n) : most; }

// Planes of `runs` runs. kCrosses: where a block has one step of a plane, a strip goes from row to
// row instead of along a plane.
template <bool kCrosses>
__device__ __forceinline__ Strip strip_of_planes(const Strips& s, int64_t outer, int64_t channels,
                                                 int64_t runs) {
  const int lane = int(threadIdx.x) & (s.width() - 1);
  const int64_t row = int64_t(blockIdx.y) * s.rows, begin = int64_t(blockIdx.z) * s.piece + lane;
  Strip r{};
  r.channel = int64_t(blockIdx.x) * s.groups() + (int(threadIdx.x) >> s.log_width);
  if (r.channel >= channels || begin >= runs) return r;
  const int rows = at_most(outer - row, s.rows), left = at_most(runs - begin, s.piece - lane);
  r.first = (row * channels + r.channel) * runs + begin;
  r.next = channels * runs;
  const bool is_one_step = kCrosses && s.piece == s.width();
  r.stride = is_one_step ? r.next : s.width();
  r.length = is_one_step ? rows : (left + s.width() - 1) >> s.log_width;
  r.count = is_one_step ? 1 : rows;
  return r;
}

// Rows of `runs` runs of channels; `channel` counts runs.
__device__ __forceinline__ Strip strip_of_rows(const Strips& s, int64_t outer, int64_t runs) {
  const int own = int(threadIdx.x) >> s.log_width;
  const int64_t row = int64_t(blockIdx.y) * s.rows + own;
  Strip r{};
  r.channel = int64_t(blockIdx.x) * s.width() + (int(threadIdx.x) & (s.width() - 1));
  if (r.channel >= runs || row >= outer) return r;
  r.first = row * runs + r.channel;
  r.stride = s.groups() * runs;
  r.length = (at_most(outer - row, s.rows - own) + s.groups() - 1) >> (kLogThreads - s.log_width);
  r.count = 1;
  return r;
}

}  // namespace fastgan
