// SPDX-License-Identifier: Apache-2.0
// CPU kernels of grouped_conv2d, compiled once per instruction set.
//
// Convolution: the weights are transformed once; then each block of tiles goes through all three
// stages (input transform, 36 products with the weights of a panel, output transform) in the cache.
// Weight gradient: a task is a part of the tiles and a run of panels; it sums 36 products over its
// tiles and transforms the sums back; the parts are added in order.
#include "panels.h"

namespace fastgan::FASTGAN_ISA {
namespace {

template <class M>
struct Conv {
  using T = typename M::T;
  using V = typename M::V;

  const GroupedConvParams& p;
  const GroupedShape& s;
  const TileGrid grid;
  const Panels<M> panels;
  const int64_t depth, weight_plane, weight_panel;

  static constexpr int64_t kProductPlane = kBlock * kWidth<M> + kSkew;

  static int64_t plane_of(int64_t depth) { return depth * kWidth<M> + kSkew; }

  static GroupedPlan plan(const GroupedShape& s, int64_t threads) {
    GroupedPlan plan{};
    const Panels<M> panels(s);
    const int64_t blocks = divide_up(TileGrid(s).count, kBlock), count = at_least_one(threads);
    plan.panels = smaller(kMostPanels, at_least_one(panels.count * blocks / count));
    plan.workers = smaller(count, at_least_one(blocks * divide_up(panels.count, plan.panels)));
    plan.scratch = round_up(s.c, kSkew) + round_up(s.k, kSkew) +
                   panels.chunks() * kPositions * kInputPlane + kPositions * kProductPlane;
    plan.shared = panels.count * kPositions * plane_of(panels.most_depth());
    return plan;
  }

  explicit Conv(const GroupedConvParams& params)
      : p(params),
        s(params.shape),
        grid(params.shape),
        panels(params.shape),
        depth(panels.most_depth()),
        weight_plane(plane_of(depth)),
        weight_panel(kPositions * weight_plane) {}

  // weight → shared [panel, position, depth, column], zero between groups and beyond k.
  void transform_weights(int64_t begin, int64_t end) const {
    T values[kTaps][kWidth<M>];
    int64_t offsets[kTaps];
    for (int64_t tap = 0; tap < kTaps; ++tap)
      offsets[tap] = tap / kTap * p.strides.row + tap % kTap * p.strides.col;
    for (int64_t index = begin; index < end; ++index) {
      const Panel panel = panels.at(index);
      T* out = static_cast<T*>(p.shared) + index * weight_panel;
      for (int64_t d = 0; d < panel.depth; ++d, out += kWidth<M>) {
        const int64_t group = (panel.c + d) / panels.ci, c = (panel.c + d) % panels.ci;
        const int64_t k0 = larger(panel.k, group * panels.ko);
        const int64_t k1 = smaller(panel.k + panel.columns, (group + 1) * panels.ko);
        const T* from = static_cast<const T*>(p.weight) + group * p.strides.group +
                        (k0 - group * panels.ko) * p.strides.k + c * p.strides.c;
        if (k1 - k0 < kWidth<M>) std::memset(values, 0, sizeof values);
        for (int64_t k = k0 - panel.k; k < k1 - panel.k; ++k, from += p.strides.k)
          for (int64_t tap = 0; tap < kTaps; ++tap) values[tap][k] = from[offsets[tap]];
        transform_tile<V, WeightTransform<T>>(
            [&](int i, int j) { return load_lanes<V>(values[i * kTap + j]); },
            [&](int i, int j, V v) { store_lanes(out + (i * kTile + j) * weight_plane, v); });
      }
    }
  }

  // products [position, tile, column]; meanwhile the caches fetch where the outputs go.
  __attribute__((noinline)) void multiply_panel(const T* inputs, const T* weights,
                                                const Panel& panel, int64_t tiles, T* products,
                                                const Pixels<kOut, T>& outputs) const {
    for (int position = 0; position < kPositions; ++position) {
      if (position / 2 < tiles) {
        T* const* pixel = outputs.at[position / 2] + position % 2 * kOut * kOut / 2;
        for (int i = 0; i < kOut * kOut / 2; ++i) __builtin_prefetch(pixel[i] + panel.k, 0, 2);
      }
      for (int64_t t = 0; t < tiles; t += M::rows) {
        V sums[M::rows] = {};
        const T* a = inputs + position * kInputPlane + t * kChunk;
        const T* b = weights + position * weight_plane;
        for (int64_t c = 0; c < panel.depth; c += kChunk) {
          multiply<M, kChunk>(a, 1, b, smaller(kChunk, panel.depth - c), sums);
          a += kPositions * kInputPlane;
          b += kChunk * kWidth<M>;
        }
        T* out = products + position * kProductPlane + t * kWidth<M>;
#pragma GCC unroll 16
        for (int r = 0; r < M::rows; ++r) store_lanes(out + r * kWidth<M>, sums[r]);
      }
    }
  }

