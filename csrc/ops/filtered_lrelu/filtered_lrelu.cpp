// SPDX-License-Identifier: Apache-2.0
// Host side of filtered_lrelu: tensors to parameters, allocation, launch. Arguments are validated
// in fastgan/ops/filtered_lrelu.py; the checks here only guard memory.
#include "filtered_lrelu.h"

#include <limits>
#include <tuple>

#include "../../common/binding.h"

namespace fastgan {
namespace {

// What both entries share; the tensors live as long as the launch needs them.
struct Inputs {
  Tensor x, fu, fd;
  FilteredLreluParams p{};

  Inputs(const Tensor& map, const Tensor& f, const Tensor& g, int64_t up, int64_t down,
         bool flip_filter)
      : x(dense_as(map, MemoryFormat::Contiguous)), fu(filter(f, map)), fd(filter(g, map)) {
    STD_TORCH_CHECK(map.dim() == 4 && up > 0 && down > 0,
                    "filtered_lrelu: x must be 4-D, up and down positive");
    p.x = const_data(x);
    p.fu = fu.data_ptr();
    p.fd = fd.data_ptr();
    p.planes = x.size(0) * x.size(1);
    p.channels = x.size(1);
    p.up = up;
    p.down = down;
    p.ay = axis(x.size(2), fu.size(0), fd.size(0));
    p.ax = axis(x.size(3), fu.size(fu.dim() - 1), fd.size(fd.dim() - 1));
    p.fu_is_separable = fu.dim() == 1;
    p.fd_is_separable = fd.dim() == 1;
    p.is_flipped = flip_filter;
    p.clamp = std::numeric_limits<double>::quiet_NaN();
    p.dtype = dtype_of("filtered_lrelu", x);
  }

  static FilteredAxis axis(int64_t in, int64_t up_taps, int64_t down_taps) {
    FilteredAxis a{};
    a.in = in;
    a.up_taps = up_taps;
    a.down_taps = down_taps;
    return a;
  }

  static Tensor filter(const Tensor& f, const Tensor& x) {
    const ScalarType type =
        x.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
    STD_TORCH_CHECK((f.dim() == 1 || f.dim() == 2) && f.numel() > 0 && f.scalar_type() == type &&
                        f.is_cuda() == x.is_cuda(),
                    "filtered_lrelu: a filter does not match x");
    return dense_as(f, MemoryFormat::Contiguous);
  }

  // Kernels count the samples of an axis in 32 bits.
  void check_sizes() const {
    for (const FilteredAxis& a : {p.ay, p.ax}) {
      constexpr int64_t kMost = INT32_MAX / 2;
      for (int64_t v : {a.in, a.out, a.up_taps, a.down_taps, a.pad, a.sign_offset, p.up, p.down})
        STD_TORCH_CHECK(v <= kMost && v >= -kMost, "filtered_lrelu: an axis is too long");
      STD_TORCH_CHECK(a.out >= 0 && a.in * p.up + a.out * p.down + a.up_taps + a.down_taps <= kMost,
                      "filtered_lrelu: an axis of x, up-sampled, is too long");
    }
  }

