// CUDA kernels of filtered_lrelu: x is read once (but for the filters' reach between tiles), y and
// the slope codes are written once, and the up-sampled map stays on the chip.
#include "fixed.cuh"
#include "general.cuh"

namespace fastgan::cuda {
namespace {

constexpr int64_t kMostBytes = 160 * 1024;  // of shared memory that a block may have since sm_80

int round_up(int n, int to) { return (n + to - 1) / to * to; }

// Tiles of out.x by out.y outputs; v's buffer in whole multiples of `wide_step`.
Tiling tiling_of(const FilteredLreluParams& p, Pair out, int wide_step) {
  const int up = int(p.up), down = int(p.down);
  const auto wide = [&](int outs, const FilteredAxis& a) {
    return round_up(up - 1 + (outs - 1) * down + int(a.down_taps), wide_step);
  };
  const auto in = [&](int wides, const FilteredAxis& a) {
    return (wides - 1 + int(a.up_taps) - 1) / up + 2;
  };
  Tiling t{};
  t.out = out;
  t.tiles = {int((p.ax.out + out.x - 1) / out.x), int((p.ay.out + out.y - 1) / out.y)};
  t.wide = {wide(out.x, p.ax), wide(out.y, p.ay)};
  t.in = {in(t.wide.x, p.ax), in(t.wide.y, p.ay)};
  const int before = t.in.y * (pitch_of(t.in.x) + pitch_of(t.wide.x));
  const int after = t.out.y * (pitch_of(t.wide.x) + pitch_of(t.out.x));
  t.first = before > after ? before : after;
  return t;
}

template <class T>
int64_t bytes_of(const Tiling& t) {
  return (int64_t(t.first) + int64_t(t.wide.y) * pitch_of(t.wide.x)) *
         int64_t(sizeof(compute_t<T>));
}

template <class T>
int launch_tiles(void (*kernel)(FilteredLreluParams, Tiling), const FilteredLreluParams& p,
                 const Tiling& t, cudaStream_t stream) {
  const int64_t blocks = p.planes * t.tiles.x * t.tiles.y, bytes = bytes_of<T>(t);
  if (blocks > (int64_t(1) << 31) - 1) return int(cudaErrorInvalidConfiguration);
  if (const int error = allow_shared(kernel, size_t(bytes))) return error;
  launch(kernel, dim3(unsigned(blocks)), dim3(kThreads), size_t(bytes), stream, p, t);
  return last_error();
}

template <class F>
bool is_of(const FilteredLreluParams& p) {
  return p.fu_is_separable && p.fd_is_separable && p.up == F::kUp && p.down == F::kDown &&
         p.ax.up_taps == F::kUpTaps && p.ax.down_taps == F::kDownTaps;
}

template <class T, class F>
int launch_fixed(const FilteredLreluParams& p, cudaStream_t stream) {
  constexpr int kTile = F::kDown > 2 ? 16 : 32;
  return launch_tiles<T>(fixed_kernel<T, F>, p, tiling_of(p, {kTile, kTile}, kRun * F::kUp),
                         stream);
}

template <class T>
int run_typed(const FilteredLreluParams& p, cudaStream_t stream) {
  using Same = Factors<2, 12, 2, 12>;
  using More = Factors<4, 24, 2, 12>;
  using Fewer = Factors<2, 12, 4, 24>;
  if constexpr (sizeof(T) < 8) {
    if (is_of<Same>(p)) return launch_fixed<T, Same>(p, stream);
    if (is_of<More>(p)) return launch_fixed<T, More>(p, stream);
    if (is_of<Fewer>(p)) return launch_fixed<T, Fewer>(p, stream);
  }
  // The largest tile that fits; its width a multiple of 4, so that no byte of codes is shared.
  for (int size = 32; size >= 4; size /= 2)
    for (int64_t most : {int64_t(48 * 1024), size == 4 ? kMostBytes : int64_t(0)}) {
      const Tiling t = tiling_of(p, {size, size}, 1);
      if (bytes_of<T>(t) <= most) return launch_tiles<T>(general_kernel<T>, p, t, stream);
    }
  return kFilterTooLarge;
}

int run(const FilteredLreluParams& p, const Exec& exec) {
  const auto stream = static_cast<cudaStream_t>(exec.stream);
  return dispatch(p.dtype, [&](auto type) { return run_typed<decltype(type)>(p, stream); });
}

}  // namespace

extern const FilteredLreluKernels filtered_lrelu;
const FilteredLreluKernels filtered_lrelu = {run};

}  // namespace fastgan::cuda
