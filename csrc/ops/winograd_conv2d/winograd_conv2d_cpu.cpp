// CPU kernels of winograd_conv2d, compiled once per instruction set.
//
// Convolution: the weights are transformed once; then each block of tiles goes through all three
// stages (input transform, 36 matrix products, output transform) while it is in the cache.
// Weight gradient: a task is a part of the tiles and a block of channels on either side; it sums
// 36 products over its tiles and transforms the sums back; the parts are added in order.
#include "winograd_conv2d.h"

#include "multiply.h"

namespace fastgan::FASTGAN_ISA {
namespace {

// Input channels per chunk of transformed tiles: with their distance a constant, all rows of a
// product are reached from one pointer. 16 more elements keep rows out of each other's cache sets,
// as kSkew does for the 36 planes.
constexpr int64_t kChunk = 64, kChunkStride = 80, kSkew = 16;
constexpr int64_t kWeightInputs = 8;                // input channels of weights at a time
constexpr int64_t kOutputBlock = 64;                // output channels between two output transforms
constexpr int64_t kWeightElements = 5 << 19;        // most transformed weights at a time (10 MiB)
constexpr int64_t kConvTiles = 24;                  // of a usual block; divisible by all rows
constexpr int64_t kWeightTiles = 48;                //
constexpr int64_t kWeightChannels = 128;            // most channels of a task, on either side
constexpr int64_t kPartTiles = 96, kMostTasks = 8;  // fewest tiles of a part; tasks beyond which
                                                    // the tiles are not split

inline int64_t round_up(int64_t n, int64_t to) { return divide_up(n, to) * to; }

struct Tiles {
  int64_t rows, columns, count;
  explicit Tiles(const WinogradShape& s)
      : rows(divide_up(s.oh, kOut)), columns(divide_up(s.ow, kOut)), count(s.n * rows * columns) {}
};

struct Place {
  int64_t n, y, x;  // sample, and output pixel of the tile's corner
  Place(const Tiles& tiles, int64_t tile)
      : n(tile / (tiles.rows * tiles.columns)),
        y(tile / tiles.columns % tiles.rows * kOut),
        x(tile % tiles.columns * kOut) {}
};

// Where kSize × kSize pixels from (y, x) of a map [n, h, w, c] are; outside, `zeros`.
template <int kSize, class T>
inline void find_pixels(const T* map, int64_t h, int64_t w, int64_t c, int64_t n, int64_t y,
                        int64_t x, const T* zeros, const T* (&pixels)[kSize][kSize]) {
  for (int i = 0; i < kSize; ++i) {
    const bool is_row = y + i >= 0 && y + i < h;
    const T* row = map + (n * h + (is_row ? y + i : 0)) * w * c;
    for (int j = 0; j < kSize; ++j)
      pixels[i][j] = is_row && x + j >= 0 && x + j < w ? row + (x + j) * c : zeros;
  }
}

// Channels [0, count) of one tile from `pixels` to out[position · plane + channel].
template <class V, class Transform, class T>
inline int64_t transform_pixels(const T* const (&pixels)[Transform::kFrom][Transform::kFrom],
                                int64_t begin, int64_t count, T* out, int64_t plane) {
  constexpr int64_t lanes = int64_t(sizeof(V) / sizeof(T));
  int64_t c = begin;
  for (; c + lanes <= count; c += lanes) {
    transform_tile<V, Transform>(
        [&](int i, int j) { return load_lanes<V>(pixels[i][j] + c); },
        [&](int i, int j, V v) { store_lanes(out + (i * kTile + j) * plane + c, v); });
  }
  return c;
}

template <class M, class Transform>
__attribute__((noinline)) void transform_channels(
    const typename M::T* const (&pixels)[Transform::kFrom][Transform::kFrom], int64_t count,
    typename M::T* out, int64_t plane) {
  using T = typename M::T;
  const int64_t done = transform_pixels<typename M::V, Transform>(pixels, 0, count, out, plane);
  transform_pixels<T, Transform>(pixels, done, count, out, plane);
}

// --- convolution

template <class M>
struct Conv {
  using T = typename M::T;
  using V = typename M::V;

  const WinogradConvParams& p;
  const WinogradShape& s;
  const Tiles tiles;
  const int64_t chunks;
  const int64_t weight_plane, input_plane, product_plane;  // elements between positions

  static constexpr int64_t kUsualStrips = kConvTiles / M::conv_rows;

