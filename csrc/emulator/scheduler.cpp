// SPDX-License-Identifier: Apache-2.0
#include "scheduler.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "checked_index.h"
#include "fiber.h"

#if defined(FASTGAN_EMULATOR_TSAN)
#include <sanitizer/tsan_interface.h>
#define FASTGAN_TSAN(...) __VA_ARGS__
#else
#define FASTGAN_TSAN(...)
#endif

namespace fastgan::emulator {

Current current;
int64_t largest_index = INT64_MAX;

namespace {

constexpr int kWarp = 32, kMostThreads = 1024;
constexpr size_t kSharedAlignment = 128;
constexpr int64_t kMostShared = 227 * 1024;
constexpr int kCudaErrorInvalidValue = 1;

enum class State { kReady, kAtBarrier, kAtWarpOperation, kDone };
enum class Order { kRandom, kForward, kReverse };

struct Thread {
  Fiber fiber;
  State state = State::kDone;
  Coordinates coordinates{};
  Place place{};         // where it waits
  unsigned mask = 0;     // of the warp operation that it waits in
  unsigned present = 0;  // lanes that met there
  int parity = 0;        // warp operations alternate between two sets of slots
  std::deque<Copy> copies;
};

struct Warp {
  alignas(16) unsigned char slots[2][kWarp][kExchangeBytes];
};

// Memory at its exact size, so that the address sanitizer sees the byte after it.
struct Free {
  void operator()(void* p) const { std::free(p); }
};
using Memory = std::unique_ptr<void, Free>;

Memory poisoned(size_t bytes) {
  void* p = nullptr;
  if (posix_memalign(&p, kSharedAlignment, bytes) != 0) throw std::bad_alloc();
  std::memset(p, 0xFF, bytes);  // NaN in every floating type
  return Memory(p);
}

struct Grid {
  std::vector<std::unique_ptr<Thread>> threads;
  std::vector<Warp> warps;
  std::vector<int> order;
  int count = 0, running = -1, alive = 0, waiting = 0;
  const std::function<void()>* body = nullptr;
  const char* name = "";
  std::string error;
  Memory dynamic;
  std::vector<std::pair<const void*, Memory>> objects;
  std::vector<Memory> kept;  // the thread sanitizer must not see memory used again within a grid
  Order mode = Order::kRandom;
  std::mt19937_64 random;
  uint64_t launches = 0, blocks = 0;
  int barrier_parity = 0;
  char at_start = 0, at_end = 0;
};

Grid& grid() {
  static Grid instance;
  return instance;
}

Thread& running() { return *grid().threads[size_t(grid().running)]; }

[[noreturn]] void fail(const std::string& what) { throw Error("emulator: " + what); }

std::string text(Place place) { return std::string(place.file) + ":" + std::to_string(place.line); }

#if defined(FASTGAN_EMULATOR_TSAN)
// Addresses that order what happened before a meeting with what comes after. Each block has fresh
// ones: the same for two blocks would hide a race between them.
constexpr size_t kCells = size_t(1) << 17, kCellsPerBlock = 2 + 2 * (kMostThreads / kWarp);
char cells[kCells * 8];
void* cell(size_t i) { return cells + ((grid().blocks * kCellsPerBlock + i) % kCells) * 8; }
#endif

// Byte by byte: a sanitizer would take memcpy for an access of the fiber.
void copy(void* to, const void* from, size_t bytes) {
  auto* a = static_cast<volatile unsigned char*>(to);
  auto* b = static_cast<const volatile unsigned char*>(from);
  for (size_t i = 0; i < bytes; ++i) a[i] = b[i];
}

void thread_main() {
  Fiber::entered();
  FASTGAN_TSAN(__tsan_acquire(&grid().at_start));
  try {
    (*grid().body)();
    if (!running().copies.empty()) fail("a thread ends with copies that it has not waited for");
  } catch (const std::exception& error) {
    grid().error = error.what();
  }
  FASTGAN_TSAN(__tsan_release(&grid().at_end));
  running().state = State::kDone;
  --grid().alive;
  running().fiber.leave(true);
  std::abort();  // a finished fiber is never resumed
}

void draw_order() {
  Grid& g = grid();
  if (g.mode == Order::kRandom) std::shuffle(g.order.begin(), g.order.end(), g.random);
}

void run_ready_threads(bool& has_moved) {
  Grid& g = grid();
  for (int i : g.order) {
    if (g.threads[size_t(i)]->state != State::kReady) continue;
    has_moved = true;
    g.running = i;
    current.thread = running().coordinates;
    running().fiber.resume();
    if (!g.error.empty()) return;
  }
}

// All threads that still live are at a barrier: they must be at the same one.
void pass_barrier() {
  Grid& g = grid();
  g.waiting = 0;
  g.barrier_parity ^= 1;
  const Thread* first = nullptr;
  for (int i = 0; i < g.count; ++i) {
    Thread& t = *g.threads[size_t(i)];
    if (t.state != State::kAtBarrier) continue;
    if (!first) first = &t;
    if (t.place.line != first->place.line || std::strcmp(t.place.file, first->place.file) != 0) {
      g.error = "emulator: divergent __syncthreads: " + text(first->place) + " and " +
                text(t.place) + " in " + g.name;
      return;
    }
    t.state = State::kReady;
  }
  draw_order();
}

std::string deadlock() {
  Grid& g = grid();
  std::string what = std::string("emulator: deadlock in ") + g.name;
  int told = 0;
  for (int i = 0; i < g.count && told < 4; ++i) {
    const Thread& t = *g.threads[size_t(i)];
    if (t.state == State::kDone) continue;
    ++told;
    what += "\n  thread " + std::to_string(i) +
            (t.state == State::kAtBarrier ? " waits at __syncthreads "
                                          : " waits at a warp operation ") +
            text(t.place);
  }
  return what;
}

void run_block() {
  Grid& g = grid();
  g.alive = g.count;
  g.waiting = g.barrier_parity = 0;
  ++g.blocks;
  FASTGAN_TSAN(__tsan_release(&g.at_start));
  for (int i = 0; i < g.count; ++i) {
    Thread& t = *g.threads[size_t(i)];
    t.fiber.prepare(thread_main);
    t.state = State::kReady;
    t.parity = 0;
  }
  draw_order();
  while (g.alive && g.error.empty()) {
    bool has_moved = false;
    run_ready_threads(has_moved);
    if (!g.error.empty()) return;
    if (g.alive && g.waiting == g.alive) {
      pass_barrier();
      has_moved = true;
    }
    if (!has_moved) g.error = deadlock();
  }
}

int64_t number_of(const char* variable, int64_t otherwise) {
  const char* value = std::getenv(variable);
  return value && *value ? std::atoll(value) : otherwise;
}

Order order_of_environment() {
  const char* value = std::getenv("FASTGAN_EMULATOR_ORDER");
  if (!value || !*value || !std::strcmp(value, "random")) return Order::kRandom;
  if (!std::strcmp(value, "forward")) return Order::kForward;
  if (!std::strcmp(value, "reverse")) return Order::kReverse;
  fail(std::string("FASTGAN_EMULATOR_ORDER must be random, forward or reverse, got ") + value);
}

void check_launch(dim3 g, dim3 b, size_t shared_bytes, const char* name) {
  const uint64_t threads = uint64_t(b.x) * b.y * b.z;
  const std::string where = std::string(" in ") + name;
  if (threads == 0 || threads > kMostThreads || b.z > 64)
    fail("a block of " + std::to_string(threads) + " threads" + where);
  if (!g.x || !g.y || !g.z || g.x > 2147483647u || g.y > 65535 || g.z > 65535)
    fail("a grid of " + std::to_string(g.x) + " x " + std::to_string(g.y) + " x " +
         std::to_string(g.z) + " blocks" + where);
  if (int64_t(shared_bytes) > most_shared())
    fail(std::to_string(shared_bytes) + " bytes of shared memory" + where);
}

void set_up(dim3 g, dim3 b) {
  Grid& s = grid();
  s.mode = order_of_environment();
  s.random.seed(uint64_t(number_of("FASTGAN_EMULATOR_SEED", 1)) * 7919 + s.launches++);
  narrow_limit();  // a launcher that asked for none may be under another limit than the last
  s.count = int(b.x * b.y * b.z);
  while (s.threads.size() < size_t(s.count)) s.threads.push_back(std::make_unique<Thread>());
  s.warps.resize(size_t(s.count + kWarp - 1) / kWarp);
  s.order.resize(size_t(s.count));
  for (int i = 0; i < s.count; ++i) {
    s.order[size_t(i)] = s.mode == Order::kReverse ? s.count - 1 - i : i;
    s.threads[size_t(i)]->coordinates = {unsigned(i) % b.x, unsigned(i) / b.x % b.y,
                                         unsigned(i) / b.x / b.y};
  }
  current.block_dim = {b.x, b.y, b.z};
  current.grid_dim = {g.x, g.y, g.z};
}

// Block number k -> (a·k + c) mod n with a and n coprime: every block once, in any order.
struct BlockOrder {
  uint64_t n, a = 1, c = 0;

