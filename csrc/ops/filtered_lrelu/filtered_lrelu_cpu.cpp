// SPDX-License-Identifier: Apache-2.0
// CPU kernel of filtered_lrelu: a plane is worked through from top to bottom, and of its
// up-sampled rows those that the next output row needs are in a ring, which stays in the cache.
// Compiled once per instruction set.
//
// Within a row, samples lie in planes by their column modulo P, the least common multiple of up and
// down: samples 0, P, 2P, … one after another, then 1, P + 1, … So both filters, along both axes,
// are sums of weighted stretches (cpu_rows.h), whatever the factors are, and inserted zeros cost
// nothing.
#include <cstdlib>

#include "cpu_rows.h"

namespace fastgan::FASTGAN_ISA {
namespace {

inline int64_t greatest_common_divisor(int64_t a, int64_t b) {
  while (b) {
    const int64_t rest = a % b;
    a = b;
    b = rest;
  }
  return a;
}
inline int64_t least_common_multiple(int64_t a, int64_t b) {
  return a / greatest_common_divisor(a, b) * b;
}
inline int64_t ceil_divide(int64_t a, int64_t b) { return -floor_divide(-a, b); }
inline int64_t wide(const FilteredAxis& a, int64_t down) {
  return (a.out - 1) * down + a.down_taps;
}

// How rows lie in buffers. Columns of v are numbered as their slope codes are: column j + offset.
template <class A>
struct Columns {
  int64_t planes;             // P
  int64_t first;              // column at place 0: a multiple of P and of 4
  int64_t places;             // of a plane that hold columns: whole bytes of codes
  int64_t pitch, row;         // of a plane and of a row of v, in whole vectors
  int64_t x_planes, x_first;  // x's row in P / up planes from x_first on, a multiple of them
  int64_t x_pitch, x_row;
  int64_t y_planes, y_places;  // y's row in P / down planes
  int64_t y_pitch;
  int64_t reach;  // of a read from place 0 of a row of v

  explicit Columns(const FilteredLreluParams& p) {
    const FilteredAxis& a = p.ax;
    constexpr int64_t kWidth = kWidthOf<A>;
    planes = least_common_multiple(p.up, p.down);
    const int64_t whole = least_common_multiple(planes, 4);
    first = floor_divide(a.sign_offset, whole) * whole;
    places = round_up(divide_up(a.sign_offset + wide(a, p.down) - first, planes), 4);
    pitch = round_up(places, kWidth);
    row = planes * pitch;
    x_planes = planes / p.up;
    const int64_t low = first - a.sign_offset - a.pad;  // of (j + k - pad)
    x_first = floor_divide(ceil_divide(low, p.up), x_planes) * x_planes;
    const int64_t high = floor_divide(low + planes - 1 + a.up_taps - 1, p.up);
    x_pitch = round_up(pitch + (high - x_first) / x_planes + 1, kWidth);
    x_row = x_planes * x_pitch;
    y_planes = planes / p.down;
    y_places = divide_up(a.out, y_planes);
    y_pitch = round_up(y_places, kWidth);
    const int64_t last = (y_planes - 1) * p.down + a.sign_offset - first + a.down_taps - 1;
    reach = larger(row, (planes - 1) * pitch + last / planes + y_pitch);
  }
};

template <class A>
inline A tap(const void* f, int64_t taps, int64_t k, bool is_flipped) {
  return static_cast<const A*>(f)[is_flipped ? k : taps - 1 - k];
}
template <class A>
inline A tap(const void* f, int64_t rows, int64_t columns, int64_t ky, int64_t kx, bool flipped) {
  const int64_t at = ky * columns + kx;
  return static_cast<const A*>(f)[flipped ? at : rows * columns - 1 - at];
}

// The taps k, k + up, … of v's row j along y, and the row of x that the first of them meets.
struct RowTaps {
  int64_t k, i, count;
};
inline RowTaps row_taps(const FilteredLreluParams& p, int64_t j) {
  const int64_t top = j - p.ay.pad, i = ceil_divide(top, p.up), k = i * p.up - top;
  return {k, i, k < p.ay.up_taps ? (p.ay.up_taps - k + p.up - 1) / p.up : 0};
}

// Buffers for the rows of one plane; null `memory` where there is none to be had.
template <class T>
struct Plane {
  using A = compute_t<T>;
  const FilteredLreluParams& p;
  Columns<A> at;
  int64_t in_rows, wide_rows;  // of the two rings
  void* memory = nullptr;
  A* x_rows;             // fu separable: one row of x; else a ring of them
  A* rows;               // fu separable: a ring of rows of x, filtered along x
  A* wide_ring;          // rows of w
  A *filtered, *result;  // a row of w filtered along y; a row of y in planes
  uint8_t* codes;
  Terms<A> terms;          // made for each row
  Terms<A>*up_x, *down_x;  // separable: along x, of each plane of v and of y
  int64_t next_row, next_wide;