  static int64_t weight_plane_of(const WinogradShape& s, int64_t group) {
    return round_up(round_up(group, kPanel<M>) * s.c, kSkew) + kSkew;
  }
  static int64_t input_plane_of(const WinogradShape& s, int64_t tiles) {
    return divide_up(s.c, kChunk) * tiles * kChunkStride + kSkew;
  }
  static int64_t product_plane_of(int64_t tiles) { return tiles * kOutputBlock + kSkew; }

  // Strips, of as many tiles as one product has rows, in the next block when `left` are left: the
  // last ones join, because each block reads all weights.
  static int64_t block_of(int64_t left) {
    return left <= 3 * kUsualStrips / 2 ? left : kUsualStrips;
  }

  static WinogradPlan plan(const WinogradShape& s, int64_t threads) {
    WinogradPlan plan{};
    const int64_t strips = divide_up(Tiles(s).count, M::conv_rows);
    plan.workers = smaller(at_least_one(threads), at_least_one(strips));
    plan.blocks = strips;
    const int64_t rows =
        smaller(divide_up(strips, plan.workers), 3 * kUsualStrips / 2) * M::conv_rows;
    plan.tiles = rows;
    plan.scratch =
        round_up(s.c, kSkew) + kPositions * (input_plane_of(s, rows) + product_plane_of(rows));
    const int64_t most = kWeightElements / at_least_one(kPositions * s.c) / kOutputBlock;
    plan.block_k = smaller(s.k, at_least_one(most) * kOutputBlock);
    plan.shared = kPositions * weight_plane_of(s, plan.block_k);
    return plan;
  }

  explicit Conv(const WinogradConvParams& params)
      : p(params),
        s(params.shape),
        tiles(params.shape),
        chunks(divide_up(s.c, kChunk)),
        weight_plane(weight_plane_of(s, p.plan.block_k)),
        input_plane(input_plane_of(s, p.plan.tiles)),
        product_plane(product_plane_of(p.plan.tiles)) {}

  // weight of the group from k0 → shared [position, panel, c, column of the panel], zero beyond k.
  // By kWeightInputs input channels at a time: one by one, the strides of the weight and of the
  // positions would throw everything out of the cache.
  void transform_weights(int64_t k0, int64_t begin, int64_t end) const {
    constexpr int taps = kTap * kTap;
    T values[kWeightInputs][taps][kPanel<M>];
    int64_t offsets[taps];
    for (int tap = 0; tap < taps; ++tap)
      offsets[tap] = tap / kTap * p.stride_row + tap % kTap * p.stride_col;
    const int64_t blocks = divide_up(s.c, kWeightInputs);
    for (int64_t index = begin; index < end; ++index) {
      const int64_t panel = index / blocks, c0 = index % blocks * kWeightInputs;
      const int64_t k = k0 + panel * kPanel<M>, rows = smaller(kWeightInputs, s.c - c0);
      const T* w = static_cast<const T*>(p.weight) + k * p.stride_k + c0 * p.stride_c;
      for (int64_t lane = 0; lane < kPanel<M>; ++lane) {
        for (int64_t c = 0; c < rows; ++c) {
          const T* from = w + lane * p.stride_k + c * p.stride_c;
          for (int tap = 0; tap < taps; ++tap)
            values[c][tap][lane] = k + lane < s.k ? from[offsets[tap]] : T(0);
        }
      }
      T* out = static_cast<T*>(p.shared) + (panel * s.c + c0) * kPanel<M>;
      for (int64_t c = 0; c < rows; ++c) {
        for (int64_t v = 0; v < kPanel<M>; v += kLanes<M>) {
          transform_tile<V, WeightTransform<T>>(
              [&](int i, int j) { return load_lanes<V>(values[c][i * kTap + j] + v); },
              [&](int i, int j, V value) {
                store_lanes(out + (i * kTile + j) * weight_plane + c * kPanel<M> + v, value);
              });
        }
      }
    }
  }

  void transform_inputs(int64_t first, int64_t count, const T* zeros, T* inputs) const {
    for (int64_t t = 0; t < count; ++t) {
      const Place at(tiles, first + t);
      const T* pixels[kTile][kTile];
      find_pixels<kTile>(static_cast<const T*>(p.x), s.h, s.w, s.c, at.n, at.y - s.pad_y,
                         at.x - s.pad_x, zeros, pixels);
      for (int64_t chunk = 0; chunk < chunks; ++chunk) {
        transform_channels<M, InputTransform<T>>(pixels, smaller(kChunk, s.c - chunk * kChunk),
                                                 inputs + (chunk * p.plan.tiles + t) * kChunkStride,
                                                 input_plane);
        for (auto& row : pixels)
          for (const T*& pixel : row) pixel += kChunk;
      }
    }
  }

