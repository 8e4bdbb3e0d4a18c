// SPDX-License-Identifier: Apache-2.0
// modulate: y[n, c, ...] = x[n, c, ...] · s[n, c]. channel_dot: z[n, c] = Σ x·y over the rest, in
// two stages. What crosses from the binding to the kernels.
#pragma once

#include <cstdint>

#include "../../common/dtype.h"
#include "../../common/exec.h"
#include "../../common/kernels.h"

namespace fastgan {

// Dense maps: [n, channels, pixels], or [n, pixels, channels] where channels are innermost.
struct Maps {
  int64_t n, channels, pixels;
  bool is_channels_last;
  DType dtype;
};

struct ModulateParams {
  const void* x;  // maps
  const void* s;  // [n, channels] of the maps' type or, where is_s_wide, of the compute type
  void* y;        // maps
  bool is_s_wide;
  Maps maps;
};

struct ChannelDotParams {
  const void* x;  // maps
  const void* y;  // maps
  void* z;        // [n, channels] in the compute type
  void* scratch;  // [slices, n, channels] in the compute type; null where there is one slice
  int64_t slices;
  Maps maps;
};

// Both gradients of modulate in one pass: dx = dz·s, ds[n, c] = Σ dz·x.
struct ModulateBackwardParams {
  const void* dz;  // maps
  const void* x;   // maps
  const void* s;   // as in ModulateParams
  void* dx;        // maps
  void* ds;        // [n, channels] in the compute type
  void* scratch;   // [slices, n, channels] in the compute type; null where there is one slice
  int64_t slices;
  bool is_s_wide;
  Maps maps;
};

struct ModulateKernels {
  int64_t (*slices)(const Maps&);  // partial sums per channel: fixed by shape and type alone
  // The same of `backward`, fixed by shape, type and alignment; 0: it does not take these maps, and
  // `modulate` and `dot` do its work.
  int64_t (*backward_slices)(const ModulateBackwardParams&);
  int (*modulate)(const ModulateParams&, const Exec&);
  int (*dot)(const ChannelDotParams&, const Exec&);
  int (*backward)(const ModulateBackwardParams&, const Exec&);
};

FASTGAN_KERNELS(ModulateKernels, modulate)

}  // namespace fastgan
