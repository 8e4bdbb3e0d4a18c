// fastgan._C: build facts and CPU features. Importing it also runs the registration of every op
// that is linked into the same library.
#include <pybind11/pybind11.h>

#include <string>

#include "common/isa.h"

namespace {

constexpr const char* kIsaNames[] = {"baseline", "avx2", "avx512"};

fastgan::Isa isa_named(const std::string& name) {
  for (int i = 0; i < 3; ++i)
    if (name == kIsaNames[i]) return fastgan::Isa(i);
  throw pybind11::value_error("limit_isa: expected baseline, avx2 or avx512, got " + name);
}

}  // namespace

PYBIND11_MODULE(_C, m) {
  m.doc() = "Native CPU kernels of fastgan: build facts and CPU features.";
  m.def("active_isa", [] { return std::string(kIsaNames[int(fastgan::active_isa())]); });
  m.def("supported_isas", [] {
    pybind11::list list;
    for (int i = 0; i <= int(fastgan::supported_isa()); ++i) list.append(kIsaNames[i]);
    return list;
  });
  m.def(
      "limit_isa", [](const std::string& name) { fastgan::limit_isa(isa_named(name)); },
      pybind11::arg("name"), "Use at most this instruction set, and never one that is missing.");
  m.def("compiler", [] { return std::string(FASTGAN_COMPILER); });
}