  // y, in the memory format of `like`.
  Tensor run(const Tensor& like) {
    check_sizes();
    Tensor y = allocate(x, {like.size(0), like.size(1), p.ay.out, p.ax.out});
    if (y.numel() != 0) {
      p.out = y.data_ptr();
      const int error = filtered_lrelu_kernels().run(p, exec_of(x));
      STD_TORCH_CHECK(error != kFilterTooLarge, "filtered_lrelu: filters of ", fu.size(0), " and ",
                      fd.size(0), " taps with up ", p.up, ", down ", p.down,
                      " need more shared memory than a block of the GPU "
                      "has; use shorter ones, or fastgan.ops.use_backend('reference')");
      check_launch("filtered_lrelu", error);
    }
    return dense_as(y, dense_format(like));
  }
};

std::tuple<Tensor, Tensor> forward(const Tensor& x, const Tensor& fu, const Tensor& fd,
                                   const std::optional<Tensor>& b, int64_t up, int64_t down,
                                   int64_t x0, int64_t x1, int64_t y0, int64_t y1, double gain,
                                   double slope, std::optional<double> clamp, bool flip_filter,
                                   bool keeps_signs) {
  Guard guard(x);
  Inputs in(x, fu, fd, up, down, flip_filter);
  FilteredLreluParams& p = in.p;
  const Tensor bias = b ? dense_as(*b, MemoryFormat::Contiguous) : Tensor();
  if (b) {
    STD_TORCH_CHECK(b->dim() == 1 && b->numel() == p.channels &&
                        b->scalar_type() == x.scalar_type() && b->is_cuda() == x.is_cuda(),
                    "filtered_lrelu: b does not match x");
    p.b = const_data(bias);
  }
  for (int64_t v : {up, down, x0, x1, y0, y1, p.ay.in, p.ax.in})  // so that no sum overflows
    STD_TORCH_CHECK(v <= INT32_MAX && v >= -INT32_MAX, "filtered_lrelu: an axis is too long");
  const auto out = [&](const FilteredAxis& a, int64_t before, int64_t after) {
    const int64_t last = a.in * up + before + after - a.up_taps + 1 - a.down_taps;
    return last < 0 ? 0 : last / down + 1;
  };
  p.ay.out = out(p.ay, y0, y1);
  p.ax.out = out(p.ax, x0, x1);
  p.ay.pad = y0;
  p.ax.pad = x0;
  p.up_gain = double(up) * double(up);
  p.gain = gain;
  p.slope = slope;
  if (clamp) p.clamp = *clamp;
  p.sign_rows = p.ay.out ? (p.ay.out - 1) * down + p.ay.down_taps : 0;
  p.sign_columns = p.ax.out ? (p.ax.out - 1) * down + p.ax.down_taps : 0;
  p.sign_bytes = (p.sign_columns + 3) / 4;
  in.check_sizes();
  Tensor signs =
      keeps_signs ? allocate(x, {x.size(0), x.size(1), p.sign_rows, p.sign_bytes}, ScalarType::Byte)
                  : allocate(x, {0}, ScalarType::Byte);
  p.mode = keeps_signs ? Signs::kWrite : Signs::kNone;
  p.signs = static_cast<uint8_t*>(const_data(signs));
  Tensor y = in.run(x);
  return {y, signs};
}

Tensor masked(const Tensor& x, const Tensor& signs, const Tensor& fu, const Tensor& fd, int64_t up,
              int64_t down, int64_t x0, int64_t y0, int64_t height, int64_t width, int64_t sign_x,
              int64_t sign_y, double gain, double slope, bool flip_filter) {
  Guard guard(x);
  Inputs in(x, fu, fd, up, down, flip_filter);
  FilteredLreluParams& p = in.p;
  STD_TORCH_CHECK(signs.dim() == 4 && signs.size(0) == x.size(0) && signs.size(1) == x.size(1) &&
                      signs.scalar_type() == ScalarType::Byte && signs.is_cuda() == x.is_cuda(),
                  "filtered_lrelu: signs do not match x");
  const Tensor dense_signs = dense_as(signs, MemoryFormat::Contiguous);
  p.ay.out = height;
  p.ax.out = width;
  p.ay.pad = y0;
  p.ax.pad = x0;
  p.ay.sign_offset = sign_y;
  p.ax.sign_offset = sign_x;
  p.up_gain = gain;
  p.gain = 1;
  p.slope = slope;
  p.mode = Signs::kRead;
  p.sign_rows = signs.size(2);
  p.sign_bytes = signs.size(3);
  p.sign_columns = 4 * p.sign_bytes;
  p.signs = static_cast<uint8_t*>(const_data(dense_signs));
  return in.run(x);
}

STABLE_TORCH_LIBRARY_IMPL(fastgan, FASTGAN_KEY, m) {
  m.impl("filtered_lrelu", TORCH_BOX(&forward));
  m.impl("filtered_lrelu_masked", TORCH_BOX(&masked));
}

}  // namespace
}  // namespace fastgan
