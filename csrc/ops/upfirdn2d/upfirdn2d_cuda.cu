// SPDX-License-Identifier: Apache-2.0
// CUDA kernels of upfirdn2d and the choice between them: 4 taps by 2 up, 2 down or neither, and
// separable 12 taps by 2 up or 2 down, are specialised; the rest takes the general kernel.
#include "upfirdn2d.h"

#include "channels_last.cuh"
#include "general.cuh"
#include "planes.cuh"
#include "wavelets.cuh"

namespace fastgan::cuda {
namespace {

// Whether 32-bit offsets reach every element of one plane (channels_last: of one sample).
bool is_narrow(const Upfirdn2dParams& p) {
  const int64_t channels = p.is_channels_last ? p.c : 1;
  const int64_t in = p.ay.in * p.ax.in * channels, out = p.ay.out * p.ax.out * channels;
  return in <= narrow_limit() && out <= narrow_limit();
}

template <class T>
int run_typed(const Upfirdn2dParams& p, cudaStream_t stream) {
  const int64_t up = p.ax.up, down = p.ax.down, taps = p.ax.taps;
  const bool is_square = p.ay.up == up && p.ay.down == down && p.ay.taps == taps;
  const bool is_known = up * down <= 2 && taps == 4;
  const bool is_wavelet = up * down == 2 && taps == 12 && p.is_separable && !p.is_channels_last;
  if constexpr (sizeof(T) < 8) {
    if (is_square && is_narrow(p) && is_known && p.is_channels_last) {
      if (up == 2) return launch_channels_last<T, 2, 1>(p, stream);
      if (down == 2) return launch_channels_last<T, 1, 2>(p, stream);
      return launch_channels_last<T, 1, 1>(p, stream);
    }
    if (is_square && is_narrow(p) && is_known) {
      if (up == 2) return launch_planes<T, 2, 1>(p, stream);
      if (down == 2) return launch_planes<T, 1, 2>(p, stream);
      return launch_planes<T, 1, 1>(p, stream);
    }
    if (is_square && is_narrow(p) && is_wavelet) {
      if (up == 2) return launch_wavelets<T, 2, 1>(p, stream);
      return launch_wavelets<T, 1, 2>(p, stream);
    }
  }
  return launch_general<T>(p, stream);
}

int run(const Upfirdn2dParams& p, const Exec& exec) {
  if (p.n * p.c * p.ay.out * p.ax.out == 0) return 0;
  const auto stream = static_cast<cudaStream_t>(exec.stream);
  return dispatch(p.dtype, [&](auto type) { return run_typed<decltype(type)>(p, stream); });
}

}  // namespace

extern const Upfirdn2dKernels upfirdn2d;
const Upfirdn2dKernels upfirdn2d = {run};

}  // namespace fastgan::cuda
