// SPDX-License-Identifier: Apache-2.0
// CUDA kernels of anti_aliased_snake: x is read once and y written once, and the up-sampled signal
// stays on the chip. Each launch has a block for each tile of each row.
#include "../../common/partial_sums.cuh"
#include "twice_forward.cuh"

namespace fastgan::cuda {
namespace {

bool is_twice(const AntiAliasedSnakeParams& p) {
  return p.up_ratio == 2 && p.down_ratio == 2 && p.up_taps == kTaps && p.down_taps == kTaps;
}

// Tiles of any ratios: of outputs in the forward pass, of places of x in the backward pass.
Tiling general_tiling(int64_t length, int64_t ratio) {
  const int64_t tile = kGeneralSamples / ratio < 1 ? 1 : kGeneralSamples / ratio;
  return {int(tile), int((length + tile - 1) / tile), kThreads};
}

Tiling backward_tiling(const AntiAliasedSnakeParams& p) {
  if (!is_twice(p)) return general_tiling(p.length, p.up_ratio);
  Tiling tiling{};
  dispatch(p.dtype, [&](auto type) {
    tiling = tiling_of<decltype(type)>(p.length);
    return 0;
  });
  return tiling;
}

int64_t scratch(const AntiAliasedSnakeParams& p) {
  return p.dalpha ? 2 * p.rows * backward_tiling(p).tiles : 0;
}

template <class T>
bool is_vector(const AntiAliasedSnakeParams& p) {
  return p.length % Vec<T>::kN == 0 && is_aligned16(p.x) && is_aligned16(p.dy) &&
         is_aligned16(p.out);
}
template <class T>
bool is_vector_forward(const AntiAliasedSnakeParams& p) {
  return is_vector<T>(p) && is_aligned16(p.up_filter) && is_aligned16(p.down_filter);
}

template <class... A>
int launch_tiles(void (*kernel)(AntiAliasedSnakeParams, A...), const AntiAliasedSnakeParams& p,
                 Tiling tiling, int64_t bytes, const Exec& exec, A... arguments) {
  const int64_t blocks = p.rows * tiling.tiles;
  if (blocks > (int64_t(1) << 31) - 1) return int(cudaErrorInvalidConfiguration);
  if (const int error = allow_shared(kernel, size_t(bytes))) return error;
  launch(kernel, dim3(unsigned(blocks)), dim3(unsigned(tiling.threads)), size_t(bytes),
         static_cast<cudaStream_t>(exec.stream), p, arguments...);
  return last_error();
}

template <class T>
int forward_typed(const AntiAliasedSnakeParams& p, const Exec& exec) {
  constexpr int64_t kBytes = sizeof(compute_t<T>);
  if (is_twice(p)) {
    const Stretches stretches = stretches_of<T>(p);
    if (stretches.warps > (int64_t(1) << 31) - 1) return int(cudaErrorInvalidConfiguration);
    launch(
        is_vector_forward<T>(p) ? twice_forward_kernel<T, Vec<T>::kN> : twice_forward_kernel<T, 1>,
        dim3(unsigned(stretches.warps)), dim3(kWarp), 0, static_cast<cudaStream_t>(exec.stream), p,
        stretches);
    return last_error();
  }
  const Tiling tiling = general_tiling(p.outputs, p.down_ratio);
  return launch_tiles(general_forward_kernel<T>, p, tiling,
                      kBytes * (tiling.tile * p.down_ratio + p.down_taps), exec, reach_of(p),
                      tiling.tile, tiling.tiles);
}

template <class T>
int backward_typed(const AntiAliasedSnakeParams& p, const Exec& exec) {
  using A = compute_t<T>;
  constexpr int64_t kBytes = sizeof(A);
  const Tiling tiling = backward_tiling(p);
  int error = 0;
  if (is_twice(p)) {
    const int64_t bytes =
        2 * kBytes * (window_size<T>(tiling.threads) + plane_size<T>(tiling.threads));
    error = is_vector<T>(p)
                ? launch_tiles(twice_backward_kernel<T, Vec<T>::kN>, p, tiling, bytes, exec, tiling)
                : launch_tiles(twice_backward_kernel<T, 1>, p, tiling, bytes, exec, tiling);
  } else {
    error = launch_tiles(general_backward_kernel<T>, p, tiling,
                         kBytes * (tiling.tile * p.up_ratio + p.up_taps), exec, reach_of(p),
                         tiling.tile, tiling.tiles);
  }
  if (error || !p.dalpha) return error;
  const int64_t rows = p.rows / p.channels * tiling.tiles;
  const A* parts = static_cast<const A*>(p.scratch);
  return launch_column_sums(
      ColumnSumJobs<A>{{parts, static_cast<A*>(p.dalpha), rows, p.channels},
                       {parts + rows * p.channels, static_cast<A*>(p.dbeta), rows, p.channels},
                       {}},
      static_cast<cudaStream_t>(exec.stream));
}

int forward(const AntiAliasedSnakeParams& p, const Exec& exec) {
  return dispatch(p.dtype, [&](auto type) { return forward_typed<decltype(type)>(p, exec); });
}

int backward(const AntiAliasedSnakeParams& p, const Exec& exec) {
  return dispatch(p.dtype, [&](auto type) { return backward_typed<decltype(type)>(p, exec); });
}

}  // namespace

extern const AntiAliasedSnakeKernels anti_aliased_snake;
const AntiAliasedSnakeKernels anti_aliased_snake = {scratch, forward, backward};

}  // namespace fastgan::cuda
