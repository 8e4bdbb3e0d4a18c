// SPDX-License-Identifier: Apache-2.0
// The step of the counter that the words of a sample are made from. No torch, no CUDA.
#pragma once

#include <cstdint>

namespace fastgan {

constexpr uint64_t kSampleGamma = 0x9E3779B97F4A7C15u;  // 2^64 / golden ratio

}  // namespace fastgan
