// CUDA kernels of noise_bias_act: the epilogue of a layer in one pass forward and one backward, the
// sums for scale, strength and b out of the pass that makes dx.
#include "../../common/leaky_relu.cuh"
#include "../../common/strip.cuh"
#include "noise_bias_act.h"

namespace fastgan::cuda {
namespace {

template <class T>
struct Options {
  using A = compute_t<T>;
  A alpha, gain, clamp;

  explicit Options(const NoiseBiasActParams& p)
      : alpha(A(p.alpha)), gain(A(p.gain)), clamp(A(p.clamp)) {}
};

template <class T, class A = compute_t<T>>
__device__ __forceinline__ A forward_one(A u, const Options<T>& o) {
  // relu(-inf) is 0, relu(NaN) NaN; a NaN passes through both comparisons with the clamp.
  const A v = o.gain * (u > 0 ? u : o.alpha == 0 && u < 0 ? A(0) : u * o.alpha);
  const A low = v < -o.clamp ? -o.clamp : v;
  return low > o.clamp ? o.clamp : low;
}

// Where element i finds its parameters and its noise.
template <class Index>
struct Axes {
  Divisor<Index> channels, inner;
  int64_t channel_count, inner_count, noise_stride;  // noise_stride: from sample to sample
  bool is_channels_last;

