// SPDX-License-Identifier: Apache-2.0
// CUDA kernels of demodulation and its backward pass: each reads w once, and the modulated weights
// never exist.
#include "demodulation.h"

#include "../../common/run.cuh"

namespace fastgan::cuda {
namespace {

// A block makes kOutputs columns of d: their energies, kTile inputs at a time, go to shared memory,
// and each warp then walks along s of one sample after another. More outputs to a block would read
// s less often, fewer would fill a GPU better.
constexpr int kOutputs = 2, kTile = 1024, kWarps = kThreads / 32;
template <class A>
struct Energies {
  alignas(16) A e[kOutputs][kTile];
};

__device__ __forceinline__ float reciprocal_root(float v) { return rsqrtf(v); }
__device__ __forceinline__ double reciprocal_root(double v) { return rsqrt(v); }

// How w lies, beside 1 or 9 taps inside in 16-byte loads: any number of taps inside, one by one, or
// taps outside the inputs, of which 1 or kN travel at once.
constexpr int kAny = 0, kOuter = -1, kOuterWide = -2;

// Energies of `length` inputs of each of `outputs` outputs from (output, input) on, into `tile` and
// memory. 16-byte loads: kN inputs a step.
template <class T, int kTaps>
__device__ __forceinline__ void fill_tile(const DemodulationParams& p, Energies<compute_t<T>>& tile,
                                          int output, int outputs, int input, int length) {
  using A = compute_t<T>;
  constexpr int kN = kTaps == kAny || kTaps == kOuter ? 1 : Vec<T>::kN;
  const int steps = length / kN;
  for (int step = threadIdx.x; step < outputs * steps; step += kThreads) {
    const int r = step / steps, i = (step - r * steps) * kN;
    const int64_t at = int64_t(output + r) * p.inputs + (input + i);
    Run<A, kN> sums{};
    if constexpr (kTaps == kOuter || kTaps == kOuterWide) {
      const T* w =
          static_cast<const T*>(p.w) + int64_t(output + r) * p.taps * p.inputs + (input + i);
#pragma unroll 3
      for (int tap = 0; tap < p.taps; ++tap) {
        const Run<T, kN> v = load_run<kN>(w + tap * p.inputs);
#pragma unroll
        for (int k = 0; k < kN; ++k) sums.v[k] += load(v.v[k]) * load(v.v[k]);
      }
    } else if constexpr (kTaps == kAny) {
      const T* w = static_cast<const T*>(p.w) + at * p.taps;
      for (int k = 0; k < p.taps; ++k) sums.v[0] += load(w[k]) * load(w[k]);
    } else {
      const T* w = static_cast<const T*>(p.w) + at * kTaps;
#pragma unroll
      for (int q = 0; q < kTaps; ++q) {
        const Vec<T> v = load16(w + q * kN);
#pragma unroll
        for (int k = 0; k < kN; ++k) sums.v[(q * kN + k) / kTaps] += load(v.v[k]) * load(v.v[k]);
      }
    }
    store_run(&tile.e[r][i], sums);
    store_run(static_cast<A*>(p.energy) + at, sums);
  }
}

// At least 4 blocks a multiprocessor: 64 registers, so that nothing spills.
template <class T, int kTaps>
__global__ void __launch_bounds__(kThreads, 4) demodulation_kernel(DemodulationParams p) {
  using A = compute_t<T>;
  Energies<A>& tile = shared<Energies<A>>();
  const int inputs = int(p.inputs), output = int(blockIdx.x) * kOutputs;
  const int outputs = int(p.outputs) - output < kOutputs ? int(p.outputs) - output : kOutputs;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  // At least one round: without inputs, d is 1/√eps.
  for (int input = 0; input == 0 || input < inputs; input += kTile) {
    const int length = inputs - input < kTile ? inputs - input : kTile;
    if (input > 0) __syncthreads();  // every warp has done with the tile before
    fill_tile<T, kTaps>(p, tile, output, outputs, input, length);
    __syncthreads();
    for (int n = warp; n < int(p.n); n += kWarps) {
      const A* s = static_cast<const A*>(p.s) + int64_t(n) * inputs + input;
      A sums[kOutputs] = {};
#pragma unroll 4
      for (int i = lane; i < length; i += 32) {
        const A square = s[i] * s[i];
#pragma unroll
        for (int r = 0; r < kOutputs; ++r)
          if (r < outputs) sums[r] += square * tile.e[r][i];
      }
#pragma unroll
      for (int r = 0; r < kOutputs; ++r) {
#pragma unroll
        for (int offset = 16; offset > 0; offset >>= 1)
          sums[r] += __shfl_xor_sync(0xffffffffu, sums[r], offset);
      }
      if (lane != 0) continue;
      // d holds the sum over the tiles so far; the same thread comes back to it.
      A* d = static_cast<A*>(p.d) + int64_t(n) * p.outputs + output;
#pragma unroll
      for (int r = 0; r < kOutputs; ++r) {
        if (r >= outputs) continue;
        const A sum = input > 0 ? d[r] + sums[r] : sums[r];
        d[r] = input + kTile < inputs ? sum : reciprocal_root(sum + A(p.eps));
      }
    }
  }
}

template <class T, int kTaps>
int launch_typed(const DemodulationParams& p, const Exec& exec) {
  const dim3 grid(unsigned((p.outputs + kOutputs - 1) / kOutputs));
  launch(demodulation_kernel<T, kTaps>, grid, dim3(kThreads), 0,
         static_cast<cudaStream_t>(exec.stream), p);
  return last_error();
}

int forward(const DemodulationParams& p, const Exec& exec) {
  if (p.outputs == 0) return 0;
  return dispatch(p.dtype, [&](auto type) {
    using T = decltype(type);
    if constexpr (!std::is_same_v<T, double>) {
      if (p.inputs % Vec<T>::kN == 0 && is_aligned16(p.w) && is_aligned16(p.energy)) {
        if (p.taps == 1) return launch_typed<T, 1>(p, exec);
        if (p.is_taps_outer) return launch_typed<T, kOuterWide>(p, exec);
        if (p.taps == 9) return launch_typed<T, 9>(p, exec);
      }
    }
    if (p.is_taps_outer) return launch_typed<T, kOuter>(p, exec);
    return launch_typed<T, kAny>(p, exec);
  });
}

// The backward pass in one launch. The first blocks make ds: one takes kWarp inputs of kWarps
// samples, and its warps share the output channels. The others make dw: one takes kThreads inputs
// of kOutputs output channels. More to a block would read s and energy less often, and fill a GPU
// worse.
constexpr int kWarp = 32, kSamples = kThreads / kOutputs;

template <class A>
struct StyleSums {
  alignas(16) A g[kThreads][kWarps];  // of an output channel and a sample
  A sums[kWarps][kWarps][kWarp];      // of a warp: of a sample and an input
};

template <class A>
struct WeightFactors {
  alignas(16) A g[kSamples][kOutputs];
  A c[kOutputs][kThreads];
};

__device__ __forceinline__ int smaller(int a, int b) { return a < b ? a : b; }

template <class A>
__device__ __forceinline__ A of_sum(const DemodulationBackwardParams& p, int n, int o) {
  const int64_t at = int64_t(n) * p.outputs + o;
  const A d = static_cast<const A*>(p.d)[at];
  return static_cast<const A*>(p.dd)[at] * (d * d * d);
}

template <class A>
__device__ __forceinline__ void style_gradient(const DemodulationBackwardParams& p, int block) {
  StyleSums<A>& memory = shared<StyleSums<A>>();
  const int inputs = int(p.inputs), outputs = int(p.outputs), strips = (inputs + kWarp - 1) / kWarp;
  const int t = threadIdx.x, lane = t % kWarp, warp = t / kWarp;
  const int row = block / strips, i = (block - row * strips) * kWarp + lane, sample = row * kWarps;
  A sums[kWarps] = {};
  for (int first = 0; first < outputs; first += kThreads) {
    if (first > 0) __syncthreads();  // every warp has done with g
    const int count = smaller(kThreads, outputs - first);
    if (t < count) {
#pragma unroll
      for (int k = 0; k < kWarps; ++k)
        memory.g[t][k] = sample + k < int(p.n) ? of_sum<A>(p, sample + k, first + t) : A(0);
    }
    __syncthreads();
    if (i >= inputs) continue;
    const A* e = static_cast<const A*>(p.energy) + int64_t(first) * inputs + i;
#pragma unroll 8
    for (int o = warp; o < count; o += kWarps) {
      const A energy = e[int64_t(o) * inputs];
#pragma unroll
      for (int k = 0; k < kWarps; ++k) sums[k] += memory.g[o][k] * energy;
    }
  }
#pragma unroll
  for (int k = 0; k < kWarps; ++k) memory.sums[warp][k][lane] = sums[k];
  __syncthreads();
  if (i >= inputs || sample + warp >= int(p.n)) return;
  A sum = 0;
#pragma unroll
  for (int k = 0; k < kWarps; ++k) sum += memory.sums[k][warp][lane];
  const int64_t at = int64_t(sample + warp) * inputs + i;
  static_cast<A*>(p.ds)[at] = -static_cast<const A*>(p.s)[at] * sum;
}

// dw = w · factor of runs `begin`, begin + step, … below `end`: two loads before a use.
template <class T, int kN, class Address, class Factor>
__device__ __forceinline__ void scale_weights(const DemodulationBackwardParams& p, int begin,
                                              int end, int step, Address&& address,
                                              Factor&& factor) {
  const T* w = static_cast<const T*>(p.w);
  const auto finish = [&](int run, Run<T, kN> v) {
#pragma unroll
    for (int k = 0; k < kN; ++k) v.v[k] = narrow<T>(load(v.v[k]) * factor(run, k));
    store_run(static_cast<T*>(p.dw) + address(run), v);
  };
  int run = begin;
#pragma unroll 1
  for (; run + step < end; run += 2 * step) {
    const Run<T, kN> one = load_run<kN>(w + address(run));
    const Run<T, kN> two = load_run<kN>(w + address(run + step));
    finish(run, one);
    finish(run + step, two);
  }
  if (run < end) finish(run, load_run<kN>(w + address(run)));
}

// kN elements of w a step; more than 1: their number divides the inputs, and w and dw are aligned.
template <class T, int kN>
__device__ __forceinline__ void weight_gradient(const DemodulationBackwardParams& p, int block,
                                                Divisor<uint32_t> by_taps) {
  static_assert(kOutputs == 2);
  using A = compute_t<T>;
  WeightFactors<A>& memory = shared<WeightFactors<A>>();
  const int inputs = int(p.inputs), tiles = (inputs + kThreads - 1) / kThreads, t = threadIdx.x;
  const int group = block / tiles, output = group * kOutputs;
  const int input = (block - group * tiles) * kThreads;
  const int outputs = smaller(kOutputs, int(p.outputs) - output);
  const int length = smaller(kThreads, inputs - input);
  A sums[kOutputs] = {};
  for (int first = 0; first < int(p.n); first += kSamples) {
    if (first > 0) __syncthreads();  // every thread has done with g
    const int samples = smaller(kSamples, int(p.n) - first), n = t / kOutputs, r = t % kOutputs;
    if (n < samples) memory.g[n][r] = r < outputs ? of_sum<A>(p, first + n, output + r) : A(0);
    __syncthreads();
    if (t >= length) continue;
    const A* s = static_cast<const A*>(p.s) + int64_t(first) * inputs + (input + t);
#pragma unroll 8
    for (int k = 0; k < samples; ++k) {
      const A style = s[int64_t(k) * inputs];
#pragma unroll
      for (int q = 0; q < kOutputs; ++q) sums[q] += memory.g[k][q] * (style * style);
    }
  }
  if (t < length) {
    for (int r = 0; r < outputs; ++r) {
      const int64_t at = int64_t(output + r) * inputs + (input + t);
      memory.c[r][t] = (p.de ? A(2) * static_cast<const A*>(p.de)[at] : A(0)) - sums[r];
    }
  }
  __syncthreads();
  const int64_t start = int64_t(output) * inputs * p.taps;
  if (p.is_taps_outer) {  // a thread keeps its inputs and goes from tap to tap
    constexpr int kAcross = kThreads / kN;
    const int taps = int(p.taps), i = t % kAcross * kN;
    if (i >= length) return;
    scale_weights<T, kN>(
        p, t / kAcross, outputs * taps, kThreads / kAcross,
        [&](int row) { return start + int64_t(row) * inputs + (input + i); },
        [&](int row, int k) { return memory.c[row < taps ? 0 : 1][i + k]; });
  } else {  // the weights of an output channel, one run after another
    const int runs = length * int(p.taps) / kN;
    scale_weights<T, kN>(
        p, t, outputs * runs, kThreads,
        [&](int run) {
          const int r = run < runs ? 0 : 1;
          return start + (int64_t(r) * inputs + input) * p.taps + (run - r * runs) * kN;
        },
        [&](int run, int k) {
          const int r = run < runs ? 0 : 1;
          return memory.c[r][int(by_taps.divide(uint32_t((run - r * runs) * kN + k)))];
        });
  }
}

template <class T, int kN>
__global__ void __launch_bounds__(kThreads, 4)
    demodulation_backward_kernel(DemodulationBackwardParams p, int style_blocks,
                                 Divisor<uint32_t> by_taps) {
  const int block = blockIdx.x;
  if (block < style_blocks)
    style_gradient<compute_t<T>>(p, block);
  else
    weight_gradient<T, kN>(p, block - style_blocks, by_taps);
}

int backward(const DemodulationBackwardParams& p, const Exec& exec) {
  const auto parts = [](int64_t size, int64_t part) { return (size + part - 1) / part; };
  const int64_t styles = p.ds ? parts(p.inputs, kWarp) * parts(p.n, kWarps) : 0;
  const int64_t weights = p.dw ? parts(p.outputs, kOutputs) * parts(p.inputs, kThreads) : 0;
  if (styles + weights == 0) return 0;
  const dim3 grid(static_cast<unsigned>(styles + weights));
  const Divisor<uint32_t> by_taps(p.taps > 0 ? p.taps : 1);
  return dispatch(p.dtype, [&](auto type) {
    using T = decltype(type);
    const auto stream = static_cast<cudaStream_t>(exec.stream);
    if constexpr (!std::is_same_v<T, double>) {
      constexpr int kN = Vec<T>::kN;
      if (p.inputs % kN == 0 && is_aligned16(p.w) && is_aligned16(p.dw)) {
        launch(demodulation_backward_kernel<T, kN>, grid, dim3(kThreads), 0, stream, p, int(styles),
               by_taps);
        return last_error();
      }
    }
    launch(demodulation_backward_kernel<T, 1>, grid, dim3(kThreads), 0, stream, p, int(styles),
           by_taps);
    return last_error();
  });
}

}  // namespace

extern const DemodulationKernels demodulation;
const DemodulationKernels demodulation = {forward, backward};

}  // namespace fastgan::cuda