  template <class Lanes>
  static int64_t transform_lanes_back(const T* products, T* const* pixels, int64_t begin,
                                      const Panel& panel) {
    constexpr int64_t lanes = int64_t(sizeof(Lanes) / sizeof(T));
    int64_t k = begin;
    for (; k + lanes <= panel.columns; k += lanes) {
      transform_tile<Lanes, OutputTransform<T>>(
          [&](int i, int j) {
            return load_lanes<Lanes>(products + (i * kTile + j) * kProductPlane + k);
          },
          [&](int i, int j, Lanes v) { store_lanes(pixels[i * kOut + j] + panel.k + k, v); });
    }
    return k;
  }

  __attribute__((noinline)) static void transform_back(const T* products, const Panel& panel,
                                                       int64_t tiles,
                                                       const Pixels<kOut, T>& outputs) {
    for (int64_t t = 0; t < tiles; ++t, products += kWidth<M>) {
      const int64_t done = transform_lanes_back<V>(products, outputs.at[t], 0, panel);
      transform_lanes_back<T>(products, outputs.at[t], done, panel);
    }
  }

  void run_worker(int64_t worker) const {
    T* zeros = static_cast<T*>(p.scratch) + worker * p.plan.scratch;
    T* unread = zeros + round_up(s.c, kSkew);
    T* inputs = unread + round_up(s.k, kSkew);
    T* products = inputs + panels.chunks() * kPositions * kInputPlane;
    // Whole registers are read: what lies beyond the tiles falls away.
    for (T* at = zeros; at < products; ++at) *at = 0;
    Pixels<kTile, T> pixels;
    Pixels<kOut, T> outputs;
    const int64_t blocks = divide_up(grid.count, kBlock);
    const int64_t tasks = blocks * divide_up(panels.count, p.plan.panels);
    const int64_t end = (worker + 1) * tasks / p.plan.workers;
    for (int64_t task = worker * tasks / p.plan.workers; task < end; ++task) {
      const int64_t first = task % blocks * kBlock, tiles = smaller(kBlock, grid.count - first);
      pixels.find(static_cast<T*>(p.x), s.h, s.w, s.c, grid, first, tiles, s.pad_y, s.pad_x, zeros);
      outputs.find(static_cast<T*>(p.y), s.oh, s.ow, s.k, grid, first, tiles, 0, 0, unread);
      const int64_t index = task / blocks * p.plan.panels;
      Panel there{0, 0, 0, 0};  // whose inputs are transformed
      for (int64_t i = index; i < smaller(panels.count, index + p.plan.panels); ++i) {
        const Panel panel = panels.at(i);
        if (!reads_the_same(panel, there)) {
          transform_inputs<M>(pixels, tiles, panel, inputs);
          there = panel;
        }
        multiply_panel(inputs, static_cast<const T*>(p.shared) + i * weight_panel, panel, tiles,
                       products, outputs);
        transform_back(products, panel, tiles, outputs);
      }
    }
  }

  void run(const Exec& exec) const {
    auto weights = [&](int64_t begin, int64_t end) { transform_weights(begin, end); };
    parallel(exec, panels.count, at_least_one(kGrainBytes / (weight_panel * int64_t(sizeof(T)))),
             weights);
    auto workers = [&](int64_t begin, int64_t end) {
      for (int64_t worker = begin; worker < end; ++worker) run_worker(worker);
    };
    parallel(exec, p.plan.workers, 1, workers);
  }
};

template <class M>
struct Weight {
  using T = typename M::T;
  using V = typename M::V;

  const GroupedWeightParams& p;
  const GroupedShape& s;
  const TileGrid grid;
  const Panels<M> panels;
  const int64_t rows, runs;    // input channels of a panel, padded; tasks of one part
  const int64_t sums_plane;    // elements between positions
  const int64_t partial_size;  // of one panel