  explicit BlockOrder(uint64_t blocks) : n(blocks) {
    Grid& g = grid();
    if (n == 1) return;
    if (g.mode == Order::kReverse) {
      a = c = n - 1;
    } else if (g.mode == Order::kRandom) {
      c = g.random() % n;
      do a = 1 + g.random() % (n - 1);
      while (std::gcd(a, n) != 1);
    }
  }
  uint64_t at(uint64_t k) const {
    return uint64_t((static_cast<unsigned __int128>(a) * k + c) % n);
  }
};

void drop_shared_memory() {
  Grid& g = grid();
  g.kept.push_back(std::move(g.dynamic));
  for (auto& object : g.objects) g.kept.push_back(std::move(object.second));
  g.objects.clear();
#if !defined(FASTGAN_EMULATOR_TSAN)
  g.kept.clear();
#endif
}

// Set while the calling thread runs a grid.
thread_local bool is_inside_kernel = false;

struct Running {
  Running() { is_inside_kernel = true; }
  ~Running() {
    is_inside_kernel = false;
    grid().kept.clear();
  }
};

}  // namespace

int lane() { return grid().running % kWarp; }

void synchronise_block(Place place) {
  Thread& t = running();
  t.place = place;
  t.state = State::kAtBarrier;
  ++grid().waiting;
  FASTGAN_TSAN(void* meeting = cell(size_t(grid().barrier_parity)); __tsan_release(meeting));
  t.fiber.leave();
  FASTGAN_TSAN(__tsan_acquire(meeting));
}

void exchange(unsigned mask, const void* value, size_t bytes, Place place) {
  Grid& g = grid();
  Thread& t = running();
  const int warp = g.running / kWarp, own = lane();
  if (!(mask >> own & 1))
    fail(text(place) + ": lane " + std::to_string(own) + " is not in its own mask");
  t.parity ^= 1;
  FASTGAN_TSAN(void* meeting = cell(2 + 2 * size_t(warp) + size_t(t.parity));
               __tsan_release(meeting));
  copy(g.warps[size_t(warp)].slots[t.parity][own], value, bytes);
  t.place = place;
  t.mask = mask;
  t.state = State::kAtWarpOperation;
  bool is_complete = true;
  for (int i = 0; i < kWarp; ++i) {
    if (!(mask >> i & 1)) continue;
    const int other = warp * kWarp + i;
    if (other >= g.count || g.threads[size_t(other)]->state == State::kDone)
      fail(text(place) + ": the mask names lane " + std::to_string(i) + ", which has ended");
    const Thread& o = *g.threads[size_t(other)];
    if (o.state != State::kAtWarpOperation || o.mask != mask) {
      is_complete = false;
    } else if (o.place.line != place.line || o.parity != t.parity) {
      fail("lanes of one mask meet at different warp operations: " + text(place) + " and " +
           text(o.place));
    }
  }
  if (is_complete) {
    for (int i = 0; i < kWarp; ++i) {
      if (!(mask >> i & 1)) continue;
      Thread& o = *g.threads[size_t(warp * kWarp + i)];
      o.present = mask;
      o.state = State::kReady;
    }
  }
  t.fiber.leave();
  FASTGAN_TSAN(__tsan_acquire(meeting));
}

void read_exchanged(int source, void* value, size_t bytes, Place place) {
  const Thread& t = running();
  if (!(t.present >> source & 1))
    fail(text(place) + ": lane " + std::to_string(lane()) + " reads lane " +
         std::to_string(source) + ", which is not in the mask");
  copy(value, grid().warps[size_t(grid().running / kWarp)].slots[t.parity][source], bytes);
}

void begin_copy(const Copy& copy) { running().copies.push_back(copy); }

bool take_copy(Copy& copy) {
  std::deque<Copy>& copies = running().copies;
  if (copies.empty()) return false;
  copy = copies.front();
  copies.pop_front();
  return true;
}

unsigned ballot(unsigned mask, int predicate, Place place) {
  exchange(mask, &predicate, sizeof predicate, place);
  unsigned result = 0;
  for (int i = 0; i < kWarp; ++i) {
    if (!(mask >> i & 1)) continue;
    int other = 0;
    read_exchanged(i, &other, sizeof other, place);
    if (other) result |= 1u << i;
  }
  return result;
}

void* dynamic_shared_memory() {
  if (!grid().dynamic)
    fail(std::string("no dynamic shared memory was asked for in ") + grid().name);
  return grid().dynamic.get();
}

void* shared_object(const void* key, size_t bytes) {
  Grid& g = grid();
  for (auto& [known, memory] : g.objects) {
    if (known != key) continue;
    FASTGAN_TSAN(__tsan_acquire(memory.get()));
    return memory.get();
  }
  g.objects.emplace_back(key, poisoned(bytes));
  FASTGAN_TSAN(__tsan_release(g.objects.back().second.get()));
  return g.objects.back().second.get();
}

int64_t most_shared() { return number_of("FASTGAN_EMULATOR_SHARED_BYTES", kMostShared); }
int allow_shared(size_t bytes) {
  return int64_t(bytes) > most_shared() ? kCudaErrorInvalidValue : 0;
}

// Also sets what a CheckedIndex may be from here on, on the host and in the kernel: an index stays
// below the limit, and one step of a grid loop over so many elements adds at most as much again,
// rounded up to whole blocks.
int64_t narrow_limit() {
  const int64_t limit = number_of("FASTGAN_EMULATOR_NARROW_LIMIT", (int64_t(1) << 31) - 1);
  largest_index = 2 * limit + kMostThreads;
  return limit;
}

int multiprocessors() { return int(number_of("FASTGAN_EMULATOR_MULTIPROCESSORS", 132)); }

void fail_index(int64_t value) {
  fail("a narrow index is " + std::to_string(value) + ", beyond what " +
       std::to_string(narrow_limit()) + " elements allow, in " + grid().name);
}

void run_grid(dim3 g, dim3 b, size_t shared_bytes, const std::function<void()>& thread,
              const char* name) {
  static std::mutex one_grid_at_a_time;
  Grid& s = grid();
  if (is_inside_kernel) fail("a launch inside a kernel");
  const std::lock_guard lock(one_grid_at_a_time);
  check_launch(g, b, shared_bytes, name);
  const Running running_now;
  s.body = &thread;
  s.name = name;
  s.error.clear();
  set_up(g, b);
  const uint64_t blocks = uint64_t(g.x) * g.y * g.z;
  const BlockOrder order(blocks);
  for (uint64_t k = 0; k < blocks && s.error.empty(); ++k) {
    const uint64_t i = order.at(k);
    current.block = {unsigned(i % g.x), unsigned(i / g.x % g.y), unsigned(i / g.x / g.y)};
    if (shared_bytes) s.dynamic = poisoned(shared_bytes);
    run_block();
    drop_shared_memory();
  }
  FASTGAN_TSAN(__tsan_acquire(&s.at_end));
  if (!s.error.empty()) throw Error(s.error);
}

}  // namespace fastgan::emulator