  // One position, one panel: products [tile, column] of all tiles of the block.
  __attribute__((noinline)) void product(const T* inputs, const T* weights, int64_t count,
                                         T* products) const {
    for (int64_t t = 0; t < count; t += M::conv_rows) {
      T* out = products + t * kOutputBlock;
      // Each chunk has a sum of its own: a sum of short sums keeps its last digits.
      for (int64_t chunk = 0; chunk < chunks || chunk == 0; ++chunk) {
        V sums[M::conv_rows][kVectors] = {};
        multiply<M, M::conv_rows, kChunkStride>(inputs + (chunk * p.plan.tiles + t) * kChunkStride,
                                                1, weights + chunk * kChunk * kPanel<M>, kPanel<M>,
                                                smaller(kChunk, s.c - chunk * kChunk), sums);
#pragma GCC unroll 16
        for (int r = 0; r < M::conv_rows; ++r) {
#pragma GCC unroll 4
          for (int v = 0; v < kVectors; ++v) {
            T* at = out + r * kOutputBlock + v * kLanes<M>;
            store_lanes(at, chunk == 0 ? sums[r][v] : load_lanes<V>(at) + sums[r][v]);
          }
        }
      }
    }
  }

  template <class Lanes>
  int64_t transform_outputs(const T* products, const Place& at, int64_t k, int64_t begin,
                            int64_t count) const {
    constexpr int64_t lanes = int64_t(sizeof(Lanes) / sizeof(T));
    const int64_t height = smaller(kOut, s.oh - at.y), width = smaller(kOut, s.ow - at.x);
    T* y = static_cast<T*>(p.y) + ((at.n * s.oh + at.y) * s.ow + at.x) * s.k + k;
    int64_t c = begin;
    for (; c + lanes <= count; c += lanes) {
      transform_tile<Lanes, OutputTransform<T>>(
          [&](int i, int j) {
            return load_lanes<Lanes>(products + (i * kTile + j) * product_plane + c);
          },
          [&](int i, int j, Lanes v) {
            if (i < height && j < width) store_lanes(y + (i * s.ow + j) * s.k + c, v);
          });
    }
    return c;
  }

  void run_block(int64_t k0, int64_t first, int64_t most, const T* zeros, T* inputs,
                 T* products) const {
    const int64_t count = smaller(most, tiles.count - first);
    if (count <= 0) return;
    transform_inputs(first, count, zeros, inputs);
    const int64_t end = smaller(s.k, k0 + p.plan.block_k);
    for (int64_t k = k0; k < end; k += kOutputBlock) {
      const int64_t columns = smaller(kOutputBlock, end - k);
      for (int position = 0; position < kPositions; ++position) {
        const T* weights =
            static_cast<const T*>(p.shared) + position * weight_plane + (k - k0) * s.c;
        for (int64_t column = 0; column < columns; column += kPanel<M>) {
          product(inputs + position * input_plane, weights + column * s.c, count,
                  products + position * product_plane + column);
        }
      }
      for (int64_t t = 0; t < count; ++t) {
        const Place at(tiles, first + t);
        const T* from = products + t * kOutputBlock;
        const int64_t done = transform_outputs<V>(from, at, k, 0, columns);
        transform_outputs<T>(from, at, k, done, columns);
      }
    }
  }

  void run_worker(int64_t k0, int64_t worker) const {
    T* zeros = static_cast<T*>(p.scratch) + worker * p.plan.scratch;
    T* inputs = zeros + round_up(s.c, kSkew);
    T* products = inputs + kPositions * input_plane;
    for (int64_t c = 0; c < s.c; ++c) zeros[c] = 0;
    const int64_t end = (worker + 1) * p.plan.blocks / p.plan.workers;
    for (int64_t strip = worker * p.plan.blocks / p.plan.workers; strip < end;) {
      const int64_t block = block_of(end - strip);
      run_block(k0, strip * M::conv_rows, block * M::conv_rows, zeros, inputs, products);
      strip += block;
    }
  }

