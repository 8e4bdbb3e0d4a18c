// SPDX-License-Identifier: Apache-2.0
// CUDA kernels of bias_act. Memory-bound: what counts is 16-byte accesses, no 64-bit division, and
// the bias gradient out of the pass that makes dx.
#include "../../common/leaky_relu.cuh"
#include "../../common/strip.cuh"
#include "activation.cuh"
#include "bias_act.h"

namespace fastgan::cuda {
namespace {

template <class T>
struct Options {
  using A = compute_t<T>;
  A alpha, gain, clamp;
  Activation act;
  bool is_from_y;  // backward: the branch is read off the forward output

  explicit Options(const BiasActParams& p)
      : alpha(A(p.alpha)),
        gain(A(p.gain)),
        clamp(A(p.clamp)),
        act(p.dy && (p.y || !p.x) ? Activation::kLrelu : p.act),
        is_from_y(p.y != nullptr) {}
};

template <class T>
struct Arrays {
  const T *dy, *reference, *b;  // reference: x; backward from y: y, and no b
  T* out;

  explicit Arrays(const BiasActParams& p)
      : dy(static_cast<const T*>(p.dy)),
        reference(static_cast<const T*>(p.y ? p.y : p.x)),
        b(p.y ? nullptr : static_cast<const T*>(p.b)),
        out(static_cast<T*>(p.out)) {}
};

template <class Act, class T, class A>
__device__ __forceinline__ A forward_one(Act act, A u, const Options<T>& o) {
  const A v = o.gain * act.value(u, o.alpha);
  const A low = v < -o.clamp ? -o.clamp : v;  // a NaN passes through both comparisons
  return low > o.clamp ? o.clamp : low;
}

// dx of one element. y > 0 where u > 0, so that either tells the slope.
template <class Act, class T, class A>
__device__ __forceinline__ A backward_one(Act act, A dy, A reference, const Options<T>& o) {
  const A v = o.is_from_y ? reference : o.gain * act.value(reference, o.alpha);
  const A slope = o.gain * act.slope(reference, o.alpha);
  return (v < 0 ? -v : v) >= o.clamp ? A(0) : dy * slope;  // a NaN is never hidden
}

enum class Direction { kForward, kBackward, kEither };

// Elements i … i + kN - 1: bias(k) is added to what act is evaluated at, and each result goes,
// before it is rounded, to take(k, value).
template <class Acts, Direction kDirection, int kN, class Index, class T, class Bias, class Take>
__device__ __forceinline__ void transform(const Arrays<T>& arrays, Index i, const Options<T>& o,
                                          Bias&& bias, Take&& take) {
  using A = compute_t<T>;
  const bool is_backward = kDirection == Direction::kBackward ||
                           (kDirection == Direction::kEither && arrays.dy != nullptr);
  Run<T, kN> dy, reference, out;
  if (is_backward) dy = load_run<kN>(arrays.dy + i);
  if (arrays.reference) reference = load_run<kN>(arrays.reference + i);
  Acts::pick(o.act, [&](auto act) {
#pragma unroll
    for (int k = 0; k < kN; ++k) {
      // Linear without clamp has no reference: its alpha is 1 and its slope the same everywhere.
      const A u = arrays.reference ? load(reference.v[k]) + bias(k) : A(0);
      const A value = is_backward ? backward_one(act, load(dy.v[k]), u, o) : forward_one(act, u, o);
      take(k, value);
      out.v[k] = narrow<T>(value);
    }
  });
  store_run<kN>(arrays.out + i, out);
}

// y holds the bound as its dtype rounds it.
template <class T>
__device__ __forceinline__ Options<T> as_stored(Options<T> o) {
  if (o.is_from_y) o.clamp = load(narrow<T>(o.clamp));
  return o;
}

// Where element i of [outer, channels, inner] finds its channel.
template <class Index>
struct Channels {
  Divisor<Index> inner, channels;
  int64_t count;
  bool is_innermost;

