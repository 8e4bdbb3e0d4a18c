// SPDX-License-Identifier: Apache-2.0
// CPU kernels of winograd_strided_conv2d, compiled once per instruction set.
#include "winograd_strided_conv2d.h"

#include "../../common/winograd/conv.h"
#include "../../common/winograd/weight.h"
#include "transforms.h"

namespace fastgan::FASTGAN_ISA {
namespace {

template <template <class, class> class Kernel, class Scheme>
WinogradPlan plan(const WinogradShape& s, bool is_double, int64_t threads) {
  return is_double ? Kernel<Float64, Scheme>::plan(s, threads)
                   : Kernel<Float32, Scheme>::plan(s, threads);
}

template <template <class, class> class Kernel, class Scheme, class Params>
int run(const Params& p, const Exec& exec) {
  p.is_double ? Kernel<Float64, Scheme>(p).run(exec) : Kernel<Float32, Scheme>(p).run(exec);
  return 0;
}

}  // namespace

extern const WinogradStridedConv2dKernels winograd_strided_conv2d;
const WinogradStridedConv2dKernels winograd_strided_conv2d = {
    plan<Conv, Strided>, plan<Conv, Transposed>, plan<WeightGradient, Strided>,
    run<Conv, Strided>,  run<Conv, Transposed>,  run<WeightGradient, Strided>,
};

}  // namespace fastgan::FASTGAN_ISA