  static constexpr int64_t kPartTiles = 64, kMostTasks = 8;  // fewest tiles of a part; tasks beyond
                                                             // which the tiles are not split
  static constexpr int64_t kOutputPlane = kBlock * kWidth<M> + kSkew;

  static int64_t rows_of(const Panels<M>& panels) { return panels.chunks() * kChunk; }
  static int64_t plane_of(int64_t rows) { return rows * kWidth<M> + kSkew; }

  static GroupedPlan plan(const GroupedShape& s, int64_t threads) {
    GroupedPlan plan{};
    const Panels<M> panels(s);
    const int64_t tiles = TileGrid(s).count, rows = rows_of(panels);
    plan.panels = smaller(kMostPanels, at_least_one(panels.count / 4));
    const int64_t runs = at_least_one(divide_up(panels.count, plan.panels));
    plan.parts = at_least_one(smaller(tiles / kPartTiles, kMostTasks / runs));
    plan.workers = smaller(at_least_one(threads), runs * plan.parts);
    plan.scratch = round_up(larger(s.c, s.k), kSkew) + panels.chunks() * kPositions * kInputPlane +
                   kPositions * kOutputPlane + plan.panels * kPositions * plane_of(rows);
    plan.shared = plan.parts * panels.count * kTaps * rows * kWidth<M>;
    return plan;
  }

  explicit Weight(const GroupedWeightParams& params)
      : p(params),
        s(params.shape),
        grid(params.shape),
        panels(params.shape),
        rows(rows_of(panels)),
        runs(divide_up(panels.count, p.plan.panels)),
        sums_plane(plane_of(rows)),
        partial_size(kTaps * rows * kWidth<M>) {}

  // sums [position, row, column] += Σ_tiles x · dy
  __attribute__((noinline)) void add_products(const T* xs, const T* ys, int64_t tiles,
                                              int64_t depth, T* sums) const {
    for (int position = 0; position < kPositions; ++position) {
      const T* y = ys + position * kOutputPlane;
      for (int64_t c = 0; c < depth; c += M::rows) {
        const T* x = xs + (c / kChunk * kPositions + position) * kInputPlane + c % kChunk;
        T* at = sums + position * sums_plane + c * kWidth<M>;
        V block[M::rows];
#pragma GCC unroll 16
        for (int r = 0; r < M::rows; ++r) block[r] = load_lanes<V>(at + r * kWidth<M>);
        multiply<M, 1>(x, kChunk, y, tiles, block);
#pragma GCC unroll 16
        for (int r = 0; r < M::rows; ++r) store_lanes(at + r * kWidth<M>, block[r]);
      }
    }
  }

  void run_task(int64_t task, T* zeros, T* xs, T* ys, T* sums) const {
    const int64_t part = task % p.plan.parts, index = task / p.plan.parts * p.plan.panels;
    const int64_t last = smaller(panels.count, index + p.plan.panels);
    const int64_t sums_panel = kPositions * sums_plane;
    for (int64_t i = 0; i < (last - index) * sums_panel; ++i) sums[i] = 0;
    Pixels<kTile, T> inputs;
    Pixels<kOut, T> outputs;
    const int64_t per_part = divide_up(grid.count, p.plan.parts);
    const int64_t end = smaller(grid.count, (part + 1) * per_part);
    for (int64_t first = part * per_part; first < end; first += kBlock) {
      const int64_t tiles = smaller(kBlock, end - first);
      inputs.find(static_cast<T*>(p.x), s.h, s.w, s.c, grid, first, tiles, s.pad_y, s.pad_x, zeros);
      outputs.find(static_cast<T*>(p.dy), s.oh, s.ow, s.k, grid, first, tiles, 0, 0, zeros);
      Panel there{0, 0, 0, 0};
      for (int64_t i = index; i < last; ++i) {
        const Panel panel = panels.at(i);
        if (!reads_the_same(panel, there)) {
          transform_inputs<M>(inputs, tiles, panel, xs);
          there = panel;
        }
        transform_block<M, OutputAdjointTransform<T>>(outputs.at, tiles, panel.k, panel.columns, ys,
                                                      kWidth<M>, kOutputPlane);
        add_products(xs, ys, tiles, panel.depth, sums + (i - index) * sums_panel);
      }
    }
    // Gᵀ · sums · G → partial [part, panel, tap, row, column]
    for (int64_t i = index; i < last; ++i, sums += sums_panel) {
      T* to = static_cast<T*>(p.shared) + (part * panels.count + i) * partial_size;
      for (int64_t d = 0; d < panels.at(i).depth * kWidth<M>; d += kWidth<M>) {
        transform_tile<V, WeightAdjointTransform<T>>(
            [&](int a, int b) { return load_lanes<V>(sums + (a * kTile + b) * sums_plane + d); },
            [&](int a, int b, V v) { store_lanes(to + (a * kTap + b) * rows * kWidth<M> + d, v); });
      }
    }
  }

