// SPDX-License-Identifier: Apache-2.0
// Weight gradient: a task is a part of the tiles and a block of channels on either side; it sums
// a product per transformed tap over its tiles and transforms the sums back; the parts are added in
// order.
#pragma once

#include "tiles.h"
#include "weight_parts.h"

namespace fastgan::FASTGAN_ISA {
namespace {

constexpr int64_t kWeightChannels = 128;  // most channels of a task, on either side

template <class M, class S>
struct WeightGradient {
  using T = typename M::T;
  using V = typename M::V;
  using Input = typename S::template Input<T>;
  using Output = typename S::template OutputAdjoint<T>;
  using TapAdjoint = typename S::template WeightAdjoint<T>;

  static constexpr int kTaps = TapAdjoint::kFrom;  // transformed ones, in one dimension
  static constexpr int kSide = Input::kTo;         // positions, in one dimension
  static constexpr int kPositions = kSide * kSide;

  const WinogradWeightParams& p;
  const WinogradShape& s;
  const Tiles tiles;
  const int64_t stride_x, stride_y;            // elements between tiles of one transformed plane
  const int64_t plane_x, plane_y, sums_plane;  // elements between positions
  const int64_t blocks_c, blocks_k;

  static int64_t stride_of(int64_t channels) { return round_up(channels, kSkew) + kSkew; }
  static int64_t sums_of(int64_t c, int64_t k) {
    return round_up(c, M::weight_rows) * round_up(k, kPanel<M>) + kSkew;
  }
  static int64_t padded_x(int64_t c) { return stride_of(round_up(c, M::weight_rows)); }
  static int64_t padded_y(int64_t k) { return stride_of(round_up(k, kPanel<M>)); }

  static WinogradPlan plan(const WinogradShape& s, int64_t threads) {
    WinogradPlan plan{};
    const int64_t count = Tiles(s.n, s.oh, s.ow, S::kOutStep).count;
    plan.block_c = at_least_one(smaller(s.c, kWeightChannels));
    plan.block_k = at_least_one(smaller(s.k, kWeightChannels));
    const int64_t tasks = divide_up(s.c, plan.block_c) * divide_up(s.k, plan.block_k);
    plan.parts = at_least_one(smaller(count / S::kPartTiles, kMostTasks / at_least_one(tasks)));
    plan.tiles = at_least_one(smaller(S::kWeightTiles, divide_up(count, plan.parts)));
    plan.blocks = divide_up(divide_up(count, plan.parts), plan.tiles);
    plan.workers = smaller(at_least_one(threads), at_least_one(tasks * plan.parts));
    plan.scratch =
        round_up(larger(plan.block_c, plan.block_k), kSkew) +
        kPositions * (plan.tiles * (padded_x(plan.block_c) + padded_y(plan.block_k)) + 2 * kSkew) +
        kTaps * kTaps * sums_of(plan.block_c, plan.block_k);
    plan.shared = plan.parts * kTap * kTap * s.c * s.k;
    return plan;
  }

  explicit WeightGradient(const WinogradWeightParams& params)
      : p(params),
        s(params.shape),
        tiles(s.n, s.oh, s.ow, S::kOutStep),
        stride_x(padded_x(p.plan.block_c)),
        stride_y(padded_y(p.plan.block_k)),
        plane_x(p.plan.tiles * stride_x + kSkew),
        plane_y(p.plan.tiles * stride_y + kSkew),
        sums_plane(sums_of(p.plan.block_c, p.plan.block_k)),
        blocks_c(divide_up(s.c, p.plan.block_c)),
        blocks_k(divide_up(s.k, p.plan.block_k)) {}

  // sums of tap (ty, tx) [c, k] = Σ_positions Σ_tiles x · dy, plus what they were
  __attribute__((noinline)) void product(int ty, int tx, const T* xs, const T* ys, int64_t count,
                                         int64_t rows, int64_t columns, bool is_first,
                                         T* sums) const {
    const int64_t width = round_up(columns, kPanel<M>);
    for (int64_t k = 0; k < columns; k += kPanel<M>) {
      for (int64_t c = 0; c < rows; c += M::weight_rows) {
        T* at = sums + c * width + k;
        V block[M::weight_rows][kVectors];
#pragma GCC unroll 16
        for (int r = 0; r < M::weight_rows; ++r)
#pragma GCC unroll 4
          for (int v = 0; v < kVectors; ++v)
            block[r][v] = is_first ? V{} : load_lanes<V>(at + r * width + v * kLanes<M>);
        for (int i = S::first(ty); i < S::first(ty) + S::count(ty); ++i) {
          for (int j = S::first(tx); j < S::first(tx) + S::count(tx); ++j) {
            const int position = i * kSide + j;
            multiply<M, M::weight_rows, 1>(xs + position * plane_x + c, stride_x,
                                           ys + position * plane_y + k, stride_y, count, block);
          }
        }
#pragma GCC unroll 16
        for (int r = 0; r < M::weight_rows; ++r)
#pragma GCC unroll 4
          for (int v = 0; v < kVectors; ++v)
            store_lanes(at + r * width + v * kLanes<M>, block[r][v]);
      }
    }
  }