  explicit Plane(const FilteredLreluParams& params) : p(params), at(params) {
    in_rows = divide_up(p.ay.up_taps, p.up) + 1;
    wide_rows = p.ay.down_taps;
    const int64_t taps = larger(p.ay.up_taps * p.ax.up_taps, p.ay.down_taps * p.ax.down_taps);
    const int64_t lists = at.planes + at.y_planes;
    const int64_t listed = at.planes * p.ax.up_taps + at.y_planes * p.ax.down_taps;
    const int64_t slack = at.reach + 16 * kWidthOf<A>;
    const int64_t values = in_rows * (at.x_row + at.row) + wide_rows * at.row + 4 * slack +
                           at.y_planes * at.y_pitch + taps + listed;
    const int64_t words = taps + listed;
    memory = std::malloc(size_t(lists) * sizeof(Terms<A>) + size_t(words) * sizeof(int64_t) +
                         size_t(values) * sizeof(A) + size_t(at.row) + 128);
    if (!memory) return;
    up_x = static_cast<Terms<A>*>(memory);
    down_x = up_x + at.planes;
    int64_t* offsets = reinterpret_cast<int64_t*>(up_x + lists);
    const auto take_offsets = [&](int64_t n) {
      int64_t* from = offsets;
      offsets += n;
      return from;
    };
    A* free = reinterpret_cast<A*>((reinterpret_cast<uintptr_t>(offsets + words) + 63) / 64 * 64);
    const auto take = [&](int64_t n) {
      A* from = free;
      free += round_up(n, kWidthOf<A>);
      return from;
    };
    x_rows = take(in_rows * at.x_row);
    rows = take(in_rows * at.row);
    wide_ring = take(wide_rows * at.row + slack - at.row);
    filtered = take(slack);
    result = take(at.y_planes * at.y_pitch);
    terms = {take_offsets(taps), take(taps)};
    for (int64_t r = 0; r < at.planes; ++r) up_x[r] = {take_offsets(p.ax.up_taps), nullptr};
    for (int64_t r = 0; r < at.y_planes; ++r) down_x[r] = {take_offsets(p.ax.down_taps), nullptr};
    A* weights = take(listed);
    for (int64_t r = 0; r < lists; ++r) {
      up_x[r].weights = weights;
      weights += r < at.planes ? p.ax.up_taps : p.ax.down_taps;
    }
    codes = reinterpret_cast<uint8_t*>(free);
    for (int64_t i = 0; i < in_rows * at.x_row; ++i) x_rows[i] = 0;
    for (int64_t i = 0; i < wide_rows * at.row + slack - at.row; ++i) wide_ring[i] = 0;
    for (int64_t i = 0; i < slack; ++i) filtered[i] = 0;
    if (p.fu_is_separable)
      for (int64_t r = 0; r < at.planes; ++r)
        each_up_tap(r, [&](int64_t k, int64_t offset) {
          up_x[r].add(offset, tap<A>(p.fu, p.ax.up_taps, k, p.is_flipped));
        });
    if (p.fd_is_separable)
      for (int64_t r = 0; r < at.y_planes; ++r)
        each_down_tap(r, [&](int64_t k, int64_t offset) {
          down_x[r].add(offset, tap<A>(p.fd, p.ax.down_taps, k, p.is_flipped));
        });
  }
  ~Plane() { std::free(memory); }
  Plane(const Plane&) = delete;
  Plane& operator=(const Plane&) = delete;

  // f(k, offset): tap k meets, for plane r of v, x's row from `offset` on.
  template <class F>
  void each_up_tap(int64_t r, F&& f) const {
    const int64_t top = at.first - p.ax.sign_offset - p.ax.pad + r;
    const int64_t i0 = ceil_divide(top, p.up);
    int64_t i = i0 - at.x_first;
    for (int64_t k = i0 * p.up - top; k < p.ax.up_taps; k += p.up, ++i)
      f(k, i % at.x_planes * at.x_pitch + i / at.x_planes);
  }
  // The same for plane r of y and a row of v.
  template <class F>
  void each_down_tap(int64_t r, F&& f) const {
    for (int64_t k = 0; k < p.ax.down_taps; ++k) {
      const int64_t j = r * p.down + p.ax.sign_offset - at.first + k;
      f(k, j % at.planes * at.pitch + j / at.planes);
    }
  }