  void run_worker(int64_t worker) const {
    T* zeros = static_cast<T*>(p.scratch) + worker * p.plan.scratch;
    T* xs = zeros + round_up(larger(s.c, s.k), kSkew);
    T* ys = xs + panels.chunks() * kPositions * kInputPlane;
    T* sums = ys + kPositions * kOutputPlane;
    for (T* at = zeros; at < sums; ++at) *at = 0;
    const int64_t tasks = p.plan.parts * runs, workers = p.plan.workers;
    for (int64_t task = worker * tasks / workers; task < (worker + 1) * tasks / workers; ++task)
      run_task(task, zeros, xs, ys, sums);
  }

  // dw = Σ_parts partial
  void add_parts(int64_t begin, int64_t end) const {
    const T* partial = static_cast<const T*>(p.shared);
    for (int64_t i = begin; i < end; ++i) {
      const Panel panel = panels.at(i);
      for (int64_t d = 0; d < panel.depth; ++d) {
        const int64_t group = (panel.c + d) / panels.ci, c = (panel.c + d) % panels.ci;
        const int64_t k0 = larger(panel.k, group * panels.ko);
        const int64_t k1 = smaller(panel.k + panel.columns, (group + 1) * panels.ko);
        for (int64_t tap = 0; tap < kTaps; ++tap) {
          const T* from = partial + i * partial_size + (tap * rows + d) * kWidth<M>;
          T sum[kWidth<M>] = {};
          for (int64_t part = 0; part < p.plan.parts; ++part, from += panels.count * partial_size)
            for (int64_t lane = 0; lane < kWidth<M>; ++lane) sum[lane] += from[lane];
          T* to = static_cast<T*>(p.dw) + group * p.strides.group +
                  (k0 - group * panels.ko) * p.strides.k + c * p.strides.c +
                  tap / kTap * p.strides.row + tap % kTap * p.strides.col;
          for (int64_t k = k0; k < k1; ++k, to += p.strides.k) *to = sum[k - panel.k];
        }
      }
    }
  }

  void run(const Exec& exec) const {
    auto workers = [&](int64_t begin, int64_t end) {
      for (int64_t worker = begin; worker < end; ++worker) run_worker(worker);
    };
    parallel(exec, p.plan.workers, 1, workers);
    auto parts = [&](int64_t begin, int64_t end) { add_parts(begin, end); };
    const int64_t bytes = partial_size * (p.plan.parts + 1) * int64_t(sizeof(T));
    parallel(exec, panels.count, at_least_one(kGrainBytes / bytes), parts);
  }
};

GroupedPlan plan_conv(const GroupedShape& s, bool is_double, int64_t threads) {
  return is_double ? Conv<Float64>::plan(s, threads) : Conv<Float32>::plan(s, threads);
}
GroupedPlan plan_weight(const GroupedShape& s, bool is_double, int64_t threads) {
  return is_double ? Weight<Float64>::plan(s, threads) : Weight<Float32>::plan(s, threads);
}
int conv(const GroupedConvParams& p, const Exec& exec) {
  p.is_double ? Conv<Float64>(p).run(exec) : Conv<Float32>(p).run(exec);
  return 0;
}
int weight(const GroupedWeightParams& p, const Exec& exec) {
  p.is_double ? Weight<Float64>(p).run(exec) : Weight<Float32>(p).run(exec);
  return 0;
}

}  // namespace

extern const GroupedConv2dKernels grouped_conv2d;
const GroupedConv2dKernels grouped_conv2d = {plan_conv, plan_weight, conv, weight};

}  // namespace fastgan::FASTGAN_ISA