  void run(const Exec& exec) const {
    const int64_t row_bytes = kPositions * kWeightInputs * kPanel<M> * int64_t(sizeof(T));
    for (int64_t k0 = 0; k0 < s.k; k0 += p.plan.block_k) {
      auto weights = [&](int64_t begin, int64_t end) { transform_weights(k0, begin, end); };
      const int64_t panels = divide_up(smaller(p.plan.block_k, s.k - k0), kPanel<M>);
      parallel(exec, panels * divide_up(s.c, kWeightInputs), at_least_one(kGrainBytes / row_bytes),
               weights);
      auto workers = [&](int64_t begin, int64_t end) {
        for (int64_t worker = begin; worker < end; ++worker) run_worker(k0, worker);
      };
      parallel(exec, p.plan.workers, 1, workers);
    }
  }
};

// --- weight gradient

template <class M>
struct Weight {
  using T = typename M::T;
  using V = typename M::V;

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
    const int64_t count = Tiles(s).count;
    plan.block_c = at_least_one(smaller(s.c, kWeightChannels));
    plan.block_k = at_least_one(smaller(s.k, kWeightChannels));
    const int64_t tasks = divide_up(s.c, plan.block_c) * divide_up(s.k, plan.block_k);
    plan.parts = at_least_one(smaller(count / kPartTiles, kMostTasks / at_least_one(tasks)));
    plan.tiles = at_least_one(smaller(kWeightTiles, divide_up(count, plan.parts)));
    plan.blocks = divide_up(divide_up(count, plan.parts), plan.tiles);
    plan.workers = smaller(at_least_one(threads), at_least_one(tasks * plan.parts));
    plan.scratch = round_up(larger(plan.block_c, plan.block_k), kSkew) +
                   kPositions * (plan.tiles * (padded_x(plan.block_c) + padded_y(plan.block_k)) +
                                 2 * kSkew + sums_of(plan.block_c, plan.block_k));
    plan.shared = plan.parts * kTap * kTap * s.c * s.k;
    return plan;
  }

  explicit Weight(const WinogradWeightParams& params)
      : p(params),
        s(params.shape),
        tiles(params.shape),
        stride_x(padded_x(p.plan.block_c)),
        stride_y(padded_y(p.plan.block_k)),
        plane_x(p.plan.tiles * stride_x + kSkew),
        plane_y(p.plan.tiles * stride_y + kSkew),
        sums_plane(sums_of(p.plan.block_c, p.plan.block_k)),
        blocks_c(divide_up(s.c, p.plan.block_c)),
        blocks_k(divide_up(s.k, p.plan.block_k)) {}

