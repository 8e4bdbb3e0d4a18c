// SPDX-License-Identifier: Apache-2.0
// CPU kernels of winograd_strided_conv2d, compiled once per instruction set.
#include "winograd_strided_conv2d.h"

#include "../../common/winograd/conv.h"
#include "../../common/winograd/weight.h"
#include "transforms.h"
#if defined(__AVX512BW__) && defined(__linux__)
#include "amx_conv.h"
#include "amx_weight.h"
#define FASTGAN_HAS_AMX
#endif

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

#if defined(FASTGAN_HAS_AMX)
template <class Three, class Four>
WinogradPlan plan_amx(const WinogradShape& s, bool, int64_t threads) {
  return s.side == 4 ? Four::plan(s, threads) : Three::plan(s, threads);
}

template <class Three, class Four, class Params>
int run_amx(const Params& p, const Exec& exec) {
  p.shape.side == 4 ? Four(p).run(exec) : Three(p).run(exec);
  return 0;
}

constexpr WinogradStridedConv2dKernels kAmxKernels = {
    plan_amx<amx::DirectConv<false, 3>, amx::DirectConv<false, 4>>,
    plan_amx<amx::DirectConv<true, 3>, amx::DirectConv<true, 4>>,
    plan_amx<amx::DirectWeight<3>, amx::DirectWeight<4>>,
    run_amx<amx::DirectConv<false, 3>, amx::DirectConv<false, 4>>,
    run_amx<amx::DirectConv<true, 3>, amx::DirectConv<true, 4>>,
    run_amx<amx::DirectWeight<3>, amx::DirectWeight<4>>,
    nullptr,
};
constexpr const WinogradStridedConv2dKernels* kAmx = &kAmxKernels;
#else
constexpr const WinogradStridedConv2dKernels* kAmx = nullptr;
#endif

}  // namespace

extern const WinogradStridedConv2dKernels winograd_strided_conv2d;
const WinogradStridedConv2dKernels winograd_strided_conv2d = {
    plan<Conv, Strided>,
    plan<Conv, Transposed>,
    plan<WeightGradient, Strided>,
    run<Conv, Strided>,
    run<Conv, Transposed>,
    run<WeightGradient, Strided>,
    kAmx,
};

}  // namespace fastgan::FASTGAN_ISA
