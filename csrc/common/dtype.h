// SPDX-License-Identifier: Apache-2.0
// Element types that every kernel takes. No torch, no CUDA.
#pragma once

namespace fastgan {

enum class DType : int { kFloat64, kFloat32, kBFloat16, kFloat16 };

}  // namespace fastgan
