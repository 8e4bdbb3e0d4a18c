// SPDX-License-Identifier: Apache-2.0
// Kernels that are wrong on purpose, one fault each, and what the emulator must say of them; and a
// few that are right. `faults NAME` runs one: exit 3 and the message, or exit 0.
#include <cstdio>
#include <cstring>
#include <vector>

#include "../../../csrc/common/platform.cuh"

namespace fastgan {
namespace {

constexpr unsigned kAll = 0xffffffffu;

__global__ void divergent_barrier(int*) {
  if (threadIdx.x < 32)
    __syncthreads();
  else
    __syncthreads();
}

__global__ void barrier_against_warp(int* out) {
  if (threadIdx.x < 16)
    __syncthreads();
  else
    out[0] = __shfl_sync(kAll, 1, 0);
}

__global__ void shuffle_in_a_branch(int* out) {
  if (threadIdx.x < 4) out[threadIdx.x] = __shfl_xor_sync(kAll, 1, 1);
}

__global__ void two_operations_of_one_mask(int* out) {
  if (threadIdx.x & 1)
    out[threadIdx.x] = __shfl_sync(kAll, 1, 0);
  else
    out[threadIdx.x] = __shfl_sync(kAll, 2, 0);
}

__global__ void lane_outside_its_mask(int* out) { out[0] = __shfl_sync(0xffu, 1, 0); }

__global__ void lane_that_has_ended(int* out) {
  if (threadIdx.x == 7) return;
  out[threadIdx.x] = __shfl_sync(kAll, 1, 0);
}

__global__ void reads_a_lane_outside_the_mask(int* out) {
  if (threadIdx.x < 8) out[threadIdx.x] = __shfl_sync(0xffu, 1, 20);
}

__global__ void dynamic_memory_not_asked_for(int* out) { out[0] = dynamic_shared<int>()[0]; }

__global__ void narrow_index_too_far(int* out) {
  NarrowIndex i = threadIdx.x;
  i = i * 1000;
  out[0] = int(i);
}

__global__ void negative_narrow_index(int* out) {
  const NarrowIndex i = threadIdx.x;
  out[0] = int(i - 40);
}

// Of 32 copies, lane 31's are never waited for.
__global__ void copies_not_waited_for(int* out) {
  struct Values {
    int v[32];
  };
  copy_async<4>(&shared<Values>().v[threadIdx.x], out + threadIdx.x, true);
  if (threadIdx.x < 31) wait_for_copies();
}

// Copied bytes are no numbers before the thread has waited; then they are those of `out`, or zeros.
__global__ void copied_memory(int* out) {
  struct Values {
    alignas(16) int v[64];
  };
  Values& memory = shared<Values>();
  const int first = 4 * int(threadIdx.x);
  copy_async<16>(&memory.v[first], out + first, threadIdx.x % 2 == 0);
  if (memory.v[first] != -1) atomicAdd(out, 1);
  wait_for_copies();
  __syncthreads();
  if (memory.v[(first + 4) % 64] != 0) atomicAdd(out + 1, 1);
}

// A shared array that nobody has written to holds NaN, and again in the next block.
__global__ void poisoned_memory(int* out) {
  struct Values {
    float v[64];
  };
  Values& memory = shared<Values>();
  if (!(memory.v[threadIdx.x] != memory.v[threadIdx.x])) atomicAdd(out, 1);
  __syncthreads();
  memory.v[threadIdx.x] = 0;
}

// Sums 0..63 by shuffles and votes; exact in any order.
__global__ void right(int* out) {
  int sum = int(threadIdx.x);
  for (int offset = 16; offset; offset >>= 1) sum += __shfl_down_sync(kAll, sum, offset);
  const unsigned odd = __ballot_sync(kAll, threadIdx.x & 1);
  if (!__any_sync(kAll, threadIdx.x == 33) && !__all_sync(kAll, threadIdx.x < 32))
    atomicAdd(out, 1);
  __syncwarp();
  if (odd != 0xaaaaaaaau) atomicAdd(out, 1);
  if ((threadIdx.x & 31) == 0) atomicAdd(out + 1, sum);
}

struct Case {
  const char* name;
  void (*kernel)(int*);
  dim3 grid, block;
};

const Case kCases[] = {
    {"divergent_barrier", divergent_barrier, 1, 64},
    {"barrier_against_warp", barrier_against_warp, 1, 32},
    {"shuffle_in_a_branch", shuffle_in_a_branch, 1, 32},
    {"two_operations_of_one_mask", two_operations_of_one_mask, 1, 32},
    {"lane_outside_its_mask", lane_outside_its_mask, 1, 32},
    {"lane_that_has_ended", lane_that_has_ended, 1, 32},
    {"reads_a_lane_outside_the_mask", reads_a_lane_outside_the_mask, 1, 32},
    {"dynamic_memory_not_asked_for", dynamic_memory_not_asked_for, 1, 32},
    {"narrow_index_too_far", narrow_index_too_far, 1, 64},
    {"negative_narrow_index", negative_narrow_index, 1, 32},
    {"block_too_large", right, 1, 1025},
    {"grid_too_high", right, dim3(1, 65536), 32},
    {"empty_grid", right, 0, 32},
    {"copies_not_waited_for", copies_not_waited_for, 1, 32},
    {"poisoned_memory", poisoned_memory, 3, 64},
    {"copied_memory", copied_memory, 1, 16},
    {"right", right, 1, 64},
};

int run(const char* name) {
  for (const Case& c : kCases) {
    if (std::strcmp(c.name, name) != 0) continue;
    std::vector<int> out(64, 0);
    try {
      launch(c.kernel, c.grid, c.block, 0, nullptr, out.data());
    } catch (const emulator::Error& error) {
      std::puts(error.what());
      return 3;
    }
    std::printf("%d %d\n", out[0], out[1]);
    return 0;
  }
  std::printf("no case is called %s\n", name);
  return 2;
}

}  // namespace
}  // namespace fastgan

int main(int argc, char** argv) {
  if (argc == 2 && std::strcmp(argv[1], "grids") == 0) {
    for (int64_t work : {int64_t(0), int64_t(257), int64_t(1) << 40})
      std::printf("%u ", fastgan::grid_for(work).x);
    return 0;
  }
  if (argc == 2) return fastgan::run(argv[1]);
  for (const auto& c : fastgan::kCases) std::puts(c.name);
  return 0;
}
