// SPDX-License-Identifier: Apache-2.0
// A parallel_for on std::thread, for CPU kernels in the driver: torch's needs torch, and
// ThreadSanitizer does not know libgomp's synchronisation.
#pragma once

#include <cstdint>
#include <thread>
#include <vector>

#include "../../csrc/common/exec.h"

namespace fastgan::driver {

// How many threads share a range; the driver changes it between the two runs of a case.
inline int& thread_count() {
  static int count = 3;
  return count;
}

// Splits ranges finer than `grain`, so that small cases have threads to race. The pieces differ in
// length: nothing may rely on where a range is cut.
inline void parallel_for_in_threads(int64_t n, int64_t, RangeFunction f, void* context) {
  if (n <= 0) return;
  const int64_t pieces = n < thread_count() ? n : thread_count();
  std::vector<std::thread> threads;
  int64_t begin = 0;
  for (int64_t k = 0; k < pieces; ++k) {
    const int64_t rest = n - begin, left = pieces - k;
    const int64_t length = left == 1 ? rest : rest / left + (rest / left > 1 && k % 2 == 0 ? 1 : 0);
    threads.emplace_back(f, begin, begin + length, context);
    begin += length;
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace fastgan::driver