  // Row i of x into its place.
  void load_row(const T* x, A bias, int64_t i) {
    A* to = x_rows + (p.fu_is_separable ? 0 : i % in_rows * at.x_row);
    const int64_t begin = larger(at.x_first, 0);
    const int64_t end = smaller(p.ax.in, at.x_first + at.x_row);
    const T* from = x + i * p.ax.in;
    if (at.x_planes == 1) {
#pragma omp simd
      for (int64_t k = begin; k < end; ++k) to[k - at.x_first] = A(load(from[k])) + bias;
    } else {
      for (int64_t q = 0; q < at.x_planes; ++q) {
        A* plane = to + q * at.x_pitch;
        const int64_t skipped = begin - at.x_first;
        for (int64_t n = divide_up(larger(skipped - q, 0), at.x_planes);
             at.x_first + n * at.x_planes + q < end; ++n)
          plane[n] = A(load(from[at.x_first + n * at.x_planes + q])) + bias;
      }
    }
    if (!p.fu_is_separable) return;
    A* out = rows + i % in_rows * at.row;
    for (int64_t r = 0; r < at.planes; ++r) weighted_sum(out + r * at.pitch, to, up_x[r], at.pitch);
  }

  // Row j of w into the ring; its codes are written where `owns_codes`.
  void make_wide(const T* x, A bias, int64_t j, uint8_t* signs, bool owns_codes) {
    const RowTaps t = row_taps(p, j);
    for (next_row = larger(next_row, larger(t.i, 0)); next_row < smaller(t.i + t.count, p.ay.in);
         ++next_row)
      load_row(x, bias, next_row);
    const int64_t first = larger(0, -t.i), last = smaller(t.count, p.ay.in - t.i);
    A* out = wide_ring + j % wide_rows * at.row;
    if (p.fu_is_separable) {
      terms.clear();
      for (int64_t m = first; m < last; ++m)
        terms.add((t.i + m) % in_rows * at.row,
                  tap<A>(p.fu, p.ay.up_taps, t.k + m * p.up, p.is_flipped) * A(p.up_gain));
      weighted_sum(out, rows, terms, at.row);
    } else {
      for (int64_t r = 0; r < at.planes; ++r) {
        terms.clear();
        for (int64_t m = first; m < last; ++m)
          each_up_tap(r, [&](int64_t k, int64_t offset) {
            const A weight =
                tap<A>(p.fu, p.ay.up_taps, p.ax.up_taps, t.k + m * p.up, k, p.is_flipped);
            terms.add((t.i + m) % in_rows * at.x_row + offset, weight * A(p.up_gain));
          });
        weighted_sum(out + r * at.pitch, x_rows, terms, at.pitch);
      }
    }
    const Activation<A> o{A(p.gain), A(p.slope), A(p.clamp)};
    if (p.mode == Signs::kRead)
      multiply(out, j, signs);
    else if (owns_codes)
      keep_codes(out, j, signs, o);
    else
      activate(out, at.row, o);
  }

  void keep_codes(A* row, int64_t j, uint8_t* signs, Activation<A> o) {
    activate(row, codes, at.row, o);
    uint8_t* to = signs + j * p.sign_bytes;
    pack(to, codes, at.planes, at.pitch, p.sign_bytes);
    if (p.sign_columns % 4) to[p.sign_bytes - 1] &= uint8_t((1 << p.sign_columns % 4 * 2) - 1);
  }

  void multiply(A* row, int64_t j, const uint8_t* signs) {
    const int64_t y = j + p.ay.sign_offset;
    if (y < 0 || y >= p.sign_rows) {
      for (int64_t i = 0; i < at.row; ++i) row[i] = 0;
      return;
    }
    // Bytes of the codes of this row's columns; outside of them there is none, which is clamped.
    const int64_t begin = larger(at.first / 4, 0), skipped = begin * 4 - at.first;
    const int64_t end = smaller(p.sign_bytes, (at.first + at.places * at.planes) / 4);
    const bool is_covered = skipped == 0 && (end - begin) * 4 >= at.places * at.planes;
    if (!is_covered)
      for (int64_t i = 0; i < at.row; ++i) codes[i] = uint8_t(SlopeCode::kClamped);
    if (end > begin)
      unpack(codes + skipped / at.planes, signs + y * p.sign_bytes + begin, at.planes, at.pitch,
             end - begin);
    multiply_by_slopes(row, codes, at.row, A(p.slope));
  }

