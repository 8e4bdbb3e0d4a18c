// SPDX-License-Identifier: Apache-2.0
// CUDA kernels of filtered_lrelu: x is read once (but for the filters' reach between tiles), y and
// the slope codes are written once, and the up-sampled map stays on the chip.
#include "general.cuh"
#include "radial_up.cuh"
#include "separable_up.cuh"

namespace fastgan::cuda {
namespace {

// Shared memory: what a block gets without asking, and what tiles of small planes share at most.
constexpr int64_t kFreeBytes = 48 * 1024, kMarchBytes = 64 * 1024;

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
int round_up(int n, int to) { return (n + to - 1) / to * to; }

// Tiles of out.x by out.y outputs.
Tiling tiling_of(const FilteredLreluParams& p, Pair out) {
  const int up = int(p.up), down = int(p.down);
  const auto wide = [&](int outs, const FilteredAxis& a) {
    return up - 1 + (outs - 1) * down + int(a.down_taps);
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

// What a launch of a walking kernel has at most: threads of a block, and lanes of a tile.
struct Limits {
  int threads, lanes;
};

// Threads that no tile needs have a place, too.
template <class B>
int64_t bytes_of(int threads, int lanes) {
  return divide_up(threads, lanes) * B::kSize * int64_t(sizeof(float));
}

// Tiles of equal size, as few as have the lanes; a block of as many as fill its warps best.
template <class B, class F>
March march_of(const FilteredLreluParams& p, int most_threads, int shift) {
  // A tile begins where codes begin a byte, and in the same phase as the first.
  constexpr int kStep = F::kDown >= 4 ? 1 : 4 / F::kDown;
  const auto even = [&](int64_t outs, int64_t tiles) {
    return round_up(int(divide_up(outs, tiles)), kStep);
  };
  March t{};
  const int widest = (kColumns * B::kLanes - shift - F::kDownTaps) / F::kDown + 1;
  t.out.x = even(p.ax.out, divide_up(p.ax.out, widest / kStep * kStep));
  t.tiles.x = int(divide_up(p.ax.out, t.out.x));
  t.lanes = int(divide_up(shift + (t.out.x - 1) * F::kDown + F::kDownTaps, kColumns));
  if (t.lanes < kFewestLanes) t.lanes = kFewestLanes;
  // Too few planes to fill the GPU twice: more tiles, one below the other, each of which makes a
  // filter's reach again.
  const int64_t most = divide_up(p.ay.out, 32);
  const int64_t wanted = divide_up(1024 * multiprocessors(), p.planes * t.tiles.x * t.lanes);
  t.out.y = even(p.ay.out, wanted < most ? wanted : most);
  t.tiles.y = int(divide_up(p.ay.out, t.out.y));
  t.steps = (t.out.y - 1 + F::kLast) / F::kOut + 1;
  for (int units = 1; units * t.lanes <= most_threads; ++units) {
    const int threads = round_up(units * t.lanes, 32);
    if (units > 1 && bytes_of<B>(threads, t.lanes) > kMarchBytes) break;
    if (units * t.threads > t.units * threads || units == 1) {
      t.units = units;
      t.threads = threads;
    }
  }
  t.scale = float(p.up_gain * (p.gain < 0 ? -p.gain : p.gain));
  t.slope = float(p.slope);
  t.clamp = float(p.clamp);
  return t;
}

template <class B>
int launch_march(void (*kernel)(FilteredLreluParams, March), const FilteredLreluParams& p, March t,
                 cudaStream_t stream) {
  const int64_t total = p.planes * t.tiles.x * t.tiles.y, blocks = divide_up(total, t.units);
  if (total > (int64_t(1) << 31) - 1) return int(cudaErrorInvalidConfiguration);
  t.total = int(total);
  const int64_t bytes = bytes_of<B>(t.threads, t.lanes);
  if (const int error = allow_shared(kernel, size_t(bytes))) return error;
  launch(kernel, dim3(unsigned(blocks)), dim3(unsigned(t.threads)), size_t(bytes), stream, p, t);
  return last_error();
}

template <class F>
bool is_of(const FilteredLreluParams& p) {
  const auto phase = [](const FilteredAxis& a) {
    const int64_t rest = a.pad % F::kUp;
    return rest < 0 ? rest + F::kUp : rest;
  };
  return p.up == F::kUp && p.down == F::kDown && p.ax.up_taps == F::kUpTaps &&
         p.ay.up_taps == F::kUpTaps && p.ax.down_taps == F::kDownTaps &&
         p.ay.down_taps == F::kDownTaps && phase(p.ax) == F::kPhase && phase(p.ay) == F::kPhase &&
         p.gain != 0 &&
         (p.mode != Signs::kWrite || (p.ax.sign_offset == 0 && p.ay.sign_offset == 0));
}

template <class T, class F, bool is_read>
int launch_separable(const FilteredLreluParams& p, cudaStream_t stream) {
  using B = SeparableBuffers<F>;
  return launch_march<B>(separable_kernel<T, F, is_read>, p, march_of<B, F>(p, kMarchThreads, 0),
                         stream);
}

template <class T, class F, bool is_read>
int launch_radial_down(const FilteredLreluParams& p, cudaStream_t stream) {
  using B = RadialBuffers<F>;
  return launch_march<B>(radial_down_kernel<T, F, is_read>, p, march_of<B, F>(p, kRadialThreads, 0),
                         stream);
}

template <class T, class F>
int launch_radial_up(const FilteredLreluParams& p, cudaStream_t stream) {
  using B = RadialBuffers<F>;
  return launch_march<B>(radial_up_kernel<T, F>, p, march_of<B, F>(p, kRadialThreads, F::kSkip),
                         stream);
}

// The kernels for StyleGAN3's factors in the phases of its layers, or kOther.
constexpr int kOther = -2;

template <class T>
int run_fixed(const FilteredLreluParams& p, cudaStream_t stream) {
  using Same = Factors<2, 12, 2, 12, 1>;
  using More = Factors<4, 24, 2, 12, 2>;
  using Fewer = Factors<2, 12, 4, 24, 0>;  // the adjoint of More
  const bool is_read = p.mode == Signs::kRead;
  if (p.fu_is_separable && p.fd_is_separable) {
    if (is_of<Same>(p))
      return is_read ? launch_separable<T, Same, true>(p, stream)
                     : launch_separable<T, Same, false>(p, stream);
    if (is_of<More>(p))
      return is_read ? launch_separable<T, More, true>(p, stream)
                     : launch_separable<T, More, false>(p, stream);
    if (is_of<Fewer>(p) && is_read) return launch_separable<T, Fewer, true>(p, stream);
  } else if (p.fu_is_separable) {
    if (is_of<Same>(p))
      return is_read ? launch_radial_down<T, Same, true>(p, stream)
                     : launch_radial_down<T, Same, false>(p, stream);
    if (is_of<More>(p))
      return is_read ? launch_radial_down<T, More, true>(p, stream)
                     : launch_radial_down<T, More, false>(p, stream);
  } else if (p.fd_is_separable && is_read && !p.b) {
    if (is_of<Same>(p)) return launch_radial_up<T, Same>(p, stream);
    if (is_of<Fewer>(p)) return launch_radial_up<T, Fewer>(p, stream);
  }
  return kOther;
}

template <class T>
int run_typed(const FilteredLreluParams& p, cudaStream_t stream) {
  if constexpr (sizeof(T) < 8) {
    if (const int error = run_fixed<T>(p, stream); error != kOther) return error;
  }
  // The largest tile that fits; its width a multiple of 4, so that no byte of codes is shared.
  for (int size = 32; size >= 4; size /= 2) {
    const Tiling t = tiling_of(p, {size, size});
    if (bytes_of<T>(t) <= kFreeBytes) return launch_tiles<T>(general_kernel<T>, p, t, stream);
  }
  for (int height : {4, 1}) {
    const Tiling t = tiling_of(p, {4, height});
    if (bytes_of<T>(t) <= most_shared()) return launch_tiles<T>(general_kernel<T>, p, t, stream);
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
