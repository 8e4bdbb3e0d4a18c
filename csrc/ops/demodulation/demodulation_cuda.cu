// CUDA kernel of demodulation: w is read once, and the modulated weights never exist.
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

// Energies of `length` inputs of each of `outputs` outputs from (output, input) on, into `tile` and
// memory. kTaps > 0: 16-byte loads, kN inputs and kTaps vectors a step; 0: p.taps taps one by one.
template <class T, int kTaps>
__device__ __forceinline__ void fill_tile(const DemodulationParams& p, Energies<compute_t<T>>& tile,
                                          int output, int outputs, int input, int length) {
  using A = compute_t<T>;
  constexpr int kN = kTaps == 0 ? 1 : Vec<T>::kN;
  const int steps = length / kN;
  for (int step = threadIdx.x; step < outputs * steps; step += kThreads) {
    const int r = step / steps, i = (step - r * steps) * kN;
    const int64_t at = int64_t(output + r) * p.inputs + (input + i);
    Run<A, kN> sums{};
    if constexpr (kTaps == 0) {
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
        if (p.taps == 9) return launch_typed<T, 9>(p, exec);
      }
    }
    return launch_typed<T, 0>(p, exec);
  });
}

}  // namespace

extern const DemodulationKernels demodulation;
const DemodulationKernels demodulation = {forward};

}  // namespace fastgan::cuda