  explicit Channels(const BiasActParams& p)
      : inner(p.inner), channels(p.channels), count(p.channels), is_innermost(p.inner == 1) {}
  __device__ __forceinline__ Index of(Index i) const {
    const Index row = is_innermost ? i : inner.divide(i);
    return row - channels.divide(row) * Index(count);
  }
};

// Without db: kN elements a step, all in one channel or (channels innermost) in kN adjacent ones.
template <class T, class Acts, Direction kDirection, int kN, class Index>
__global__ void __launch_bounds__(kThreads)
    elementwise_kernel(Arrays<T> arrays, Options<T> given, Channels<Index> channels,
                       int64_t steps) {
  using A = compute_t<T>;
  const Options<T> o = as_stored(given);
  const Index stride = Index(gridDim.x * kThreads);
  for (Index step = Index(blockIdx.x * kThreads + threadIdx.x); step < Index(steps);
       step += stride) {
    const Index i = step * kN;
    Run<T, kN> biases;
    A common = A(0);
    if (arrays.b) {
      const Index c = channels.of(i);
      if (channels.is_innermost)
        biases = load_run<kN>(arrays.b + c);
      else
        common = load(arrays.b[c]);
    }
    const bool is_common = !arrays.b || !channels.is_innermost;
    transform<Acts, kDirection, kN>(
        arrays, i, o, [&](int k) { return is_common ? common : load(biases.v[k]); }, [](int, A) {});
  }
}

// The forward pass of piecewise-linear activations. Each thread's channel is fixed.
template <class T, int kN, bool kIsInnermost>
__global__ void __launch_bounds__(kThreads)
    forward_kernel(BiasActParams p, LeakyRelu<compute_t<T>> act, Strips strips) {
  using A = compute_t<T>;
  const int64_t runs = (kIsInnermost ? p.channels : p.inner) / kN;
  const Strip own = kIsInnermost ? strip_of_rows(strips, p.outer, runs)
                                 : strip_of_planes<true>(strips, p.outer, p.channels, runs);
  if (own.count == 0) return;
  constexpr int kBiases = kIsInnermost ? kN : 1;
  A bias[kBiases] = {};
  if (p.b) {
    const Run<T, kBiases> b = load_run<kBiases>(static_cast<const T*>(p.b) + own.channel * kBiases);
#pragma unroll
    for (int k = 0; k < kBiases; ++k) bias[k] = load(b.v[k]);
  }
  act.pick([&](auto&& f) {
    const T* x = static_cast<const T*>(p.x) + own.first * kN;
    T* y = static_cast<T*>(p.out) + own.first * kN;
    const int64_t stride = own.stride * kN, next = own.next * kN;
#pragma unroll 1
    for (int row = 0; row < own.count; ++row, x += next, y += next)
      walk_strip(
          own.length, stride, [&](int64_t i, int) { return load_run<kN>(x + i); },
          [&](int64_t i, Run<T, kN> run) {
#pragma unroll
            for (int k = 0; k < kN; ++k)
              run.v[k] = narrow<T>(f(load(run.v[k]) + bias[kIsInnermost ? k : 0]));
            store_run<kN>(y + i, run);
          });
  });
}

// How the kernels that also make db go over [outer, channels, inner], counted in runs of kN
// elements (an index that is not visibly a multiple of kN costs the compiler its 16-byte stores). A
// slice is `rows` outer items and, of planes, one of `pieces` pieces of `piece` runs each. No
// division is left to the threads but one of 32 bits, so that one index type serves all sizes.
struct Walk {
  int width, pieces;
  int64_t piece, rows, slices;
};

// Blocks that a multiprocessor is to hold: six leave 40 registers a thread, enough where the slope
// is one of two numbers.
template <class T, class Acts>
constexpr int kPlaneBlocks = sizeof(T) < 8 && std::is_same_v<Acts, PiecewiseLinearOnly> ? 6 : 4;

// With db, planes. Groups of `width` adjacent threads, the least power of two that covers a plane
// (up to the whole block), take adjacent channels, so that a warp reads adjacent memory also where
// planes are small: of 4 × 4 in bfloat16, two threads read a plane and a block reads 128 planes.
template <class T, class Acts, int kN>
__global__ void __launch_bounds__(kThreads, kPlaneBlocks<T, Acts>)
    backward_planes_kernel(BiasActParams p, Arrays<T> arrays, Options<T> given, Walk walk) {
  using A = compute_t<T>;
  const Options<T> o = as_stored(given);
  const int lane = int(threadIdx.x) & (walk.width - 1), group = int(threadIdx.x) / walk.width;
  const int64_t c = int64_t(blockIdx.x) * (kThreads / walk.width) + group;
  const int64_t first = int64_t(blockIdx.y / unsigned(walk.pieces)) * walk.rows;
  const int64_t last = first + walk.rows < p.outer ? first + walk.rows : p.outer;
  const int64_t runs = p.inner / kN;
  const int64_t begin = int64_t(blockIdx.y % unsigned(walk.pieces)) * walk.piece;
  const int64_t end = begin + walk.piece < runs ? begin + walk.piece : runs;
  A sum[1] = {};
  if (c < p.channels) {
    const A bias = arrays.b ? load(arrays.b[c]) : A(0);
    for (int64_t row = first; row < last; ++row) {
      const int64_t plane = (row * p.channels + c) * runs;
      for (int64_t r = begin + lane; r < end; r += walk.width)
        transform<Acts, Direction::kBackward, kN>(
            arrays, (plane + r) * kN, o, [&](int) { return bias; }, [&](int, A v) { sum[0] += v; });
    }
  }
  group_sums(sum, walk.width);
  if (lane == 0 && c < p.channels)
    static_cast<A*>(p.scratch)[int64_t(blockIdx.y) * p.channels + c] = sum[0];
}

// With db, channels innermost. A thread owns kN adjacent channels; `width` threads lie side by
// side, the least power of two that covers a row (up to a warp), and the block's kThreads / width
// rows of threads walk down a slice together: adjacent memory again, also of few channels.
template <class T, class Acts, int kN>
__global__ void __launch_bounds__(kThreads)
    backward_columns_kernel(BiasActParams p, Arrays<T> arrays, Options<T> given, Walk walk) {
  using A = compute_t<T>;
  const Options<T> o = as_stored(given);
  const int column = int(threadIdx.x) & (walk.width - 1);
  const int64_t runs = p.channels / kN, block = int64_t(blockIdx.x) * walk.width;
  const int64_t first = int64_t(blockIdx.y) * walk.rows;
  const int64_t last = first + walk.rows < p.outer ? first + walk.rows : p.outer;
  A sums[kN] = {};
  if (block + column < runs) {
    const int64_t at_once = kThreads / walk.width;
    for (int64_t row = first + int(threadIdx.x) / walk.width; row < last; row += at_once) {
      Run<T, kN> bias;
      if (arrays.b) bias = load_run<kN>(arrays.b + (block + column) * kN);
      transform<Acts, Direction::kBackward, kN>(
          arrays, (row * runs + block + column) * kN, o,
          [&](int k) { return arrays.b ? load(bias.v[k]) : A(0); },
          [&](int k, A v) { sums[k] += v; });
    }
  }
  const A sum = column_sum(sums, walk.width);
  const int64_t own = block * kN + threadIdx.x;
  if (int(threadIdx.x) < walk.width * kN && own < p.channels)
    static_cast<A*>(p.scratch)[int64_t(blockIdx.y) * p.channels + own] = sum;
}

// Elements per access: 16 bytes' worth where runs and pointers allow it, else one; float64 is for
// tests and always goes one by one.
int64_t run_length(const BiasActParams& p) {
  if (p.dtype == DType::kFloat64) return 1;
  const int64_t n = p.dtype == DType::kFloat32 ? 4 : 8;
  const bool is_innermost = p.inner == 1;
  const bool is_vector = (is_innermost ? p.channels : p.inner) % n == 0 && is_aligned16(p.x) &&
                         is_aligned16(p.out) && is_aligned16(p.dy) && is_aligned16(p.y) &&
                         (!is_innermost || is_aligned16(p.b));
  return is_vector ? n : 1;
}

int64_t blocks_side_by_side(const BiasActParams& p, int width) {
  return divide_up(p.channels, p.inner == 1 ? width * run_length(p) : kThreads / width);
}

Walk walk_of(const BiasActParams& p) {
  const int64_t n = run_length(p);
  Walk w{};
  w.pieces = 1;
  if (p.inner == 1) {
    w.width = power_of_two(p.channels / n, kWarp);
    const int64_t wanted = wanted_slices(blocks_side_by_side(p, w.width));
    const int64_t at_once = kThreads / w.width;
    w.rows = divide_up(p.outer, at_once * wanted) * at_once;
  } else {
    w.width = power_of_two(p.inner / n, kThreads);
    const int64_t wanted = wanted_slices(blocks_side_by_side(p, w.width));
    const int64_t runs = p.inner / n, steps = divide_up(runs, w.width);
    w.rows = divide_up(p.outer, wanted);
    const int64_t pieces = w.rows > 1 ? 1 : wanted / p.outer;
    w.piece = divide_up(steps, pieces < steps ? pieces : steps) * w.width;
    w.pieces = int(divide_up(runs, w.piece));
  }
  w.slices = divide_up(p.outer, w.rows) * w.pieces;
  return w;
}

int64_t slices(const BiasActParams& p) {
  return p.outer * p.channels * p.inner == 0 ? 0 : walk_of(p).slices;
}

template <class T, int kN>
int launch_forward(const BiasActParams& p, const Exec& exec) {
  using A = compute_t<T>;
  const auto stream = static_cast<cudaStream_t>(exec.stream);
  const LeakyRelu<A> act(A(p.alpha), A(p.gain), A(p.clamp));
  const Strips strips = p.inner == 1 ? rows_in_strips(p.outer, p.channels / kN)
                                     : planes_in_strips(p.outer, p.channels, p.inner / kN);
  const auto kernel = p.inner == 1 ? forward_kernel<T, kN, true> : forward_kernel<T, kN, false>;
  launch(kernel, strips.grid, dim3(kThreads), 0, stream, p, act, strips);
  return last_error();
}

template <class T, class Acts, Direction kDirection, int kN, class Index>
int launch_elementwise(const BiasActParams& p, const Exec& exec) {
  const int64_t steps = p.outer * p.channels * p.inner / kN;
  launch(elementwise_kernel<T, Acts, kDirection, kN, Index>, grid_for(steps), dim3(kThreads), 0,
         static_cast<cudaStream_t>(exec.stream), Arrays<T>(p), Options<T>(p), Channels<Index>(p),
         steps);
  return last_error();
}

// One kernel for each set of activations and direction where it pays, which is with 16-byte
// accesses and narrow indices. The others find out at run time what to do; a smooth activation of
// more than 2^31 elements, and everything whose runs are ragged, goes element by element.
template <Direction kDirection>
int elementwise(const BiasActParams& p, const Exec& exec) {
  const int64_t numel = p.outer * p.channels * p.inner;
  if (numel == 0) return 0;
  return dispatch(p.dtype, [&](auto type) {
    using T = decltype(type);
    return dispatch_index(numel, [&](auto index) {
      using Index = decltype(index);
      if constexpr (sizeof(T) < 8) {
        constexpr int kN = Vec<T>::kN;
        if (run_length(p) == kN) {
          if constexpr (kDirection == Direction::kForward)
            if (is_piecewise_linear(p.act) && p.alpha <= 1) return launch_forward<T, kN>(p, exec);
          constexpr bool kIsWide = std::is_same_v<Index, int64_t>;
          constexpr Direction kGiven = kIsWide ? Direction::kEither : kDirection;
          if (is_piecewise_linear(Options<T>(p).act))
            return launch_elementwise<T, PiecewiseLinearOnly, kGiven, kN, Index>(p, exec);
          if constexpr (!kIsWide)
            return launch_elementwise<T, SmoothOnly, kGiven, kN, Index>(p, exec);
        }
      }
      return launch_elementwise<T, AnyActivation, Direction::kEither, 1, Index>(p, exec);
    });
  });
}

int forward(const BiasActParams& p, const Exec& exec) {
  return elementwise<Direction::kForward>(p, exec);
}

template <class T, class Acts, int kN>
int backward_with_db(const BiasActParams& p, const Exec& exec) {
  const auto stream = static_cast<cudaStream_t>(exec.stream);
  const Walk walk = walk_of(p);
  // y ends at 65535, x does not.
  const dim3 grid(unsigned(blocks_side_by_side(p, walk.width)), unsigned(walk.slices));
  const auto kernel =
      p.inner == 1 ? backward_columns_kernel<T, Acts, kN> : backward_planes_kernel<T, Acts, kN>;
  launch(kernel, grid, dim3(kThreads), 0, stream, p, Arrays<T>(p), Options<T>(p), walk);
  if (const int error = last_error()) return error;
  const ColumnSumJob<T> db = {static_cast<const compute_t<T>*>(p.scratch), static_cast<T*>(p.db),
                              walk.slices, p.channels};
  return launch_column_sums<T>({db, {}, {}}, stream);
}

int backward(const BiasActParams& p, const Exec& exec) {
  if (!p.db) return elementwise<Direction::kBackward>(p, exec);
  if (p.outer * p.channels * p.inner == 0) return 0;
  return dispatch(p.dtype, [&](auto type) {
    using T = decltype(type);
    if constexpr (sizeof(T) < 8) {
      constexpr int kN = Vec<T>::kN;
      if (run_length(p) == kN)
        return is_piecewise_linear(Options<T>(p).act)
                   ? backward_with_db<T, PiecewiseLinearOnly, kN>(p, exec)
                   : backward_with_db<T, SmoothOnly, kN>(p, exec);
    }
    return backward_with_db<T, AnyActivation, 1>(p, exec);
  });
}

}  // namespace

extern const BiasActKernels bias_act;
const BiasActKernels bias_act = {slices, forward, backward};

}  // namespace fastgan::cuda