  // Gᵀ · sums · G → partial [part, tap, c, k]
  template <class Lanes>
  int64_t transform_sums(const T* from, T* to, int64_t begin, int64_t count) const {
    constexpr int64_t lanes = int64_t(sizeof(Lanes) / sizeof(T));
    int64_t k = begin;
    for (; k + lanes <= count; k += lanes) {
      transform_tile<Lanes, TapAdjoint>(
          [&](int i, int j) { return load_lanes<Lanes>(from + (i * kTaps + j) * sums_plane + k); },
          [&](int i, int j, Lanes v) { store_lanes(to + (i * kTap + j) * s.c * s.k + k, v); });
    }
    return k;
  }

  // One tile of x and of dy.
  void transform_pair(int64_t tile, int64_t c, int64_t k, int64_t rows, int64_t columns,
                      const T* zeros, T* xs, T* ys) const {
    const Place at(tiles, tile);
    const T* input[Input::kFrom][Input::kFrom];
    find_pixels<Input::kFrom>(static_cast<const T*>(p.x) + c, s.h, s.w, s.c, at.n,
                              at.row * S::kInStep - s.pad_y, at.column * S::kInStep - s.pad_x,
                              zeros, input);
    transform_channels<M, Input>(input, rows, xs, plane_x);
    const T* output[Output::kFrom][Output::kFrom];
    find_pixels<Output::kFrom>(static_cast<const T*>(p.dy) + k, s.oh, s.ow, s.k, at.n,
                               at.row * S::kOutStep, at.column * S::kOutStep, zeros, output);
    transform_channels<M, Output>(output, columns, ys, plane_y);
  }

  void run_task(int64_t task, const T* zeros, T* xs, T* ys, T* sums) const {
    const int64_t part = task / (blocks_c * blocks_k);
    const int64_t c = task / blocks_k % blocks_c * p.plan.block_c;
    const int64_t k = task % blocks_k * p.plan.block_k;
    const int64_t rows = smaller(p.plan.block_c, s.c - c),
                  columns = smaller(p.plan.block_k, s.k - k);
    const int64_t width = round_up(columns, kPanel<M>);
    const int64_t per_part = divide_up(tiles.count, p.plan.parts);
    const int64_t end = smaller(tiles.count, (part + 1) * per_part);
    if (part * per_part >= end)  // no tiles, no first sums
      for (int64_t i = 0; i < kTaps * kTaps * sums_plane; ++i) sums[i] = 0;
    for (int64_t first = part * per_part; first < end; first += p.plan.tiles) {
      const int64_t count = smaller(p.plan.tiles, end - first);
      for (int64_t t = 0; t < count; ++t) {
        transform_pair(first + t, c, k, rows, columns, zeros, xs + t * stride_x, ys + t * stride_y);
      }
      for (int tap = 0; tap < kTaps * kTaps; ++tap)
        product(tap / kTaps, tap % kTaps, xs, ys, count, rows, columns, first == part * per_part,
                sums + tap * sums_plane);
    }
    T* partial = static_cast<T*>(p.shared) + (part * kTap * kTap * s.c + c) * s.k + k;
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t done = transform_sums<V>(sums + row * width, partial + row * s.k, 0, columns);
      transform_sums<T>(sums + row * width, partial + row * s.k, done, columns);
    }
  }

  void run_worker(int64_t worker) const {
    T* zeros = static_cast<T*>(p.scratch) + worker * p.plan.scratch;
    T* xs = zeros + round_up(larger(p.plan.block_c, p.plan.block_k), kSkew);
    T* ys = xs + kPositions * plane_x;
    T* sums = ys + kPositions * plane_y;
    // Whole registers are read: what lies beyond the channels is finite and falls away.
    const bool is_whole = s.c % M::weight_rows == 0 && s.k % kPanel<M> == 0;
    for (T* at = zeros; at < (is_whole ? xs : sums); ++at) *at = 0;
    const int64_t tasks = p.plan.parts * blocks_c * blocks_k, workers = p.plan.workers;
    for (int64_t task = worker * tasks / workers; task < (worker + 1) * tasks / workers; ++task)
      run_task(task, zeros, xs, ys, sums);
  }

  void run(const Exec& exec) const {
    auto workers = [&](int64_t begin, int64_t end) {
      for (int64_t worker = begin; worker < end; ++worker) run_worker(worker);
    };
    parallel(exec, p.plan.workers, 1, workers);
    add_weight_parts<T>(p, exec);
  }
};

}  // namespace
}  // namespace fastgan::FASTGAN_ISA