  // Row o of y.
  void make_output(T* y, int64_t o) {
    const auto slot = [&](int64_t k) { return (o * p.down + k) % wide_rows * at.row; };
    if (p.fd_is_separable) {
      terms.clear();
      for (int64_t k = 0; k < p.ay.down_taps; ++k)
        terms.add(slot(k), tap<A>(p.fd, p.ay.down_taps, k, p.is_flipped));
      weighted_sum(filtered, wide_ring, terms, at.row);
    }
    for (int64_t r = 0; r < at.y_planes; ++r) {
      A* out = result + r * at.y_pitch;
      if (p.fd_is_separable) {
        weighted_sum(out, filtered, down_x[r], at.y_pitch);
        continue;
      }
      terms.clear();
      for (int64_t ky = 0; ky < p.ay.down_taps; ++ky)
        each_down_tap(r, [&](int64_t kx, int64_t offset) {
          terms.add(slot(ky) + offset,
                    tap<A>(p.fd, p.ay.down_taps, p.ax.down_taps, ky, kx, p.is_flipped));
        });
      weighted_sum(out, wide_ring, terms, at.y_pitch);
    }
    T* to = y + o * p.ax.out;
    if (at.y_planes == 1) {
#pragma omp simd
      for (int64_t i = 0; i < p.ax.out; ++i) store(to + i, result[i]);
      return;
    }
    for (int64_t r = 0; r < at.y_planes; ++r)
      for (int64_t i = r, n = 0; i < p.ax.out; i += at.y_planes, ++n)
        store(to + i, result[r * at.y_pitch + n]);
  }

  // Output rows [begin, end) of a plane. Rows of w that two bands need have their codes written by
  // the upper band's neighbour below.
  void run(const T* x, T* y, uint8_t* signs, A bias, int64_t begin, int64_t end) {
    next_row = 0;
    next_wide = begin * p.down;
    const int64_t owned = end == p.ay.out ? p.sign_rows : end * p.down;
    for (int64_t o = begin; o < end; ++o) {
      for (; next_wide < o * p.down + p.ay.down_taps; ++next_wide)
        make_wide(x, bias, next_wide, signs, p.mode == Signs::kWrite && next_wide < owned);
      make_output(y, o);
    }
  }
};

// Bands of a plane's rows, which begin by making rows of w anew: few, and fixed by the shape.
constexpr int64_t kTasks = 32, kBandRows = 32;

int64_t bands_of(const FilteredLreluParams& p) {
  const int64_t most = at_least_one(p.ay.out / kBandRows);
  return smaller(most, divide_up(kTasks, p.planes));
}

constexpr int kOutOfMemory = 1;

template <class T>
int run_typed(const FilteredLreluParams& p, const Exec& exec) {
  using A = compute_t<T>;
  const int64_t bands = bands_of(p), height = divide_up(p.ay.out, bands);
  bool is_short = false;  // set by any thread, read after all of them
  auto range = [&](int64_t begin, int64_t end) {
    Plane<T> buffers(p);
    if (!buffers.memory) return __atomic_store_n(&is_short, true, __ATOMIC_RELAXED);
    for (int64_t task = begin; task < end; ++task) {
      const int64_t plane = task / bands, from = task % bands * height;
      if (from >= p.ay.out) continue;
      const A bias = p.b ? A(load(static_cast<const T*>(p.b)[plane % p.channels])) : A(0);
      buffers.run(static_cast<const T*>(p.x) + plane * p.ay.in * p.ax.in,
                  static_cast<T*>(p.out) + plane * p.ay.out * p.ax.out,
                  p.signs ? p.signs + plane * p.sign_rows * p.sign_bytes : nullptr, bias, from,
                  smaller(p.ay.out, from + height));
    }
  };
  const int64_t cost = height * p.down * wide(p.ax, p.down) * 16;
  parallel(exec, p.planes * bands, at_least_one(kGrainBytes / at_least_one(cost)), range);
  return is_short ? kOutOfMemory : 0;
}

int run(const FilteredLreluParams& p, const Exec& exec) {
  int error = 0;
  dispatch(p.dtype, [&](auto type) { error = run_typed<decltype(type)>(p, exec); });
  return error;
}

}  // namespace

extern const FilteredLreluKernels filtered_lrelu;
const FilteredLreluKernels filtered_lrelu = {run};

}  // namespace fastgan::FASTGAN_ISA
