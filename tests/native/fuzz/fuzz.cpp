// SPDX-License-Identifier: Apache-2.0
// The entry that fuzzers call, and the decoding of their bytes.
#include "fuzz.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>

#if defined(FASTGAN_EMULATOR)
#include "../../../csrc/emulator/scheduler.h"
#endif

namespace fastgan::fuzz {
namespace {

// A CUDA thread costs a microsecond on the emulator, ten under a sanitizer.
#if defined(FASTGAN_EMULATOR)
constexpr int64_t kMostElements = 2048;
#else
constexpr int64_t kMostElements = 4096;
#endif
constexpr int64_t kHostile[] = {
    0, -1, 1 << 20, INT32_MAX, int64_t(INT32_MAX) + 1, int64_t(1) << 40, INT64_MAX, INT64_MIN};
constexpr ScalarType kTypes[] = {ScalarType::Float, ScalarType::BFloat16, ScalarType::Half,
                                 ScalarType::Double, ScalarType::Long};

int64_t bytes_of(ScalarType type) {
  switch (type) {
    case ScalarType::Double:
    case ScalarType::Long: return 8;
    case ScalarType::Float: return 4;
    case ScalarType::BFloat16:
    case ScalarType::Half: return 2;
    default: return 1;
  }
}

struct Counts {
  long served = 0, refused = 0;
  ~Counts() { std::printf("fuzz: %ld served, %ld refused\n", served, refused); }
};

// The strides of dimensions laid out in this order, the last one fastest.
Sizes strides_of(const Sizes& sizes, const std::vector<size_t>& order, int64_t step) {
  Sizes strides(sizes.size());
  for (size_t k = order.size(); k-- > 0;) {
    strides[order[k]] = step;
    step *= sizes[order[k]] > 1 ? sizes[order[k]] : 1;
  }
  return strides;
}

}  // namespace

int64_t Draw::size() {
  static constexpr int64_t kSizes[] = {2, 1, 3, 4, 5, 7, 8, 9, 16, 17, 31, 33, 64, 65, 6, 0};
  const uint8_t drawn = byte();
  return kSizes[drawn % 16 == 15 && drawn < 128 ? 0 : drawn % 16];
}

Sizes Draw::sizes(int64_t dims) {
  Sizes drawn(size_t(dims), 1);
  int64_t left = kMostElements;
  for (int64_t& n : drawn) {
    const int64_t wanted = size();
    n = wanted < left ? wanted : left;
    left /= n > 0 ? n : 1;
  }
  return drawn;
}

int64_t Draw::integer(std::initializer_list<int64_t> usual) {
  if (rarely()) return flip() ? kHostile[number(8)] : number(256) - 128;
  return usual.begin()[number(int64_t(usual.size()))];
}

double Draw::real() {
  static constexpr double kReals[] = {1,
                                      0.2,
                                      0,
                                      0.5,
                                      -1,
                                      256,
                                      -0.0,
                                      1e-8,
                                      1e30,
                                      1e300,
                                      std::numeric_limits<double>::infinity(),
                                      std::numeric_limits<double>::quiet_NaN()};
  return kReals[number(12)];
}

std::optional<double> Draw::maybe_real() {
  return flip() ? std::optional<double>(real()) : std::nullopt;
}

StringHandle Draw::text(std::initializer_list<const char*> usual) {
  const char* chosen = rarely() ? "unknown" : usual.begin()[number(int64_t(usual.size()))];
  StringHandle handle = nullptr;
  if (torch_new_string_handle(chosen, std::strlen(chosen), &handle) != 0) std::abort();
  return handle;
}

ScalarType Draw::dtype() { return rarely() ? ScalarType::Long : kTypes[number(4)]; }

ScalarType Draw::wide_dtype() { return flip() ? ScalarType::Double : ScalarType::Float; }

void Draw::spoil(ScalarType& type, Sizes& sizes) {
  const size_t d = sizes.empty() ? 0 : size_t(number(int64_t(sizes.size())));
  switch (number(7)) {
    case 0: type = kTypes[number(5)]; return;
    case 1: sizes.push_back(1); return;
    case 2: sizes.insert(sizes.begin(), size()); return;
    case 3: sizes = {product(sizes)}; return;
    case 4:
      if (!sizes.empty()) sizes.pop_back();
      return;
    case 5:
      if (!sizes.empty() && sizes[d] > 0) --sizes[d];
      return;
    default:
      if (!sizes.empty()) ++sizes[d];
  }
}

Tensor Draw::made(ScalarType type, const Sizes& sizes, const Sizes& strides) {
  int64_t last = 0;
  for (size_t k = 0; k < sizes.size(); ++k) last += (sizes[k] > 0 ? sizes[k] - 1 : 0) * strides[k];
  const uint8_t how = byte();
  const int64_t item = bytes_of(type), offset = how & 1, count = product(sizes) ? last + 1 : 0;
  memory_.push_back(std::make_unique<unsigned char[]>(size_t((offset + count) * item)));
  unsigned char* data = memory_.back().get() + offset * item;
  // The upper byte decides about the magnitude of a float, and so does `how`: all ones are NaN.
  uint32_t state = how * 2654435761u + 1;
  for (int64_t i = 0; i < count * item; ++i) {
    state = state * 1664525u + 1013904223u;
    data[i] = uint8_t(state >> 24);
    if (i % item == item - 1 && how < 224 && type != ScalarType::Byte)
      data[i] = type == ScalarType::Long ? 0 : uint8_t(0x3e + (data[i] & 0x81));
    if (type == ScalarType::Bool) data[i] &= 1;
  }
  return torch::stable::from_blob(data, sizes, strides,
                                  torch::stable::Device(torch::headeronly::DeviceType::CPU), type);
}

Tensor Draw::tensor(ScalarType type, const Sizes& given) {
  Sizes sizes = given;
  if (rarely()) spoil(type, sizes);
  const size_t dims = sizes.size();
  std::vector<size_t> order(dims);
  for (size_t k = 0; k < dims; ++k) order[k] = k;
  int64_t step = 1;
  const int64_t layout = number(10);
  if ((layout == 4 || layout == 5) && dims >= 3) {  // channels last
    order.erase(order.begin() + 1);
    order.push_back(1);
  } else if (layout == 6 && dims >= 2) {
    std::swap(order[dims - 1], order[size_t(number(int64_t(dims)))]);
  } else if (layout == 7) {
    step = 2;
  }
  Sizes strides = strides_of(sizes, order, step);
  if (layout == 8 && dims > 0) strides[size_t(number(int64_t(dims)))] = 0;  // expanded
  return made(type, sizes, strides);
}

Tensor Draw::buffer(ScalarType type, const Sizes& given) {
  if (rarely()) return tensor(type, given);
  std::vector<size_t> order(given.size());
  for (size_t k = 0; k < order.size(); ++k) order[k] = k;
  return made(type, given, strides_of(given, order, 1));
}

std::optional<Tensor> Draw::maybe(ScalarType type, const Sizes& sizes) {
  return flip() ? std::nullopt : std::optional<Tensor>(tensor(type, sizes));
}

}  // namespace fastgan::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static fastgan::fuzz::Counts counts;
  fastgan::fuzz::Draw draw(data, size);
  try {
    fastgan::fuzz_one(draw);
    ++counts.served;
#if defined(FASTGAN_EMULATOR)
  } catch (const fastgan::emulator::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    std::abort();
#endif
  } catch (const std::exception&) {
    ++counts.refused;
  }
  return 0;
}
