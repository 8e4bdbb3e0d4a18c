// SPDX-License-Identifier: Apache-2.0
// Where there is no libFuzzer: inputs from a seeded generator, blind to what code they reach.
//
//   PROGRAM -runs=N -seed=N -max_total_time=SECONDS -max_len=BYTES
//
// The options are those of libFuzzer, and so is the last line; others are passed over.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

int main(int argc, char** argv) {
  long runs = 1000, seed = 1, seconds = 0, most = 128;
  for (int k = 1; k < argc; ++k) {
    std::sscanf(argv[k], "-runs=%ld", &runs);
    std::sscanf(argv[k], "-seed=%ld", &seed);
    std::sscanf(argv[k], "-max_total_time=%ld", &seconds);
    std::sscanf(argv[k], "-max_len=%ld", &most);
  }
  std::mt19937_64 random{uint64_t(seed)};
  const auto begin = std::chrono::steady_clock::now();
  long done = 0;
  for (; done < runs; ++done) {
    if (seconds > 0 && std::chrono::steady_clock::now() - begin > std::chrono::seconds(seconds))
      break;
    std::vector<uint8_t> input(random() % uint64_t(most) + 1);
    for (uint8_t& byte : input) byte = uint8_t(random());
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
  std::fprintf(stderr, "Done %ld runs\n", done);
  return 0;
}
