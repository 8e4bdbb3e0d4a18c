// SPDX-License-Identifier: Apache-2.0
// CPU kernels of winograd_conv2d, compiled once per instruction set.
#include "winograd_conv2d.h"

#include "../../common/winograd/conv.h"
#include "../../common/winograd/f43.h"
#include "../../common/winograd/weight.h"

namespace fastgan::FASTGAN_ISA {
namespace {

WinogradPlan plan_conv(const WinogradShape& s, bool is_double, int64_t threads) {
  return is_double ? Conv<Float64, F43>::plan(s, threads) : Conv<Float32, F43>::plan(s, threads);
}
WinogradPlan plan_weight(const WinogradShape& s, bool is_double, int64_t threads) {
  return is_double ? WeightGradient<Float64, F43>::plan(s, threads)
                   : WeightGradient<Float32, F43>::plan(s, threads);
}
int conv(const WinogradConvParams& p, const Exec& exec) {
  p.is_double ? Conv<Float64, F43>(p).run(exec) : Conv<Float32, F43>(p).run(exec);
  return 0;
}
int weight(const WinogradWeightParams& p, const Exec& exec) {
  p.is_double ? WeightGradient<Float64, F43>(p).run(exec)
              : WeightGradient<Float32, F43>(p).run(exec);
  return 0;
}

}  // namespace

extern const WinogradConv2dKernels winograd_conv2d;
const WinogradConv2dKernels winograd_conv2d = {plan_conv, plan_weight, conv, weight};

}  // namespace fastgan::FASTGAN_ISA
