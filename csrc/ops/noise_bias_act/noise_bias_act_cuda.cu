// SPDX-License-Identifier: Apache-2.0
// CUDA kernels of noise_bias_act: the epilogue of a layer in one pass forward and one backward, the
// sums for scale, strength and b out of the pass that makes dx.
#include "backward.cuh"
#include "forward.cuh"
#include "noise_bias_act.h"

namespace fastgan::cuda {
namespace {

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
