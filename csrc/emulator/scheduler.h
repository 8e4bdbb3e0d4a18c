// SPDX-License-Identifier: Apache-2.0
// Runs a grid on the CPU: blocks one after another, a block's threads as fibers that change places
// at barriers and warp operations only.
//
// The order of blocks is random, the order of threads is drawn anew at every barrier
// (FASTGAN_EMULATOR_ORDER=random|forward|reverse, FASTGAN_EMULATOR_SEED=n, read at each launch).
// Shared memory is NaN when a block starts. Errors are thrown out of launch() with the source lines
// that met: a barrier that not all threads reach, lanes of one mask at different operations, a
// shuffle from a lane that is not there, a deadlock, a grid or block beyond what a GPU takes.
#pragma once

#include <vector_types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>

namespace fastgan::emulator {

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Place {
  const char* file;
  int line;
};

struct Coordinates {
  unsigned x, y, z;
};

// What the running thread knows of itself.
struct Current {
  Coordinates thread, block, block_dim, grid_dim;
};
extern Current current;

constexpr size_t kExchangeBytes = 16;

int lane();
void synchronise_block(Place place);
// Waits for the lanes of `mask`; each leaves `bytes` at `value` for the others to read.
void exchange(unsigned mask, const void* value, size_t bytes, Place place);
void read_exchanged(int source, void* value, size_t bytes, Place place);
unsigned ballot(unsigned mask, int predicate, Place place);

// A copy that the running thread has begun and not waited for; at the thread's end it is an error.
struct Copy {
  void* to;
  const void* from;  // null: zeros
  void (*run)(void* to, const void* from);
};
void begin_copy(const Copy& copy);
bool take_copy(Copy& copy);  // the oldest; false where there is none

void* dynamic_shared_memory();
void* shared_object(const void* key, size_t bytes);
int multiprocessors();  // FASTGAN_EMULATOR_MULTIPROCESSORS, else 132
// What a block may have: FASTGAN_EMULATOR_SHARED_BYTES, else the largest GPU's 227 KB.
int64_t most_shared();
int allow_shared(size_t bytes);  // 0, or cudaErrorInvalidValue beyond most_shared()

void run_grid(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& thread,
              const char* name);

}  // namespace fastgan::emulator