  explicit Axes(const NoiseBiasActParams& p)
      : channels(p.channels),
        inner(p.inner),
        channel_count(p.channels),
        inner_count(p.inner),
        noise_stride(p.is_noise_shared ? 0 : p.inner),
        is_channels_last(p.is_channels_last) {}
};

// Whatever the kernels below do not take: element by element.
template <class T, class Index>
__global__ void __launch_bounds__(kThreads)
    scalar_forward_kernel(NoiseBiasActParams p, Options<T> o, Axes<Index> axes, Index numel) {
  using A = compute_t<T>;
  const T* noises = static_cast<const T*>(p.noise);
  const A* scales = static_cast<const A*>(p.scale);
  const A* biases = static_cast<const A*>(p.b);
  const A strength = p.strength ? *static_cast<const A*>(p.strength) : A(1);
  const Index stride = Index(gridDim.x * kThreads), channels = Index(axes.channel_count);
  const Index inner = Index(axes.inner_count), noise_stride = Index(axes.noise_stride);
  for (Index i = Index(blockIdx.x * kThreads + threadIdx.x); i < numel; i += stride) {
    const Index width = axes.is_channels_last ? channels : inner;
    const Index row = (axes.is_channels_last ? axes.channels : axes.inner).divide(i);
    const Index height = axes.is_channels_last ? inner : channels;
    const Index n = (axes.is_channels_last ? axes.inner : axes.channels).divide(row);
    const Index column = i - row * width, line = row - n * height;
    const Index c = axes.is_channels_last ? column : line,
                s = axes.is_channels_last ? line : column;
    const A scale = scales ? scales[n * channels + c] : A(1), b = biases ? biases[c] : A(0);
    const A add = noises ? strength * load(noises[n * noise_stride + s]) : A(0);
    const A u = scale * load(static_cast<const T*>(p.x)[i]) + add + b;
    static_cast<T*>(p.out)[i] = narrow<T>(forward_one<T>(u, o));
  }
}

template <class A>
__device__ __forceinline__ A strength_of(const NoiseBiasActParams& p) {
  return !p.noise ? A(0) : p.strength ? *static_cast<const A*>(p.strength) : A(1);
}

// Planes of whole runs. A strip stays in one plane, whose scale it keeps.
template <class T, int kN>
__global__ void __launch_bounds__(kThreads)
    forward_planes_kernel(NoiseBiasActParams p, LeakyRelu<compute_t<T>> act, Strips strips) {
  using A = compute_t<T>;
  struct Loaded {
    Run<T, kN> x;
    uint4 noise;  // 0 where there is none
  };
  const int64_t runs = p.inner / kN;
  const Strip own = strip_of_planes<false>(strips, p.outer, p.channels, runs);
  if (own.count == 0) return;
  const A b = p.b ? static_cast<const A*>(p.b)[own.channel] : A(0), strength = strength_of<A>(p);
  const int64_t first_plane = int64_t(blockIdx.y) * strips.rows * p.channels + own.channel;
  const int64_t begin = (own.first - first_plane * runs) * kN, stride = own.stride * kN;
  act.pick([&](auto&& f) {
#pragma unroll 1
    for (int row = 0; row < own.count; ++row) {
      const int64_t n = int64_t(blockIdx.y) * strips.rows + row,
                    plane = n * p.channels + own.channel;
      const A scale = p.scale ? static_cast<const A*>(p.scale)[plane] : A(1);
      const T* x = static_cast<const T*>(p.x) + (plane * p.inner + begin);
      T* y = static_cast<T*>(p.out) + (plane * p.inner + begin);
      const T* noise =
          static_cast<const T*>(p.noise) + ((p.is_noise_shared ? 0 : n * p.inner) + begin);
      walk_strip(
          own.length, stride,
          [&](int64_t i, int) {
            Loaded loaded{load_run<kN>(x + i), {}};
            if (p.noise) loaded.noise = *reinterpret_cast<const uint4*>(noise + i);
            return loaded;
          },
          [&](int64_t i, Loaded loaded) {
            A values[kN], noises[kN];
            unpack(loaded.x, values);
            unpack(*reinterpret_cast<const Run<T, kN>*>(&loaded.noise), noises);
#pragma unroll
            for (int k = 0; k < kN; ++k)
              loaded.x.v[k] = narrow<T>(f(scale * values[k] + (strength * noises[k] + b)));
            store_run<kN>(y + i, loaded.x);
          });
    }
  });
}

// Channels innermost and whole runs of them; z of the grid counts samples.
template <class T, int kN>
__global__ void __launch_bounds__(kThreads, 4)  // at most 64 registers
    forward_columns_kernel(NoiseBiasActParams p, LeakyRelu<compute_t<T>> act, Strips strips) {
  using A = compute_t<T>;
  struct Loaded {
    Run<T, kN> x;
    A noise;
  };
  const int64_t runs = p.channels / kN;
  const Strip own = strip_of_rows(strips, p.inner, runs);
  if (own.count == 0) return;
  const A strength = strength_of<A>(p);
  Run<A, kN> b{};
  if (p.b) b = load_run<kN>(static_cast<const A*>(p.b) + own.channel * kN);
  const int64_t pixel = int64_t(blockIdx.y) * strips.rows + (int(threadIdx.x) >> strips.log_width);
  act.pick([&](auto&& f) {
#pragma unroll 1
    for (int64_t n = blockIdx.z; n < p.outer; n += gridDim.z) {
      Run<A, kN> scale;
#pragma unroll
      for (int k = 0; k < kN; ++k) scale.v[k] = A(1);
      if (p.scale)
        scale = load_run<kN>(static_cast<const A*>(p.scale) + (n * runs + own.channel) * kN);
      const int64_t first = (n * p.inner * runs + own.first) * kN, stride = own.stride * kN;
      const T* x = static_cast<const T*>(p.x) + first;
      T* y = static_cast<T*>(p.out) + first;
      const T* noise =
          static_cast<const T*>(p.noise) + ((p.is_noise_shared ? 0 : n * p.inner) + pixel);
      walk_strip(
          own.length, stride,
          [&](int64_t i, int j) {
            Loaded loaded{load_run<kN>(x + i), A(0)};
            if (p.noise) loaded.noise = load(noise[j * strips.groups()]);
            return loaded;
          },
          [&](int64_t i, Loaded loaded) {
            const A add = strength * loaded.noise;
            A values[kN];
            unpack(loaded.x, values);
#pragma unroll
            for (int k = 0; k < kN; ++k)
              loaded.x.v[k] = narrow<T>(f(scale.v[k] * values[k] + (add + b.v[k])));
            store_run<kN>(y + i, loaded.x);
          });
    }
  });
}

// du of one element. y > 0 where u > 0, and holds the clamp as its dtype rounds it.
template <class T>
struct Slope {
  using A = compute_t<T>;
  A above, below, clamp;

