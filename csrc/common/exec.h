// SPDX-License-Identifier: Apache-2.0
// How a launcher reaches the machine: a stream on a GPU, torch's thread pool on a CPU.
#pragma once

#include <cstdint>

namespace fastgan {

using RangeFunction = void (*)(int64_t begin, int64_t end, void* context);

struct Exec {
  void* stream;  // cudaStream_t; null on a CPU
  // Calls f on disjoint ranges that cover [0, n), each of at least `grain` where n allows.
  void (*parallel_for)(int64_t n, int64_t grain, RangeFunction f, void* context);
};

template <class F>
void parallel(const Exec& exec, int64_t n, int64_t grain, F& f) {
  exec.parallel_for(
      n, grain,
      [](int64_t begin, int64_t end, void* context) { (*static_cast<F*>(context))(begin, end); },
      &f);
}

}  // namespace fastgan