  // sums[position] [c, k] += Σ_tiles x · dy
  __attribute__((noinline)) void product(const T* xs, const T* ys, int64_t count, int64_t rows,
                                         int64_t columns, T* sums) const {
    const int64_t width = round_up(columns, kPanel<M>);
    for (int64_t k = 0; k < columns; k += kPanel<M>) {
      for (int64_t c = 0; c < rows; c += M::weight_rows) {
        T* at = sums + c * width + k;
        V block[M::weight_rows][kVectors];
#pragma GCC unroll 16
        for (int r = 0; r < M::weight_rows; ++r)
#pragma GCC unroll 4
          for (int v = 0; v < kVectors; ++v)
            block[r][v] = load_lanes<V>(at + r * width + v * kLanes<M>);
        multiply<M, M::weight_rows, 1>(xs + c, stride_x, ys + k, stride_y, count, block);
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
      transform_tile<Lanes, WeightAdjoint<T>>(
          [&](int i, int j) { return load_lanes<Lanes>(from + (i * kTile + j) * sums_plane + k); },
          [&](int i, int j, Lanes v) { store_lanes(to + (i * kTap + j) * s.c * s.k + k, v); });
    }
    return k;
  }

  void run_task(int64_t task, const T* zeros, T* xs, T* ys, T* sums) const {
    const int64_t part = task / (blocks_c * blocks_k);
    const int64_t c = task / blocks_k % blocks_c * p.plan.block_c;
    const int64_t k = task % blocks_k * p.plan.block_k;
    const int64_t rows = smaller(p.plan.block_c, s.c - c),
                  columns = smaller(p.plan.block_k, s.k - k);
    const int64_t width = round_up(columns, kPanel<M>);
    for (int64_t i = 0; i < kPositions * sums_plane; ++i) sums[i] = 0;
    const int64_t per_part = divide_up(tiles.count, p.plan.parts);
    const int64_t end = smaller(tiles.count, (part + 1) * per_part);
    for (int64_t first = part * per_part; first < end; first += p.plan.tiles) {
      const int64_t count = smaller(p.plan.tiles, end - first);
      for (int64_t t = 0; t < count; ++t) {
        const Place at(tiles, first + t);
        const T* input[kTile][kTile];
        find_pixels<kTile>(static_cast<const T*>(p.x) + c, s.h, s.w, s.c, at.n, at.y - s.pad_y,
                           at.x - s.pad_x, zeros, input);
        transform_channels<M, InputTransform<T>>(input, rows, xs + t * stride_x, plane_x);
        const T* output[kOut][kOut];
        find_pixels<kOut>(static_cast<const T*>(p.dy) + k, s.oh, s.ow, s.k, at.n, at.y, at.x, zeros,
                          output);
        transform_channels<M, OutputAdjoint<T>>(output, columns, ys + t * stride_y, plane_y);
      }
      for (int position = 0; position < kPositions; ++position)
        product(xs + position * plane_x, ys + position * plane_y, count, rows, columns,
                sums + position * sums_plane);
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
    for (T* at = zeros; at < sums; ++at) *at = 0;
    const int64_t tasks = p.plan.parts * blocks_c * blocks_k, workers = p.plan.workers;
    for (int64_t task = worker * tasks / workers; task < (worker + 1) * tasks / workers; ++task)
      run_task(task, zeros, xs, ys, sums);
  }

  // dw = Σ_parts partial, from rows of k to any layout by squares that stay in the cache.
  void add_parts(int64_t begin, int64_t end) const {
    constexpr int64_t side = 16;
    const T* partial = static_cast<const T*>(p.shared);
    T* dw = static_cast<T*>(p.dw);
    const int64_t squares_k = divide_up(s.k, side), taps = kTap * kTap;
    for (int64_t square = begin; square < end; ++square) {
      const int64_t c0 = square / squares_k * side, k0 = square % squares_k * side;
      const int64_t width = smaller(side, s.k - k0);
      for (int64_t c = c0; c < smaller(s.c, c0 + side); ++c) {
        for (int64_t tap = 0; tap < taps; ++tap) {
          T sum[side] = {};
          for (int64_t part = 0; part < p.plan.parts; ++part) {
            const T* from = partial + ((part * taps + tap) * s.c + c) * s.k + k0;
            for (int64_t k = 0; k < width; ++k) sum[k] += from[k];
          }
          T* to = dw + k0 * p.stride_k + c * p.stride_c + tap / kTap * p.stride_row +
                  tap % kTap * p.stride_col;
          for (int64_t k = 0; k < width; ++k) to[k * p.stride_k] = sum[k];
        }
      }
    }
  }

  void run(const Exec& exec) const {
    auto workers = [&](int64_t begin, int64_t end) {
      for (int64_t worker = begin; worker < end; ++worker) run_worker(worker);
    };
    parallel(exec, p.plan.workers, 1, workers);
    auto squares = [&](int64_t begin, int64_t end) { add_parts(begin, end); };
    const int64_t square_bytes = 256 * kTap * kTap * (p.plan.parts + 1) * int64_t(sizeof(T));
    parallel(exec, divide_up(s.c, 16) * divide_up(s.k, 16),
             at_least_one(kGrainBytes / square_bytes), squares);
  }
};

WinogradPlan plan_conv(const WinogradShape& s, bool is_double, int64_t threads) {
  return is_double ? Conv<Float64>::plan(s, threads) : Conv<Float32>::plan(s, threads);
}
WinogradPlan plan_weight(const WinogradShape& s, bool is_double, int64_t threads) {
  return is_double ? Weight<Float64>::plan(s, threads) : Weight<Float32>::plan(s, threads);
}
int conv(const WinogradConvParams& p, const Exec& exec) {
  p.is_double ? Conv<Float64>(p).run(exec) : Conv<Float32>(p).run(exec);
  return 0;
}
int weight(const WinogradWeightParams& p, const Exec& exec) {
  p.is_double ? Weight<Float64>(p).run(exec) : Weight<Float32>(p).run(exec);
  return 0;
}

}  // namespace

extern const WinogradConv2dKernels winograd_conv2d;
const WinogradConv2dKernels winograd_conv2d = {plan_conv, plan_weight, conv, weight};

}  // namespace fastgan::FASTGAN_ISA