  __device__ __forceinline__ explicit Slope(const Options<T>& o)
      : above(o.gain), below(o.gain * o.alpha), clamp(load(narrow<T>(o.clamp))) {}
  __device__ __forceinline__ A du(A dy, A y) const {
    return (y < 0 ? -y : y) >= clamp ? A(0) : dy * (y > 0 ? above : below);
  }
};

// How the backward kernels go over one sample, counted in runs of kN elements (an index that is not
// visibly a multiple of kN costs the compiler its 16-byte stores). `blocks` blocks side by side
// take all channels; each of `slices` slices is `length` runs of every plane or, of channels_last,
// `length` positions. No division is left to the threads but one of 32 bits.
struct Walk {
  int width, blocks, slices;
  int64_t length;
};

// What a block leaves of each sum; null where it is not wanted. The first two are
// [slices, outer, channels].
template <class A>
struct Parts {
  A *dscale, *db, *dstrength;
};

// Planes. Groups of `width` adjacent threads, the least power of two that covers a plane (up to the
// whole block), take adjacent channels of one sample: a warp reads adjacent memory also where
// planes are small, and a block is full where there are kThreads / width channels.
template <class T, int kN>
__global__ void __launch_bounds__(kThreads)
    backward_planes_kernel(NoiseBiasActParams p, Options<T> o, Walk walk,
                           Parts<compute_t<T>> parts) {
  using A = compute_t<T>;
  const Slope<T> slope(o);
  const int lane = int(threadIdx.x) & (walk.width - 1), group = int(threadIdx.x) / walk.width;
  const int64_t n = blockIdx.x / unsigned(walk.blocks);
  const int64_t c = int64_t(blockIdx.x % unsigned(walk.blocks)) * (kThreads / walk.width) + group;
  const int64_t runs = p.inner / kN, plane = n * p.channels + c;
  const int64_t begin = int64_t(blockIdx.y) * walk.length;
  const int64_t end = begin + walk.length < runs ? begin + walk.length : runs;
  A sums[3] = {};  // du·x, du, du·noise
  if (c < p.channels) {
    const T* noises = static_cast<const T*>(p.noise);
    const A scale = p.scale ? static_cast<const A*>(p.scale)[plane] : A(1);
    const int64_t noise_at = p.is_noise_shared ? 0 : n * runs;
    for (int64_t r = begin + lane; r < end; r += walk.width) {
      const int64_t i = (plane * runs + r) * kN;
      Run<T, kN> run = load_run<kN>(static_cast<const T*>(p.dy) + i), y, x, noise;
      if (p.y) y = load_run<kN>(static_cast<const T*>(p.y) + i);
      if (p.x) x = load_run<kN>(static_cast<const T*>(p.x) + i);
      if (noises) noise = load_run<kN>(noises + (noise_at + r) * kN);
#pragma unroll
      for (int k = 0; k < kN; ++k) {
        const A du = slope.du(load(run.v[k]), p.y ? load(y.v[k]) : A(0));
        if (p.x) sums[0] += du * load(x.v[k]);
        sums[1] += du;
        if (noises) sums[2] += du * load(noise.v[k]);
        run.v[k] = narrow<T>(scale * du);
      }
      store_run<kN>(static_cast<T*>(p.out) + i, run);
    }
  }
  if (!parts.dscale && !parts.db && !parts.dstrength) return;
  group_sums(sums, walk.width);
  if (lane != 0 || c >= p.channels) return;
  const int64_t at = int64_t(blockIdx.y) * p.outer * p.channels + plane;
  if (parts.dscale) parts.dscale[at] = sums[0];
  if (parts.db) parts.db[at] = sums[1];
  if (parts.dstrength) parts.dstrength[at] = sums[2];
}

// channels_last. A thread owns kN adjacent channels of one sample; `width` threads lie side by
// side, the least power of two that covers a row of channels (up to a warp), and the block's
// kThreads / width rows of threads walk over the positions of a slice together.
template <class T, int kN>
__global__ void __launch_bounds__(kThreads, 4)  // at most 64 registers
    backward_columns_kernel(NoiseBiasActParams p, Options<T> o, Walk walk,
                            Parts<compute_t<T>> parts) {
  using A = compute_t<T>;
  const Slope<T> slope(o);
  const unsigned row_of_blocks = blockIdx.x / unsigned(walk.blocks);
  const int64_t n = row_of_blocks / unsigned(walk.slices);
  const int64_t slice = row_of_blocks % unsigned(walk.slices);
  const int64_t block = int64_t(blockIdx.x % unsigned(walk.blocks)) * walk.width;
  const int64_t runs = p.channels / kN, column = block + (int(threadIdx.x) & (walk.width - 1));
  const int64_t begin = slice * walk.length;
  const int64_t end = begin + walk.length < p.inner ? begin + walk.length : p.inner;
  A by_x[kN] = {}, plain[kN] = {}, by_noise[1] = {};
  if (column < runs) {
    const T* noises = static_cast<const T*>(p.noise);
    const A* scales = static_cast<const A*>(p.scale);
    const int64_t at_once = kThreads / walk.width, noise_at = p.is_noise_shared ? 0 : n * p.inner;
    for (int64_t s = begin + int(threadIdx.x) / walk.width; s < end; s += at_once) {
      const int64_t i = ((n * p.inner + s) * runs + column) * kN;
      Run<T, kN> run = load_run<kN>(static_cast<const T*>(p.dy) + i), y, x;
      if (p.y) y = load_run<kN>(static_cast<const T*>(p.y) + i);
      if (p.x) x = load_run<kN>(static_cast<const T*>(p.x) + i);
      Run<A, kN> scale;
      if (scales) scale = load_run<kN>(scales + (n * runs + column) * kN);
      A sum = 0;
#pragma unroll
      for (int k = 0; k < kN; ++k) {
        const A du = slope.du(load(run.v[k]), p.y ? load(y.v[k]) : A(0));
        if (p.x) by_x[k] += du * load(x.v[k]);
        plain[k] += du;
        sum += du;
        run.v[k] = narrow<T>(scales ? scale.v[k] * du : du);
      }
      if (noises) by_noise[0] += sum * load(noises[noise_at + s]);
      store_run<kN>(static_cast<T*>(p.out) + i, run);
    }
  }
  const int64_t own = block * kN + threadIdx.x;
  const bool is_owner = int(threadIdx.x) < walk.width * kN && own < p.channels;
  const int64_t at = (slice * p.outer + n) * p.channels + own;
  if (parts.dscale) {
    const A sum = column_sum(by_x, walk.width);
    if (is_owner) parts.dscale[at] = sum;
    __syncthreads();
  }
  if (parts.db) {
    const A sum = column_sum(plain, walk.width);
    if (is_owner) parts.db[at] = sum;
  }
  if (parts.dstrength) {
    group_sums(by_noise, kThreads);
    if (threadIdx.x == 0) parts.dstrength[blockIdx.x] = by_noise[0];
  }
}

// Elements per access: 16 bytes' worth where runs and pointers allow it, else one; float64 is for
// tests and always goes one by one.
int64_t run_length(const NoiseBiasActParams& p) {
  if (p.dtype == DType::kFloat64) return 1;
  const int64_t n = p.dtype == DType::kFloat32 ? 4 : 8;
  bool is_vector = (p.is_channels_last ? p.channels : p.inner) % n == 0;
  for (const void* all : {p.x, p.y, p.dy, static_cast<const void*>(p.out)})
    is_vector = is_vector && is_aligned16(all);
  is_vector = is_vector && (p.is_channels_last ? is_aligned16(p.scale) && is_aligned16(p.b)
                                               : is_aligned16(p.noise));
  return is_vector ? n : 1;
}

Walk walk_of(const NoiseBiasActParams& p) {
  const int64_t n = run_length(p);
  Walk w{};
  if (p.is_channels_last) {
    const int64_t runs = p.channels / n;
    w.width = power_of_two(runs, kWarp);
    w.blocks = int(divide_up(runs, w.width));
    const int64_t at_once = kThreads / w.width, wanted = wanted_slices(p.outer * w.blocks);
    w.length = divide_up(p.inner, at_once * wanted) * at_once;
    w.slices = int(divide_up(p.inner, w.length));
  } else {
    const int64_t runs = p.inner / n;
    w.width = power_of_two(runs, kThreads);
    w.blocks = int(divide_up(p.channels, kThreads / w.width));
    const int64_t steps = divide_up(runs, w.width), wanted = wanted_slices(p.outer * w.blocks);
    w.length = divide_up(steps, wanted < steps ? wanted : steps) * w.width;
    w.slices = int(divide_up(runs, w.length));
  }
  return w;
}

// Rows of the partial sums of dstrength: one a block, or one a group where groups sum on their own.
int64_t strength_parts(const NoiseBiasActParams& p, const Walk& w) {
  return p.outer * w.slices * (p.is_channels_last ? w.blocks : p.channels);
}

int64_t scratch(const NoiseBiasActParams& p) {
  if (p.outer * p.channels * p.inner == 0) return 0;
  const Walk w = walk_of(p);
  const int64_t sums = w.slices * p.outer * p.channels;
  return (p.dscale ? sums : 0) + (p.db ? sums : 0) + (p.dstrength ? strength_parts(p, w) : 0);
}

template <class T, int kN>
int launch_forward(const NoiseBiasActParams& p, const Exec& exec) {
  using A = compute_t<T>;
  const auto stream = static_cast<cudaStream_t>(exec.stream);
  const LeakyRelu<A> act(A(p.alpha), A(p.gain), A(p.clamp));
  Strips strips;
  if (p.is_channels_last) {
    strips = rows_in_strips(p.inner, p.channels / kN);
    strips.grid.z = unsigned(p.outer < kMostOuter ? p.outer : kMostOuter);
  } else {
    strips = planes_in_strips(p.outer, p.channels, p.inner / kN, 1);
  }
  const auto kernel =
      p.is_channels_last ? forward_columns_kernel<T, kN> : forward_planes_kernel<T, kN>;
  launch(kernel, strips.grid, dim3(kThreads), 0, stream, p, act, strips);
  return last_error();
}

int forward(const NoiseBiasActParams& p, const Exec& exec) {
  const int64_t numel = p.outer * p.channels * p.inner;
  if (numel == 0) return 0;
  return dispatch(p.dtype, [&](auto type) {
    using T = decltype(type);
    if constexpr (sizeof(T) < 8) {
      if (run_length(p) > 1 && p.alpha <= 1) return launch_forward<T, Vec<T>::kN>(p, exec);
    }
    return dispatch_index(numel, [&](auto index) {
      using Index = decltype(index);
      launch(scalar_forward_kernel<T, Index>, grid_for(numel), dim3(kThreads), 0,
             static_cast<cudaStream_t>(exec.stream), p, Options<T>(p), Axes<Index>(p),
             Index(numel));
      return last_error();
    });
  });
}

template <class T, int kN>
int launch_backward(const NoiseBiasActParams& p, const Exec& exec) {
  using A = compute_t<T>;
  const auto stream = static_cast<cudaStream_t>(exec.stream);
  const Walk walk = walk_of(p);
  const int64_t sums = walk.slices * p.outer * p.channels;
  A* next = static_cast<A*>(p.scratch);
  const auto take = [&](const void* wanted, int64_t size) {
    A* own = wanted ? next : nullptr;
    next += wanted ? size : 0;
    return own;
  };
  Parts<A> parts{};
  parts.dscale = take(p.dscale, sums);
  parts.db = take(p.db, sums);
  parts.dstrength = take(p.dstrength, strength_parts(p, walk));
  // y ends at 65535, x does not.
  const unsigned samples = unsigned(p.outer * walk.blocks), slices = unsigned(walk.slices);
  if (p.is_channels_last)
    launch(backward_columns_kernel<T, kN>, dim3(samples * slices), dim3(kThreads), 0, stream, p,
           Options<T>(p), walk, parts);
  else
    launch(backward_planes_kernel<T, kN>, dim3(samples, slices), dim3(kThreads), 0, stream, p,
           Options<T>(p), walk, parts);
  if (const int error = last_error()) return error;
  if (!p.scratch) return 0;
  const int64_t rows = walk.slices;
  return launch_column_sums<A>(
      {{parts.dscale, static_cast<A*>(p.dscale), rows, p.outer * p.channels},
       {parts.db, static_cast<A*>(p.db), rows * p.outer, p.channels},
       {parts.dstrength, static_cast<A*>(p.dstrength), strength_parts(p, walk), 1}},
      stream);
}

int backward(const NoiseBiasActParams& p, const Exec& exec) {
  if (p.outer * p.channels * p.inner == 0) return 0;
  return dispatch(p.dtype, [&](auto type) {
    using T = decltype(type);
    if constexpr (sizeof(T) < 8) {
      if (run_length(p) > 1) return launch_backward<T, Vec<T>::kN>(p, exec);
    }
    return launch_backward<T, 1>(p, exec);
  });
}

}  // namespace

extern const NoiseBiasActKernels noise_bias_act;
const NoiseBiasActKernels noise_bias_act = {scratch, forward, backward};

}  // namespace fastgan::cuda
