// SPDX-License-Identifier: Apache-2.0
// fastgan._C: build facts and CPU features. Importing it also runs the registration of every op
// that is linked into the same library. It uses Python's limited API alone, so that one library
// serves CPython 3.11 and every later one; pybind11 has no such mode.
#define Py_LIMITED_API 0x030b0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <cstring>

#include "common/isa.h"

namespace {

constexpr const char* kIsaNames[] = {"baseline", "avx2", "avx512"};

PyObject* active_isa(PyObject*, PyObject*) {
  return PyUnicode_FromString(kIsaNames[int(fastgan::active_isa())]);
}

PyObject* supported_isas(PyObject*, PyObject*) {
  PyObject* names = PyList_New(0);
  for (int i = 0; names != nullptr && i <= int(fastgan::supported_isa()); ++i) {
    PyObject* name = PyUnicode_FromString(kIsaNames[i]);
    if (name == nullptr || PyList_Append(names, name) != 0) Py_CLEAR(names);
    Py_XDECREF(name);
  }
  return names;
}

PyObject* limit_isa(PyObject*, PyObject* argument) {
  const char* wanted = PyUnicode_AsUTF8AndSize(argument, nullptr);
  if (wanted == nullptr) return nullptr;  // TypeError: it is no str
  for (int i = 0; i < 3; ++i)
    if (std::strcmp(wanted, kIsaNames[i]) == 0) {
      fastgan::limit_isa(fastgan::Isa(i));
      Py_RETURN_NONE;
    }
  return PyErr_Format(PyExc_ValueError, "limit_isa: expected baseline, avx2 or avx512, got %s",
                      wanted);
}

PyObject* compiler(PyObject*, PyObject*) { return PyUnicode_FromString(FASTGAN_COMPILER); }

PyMethodDef kFunctions[] = {
    {"active_isa", active_isa, METH_NOARGS, "The instruction set that kernels are chosen for."},
    {"supported_isas", supported_isas, METH_NOARGS, "Those that this processor has."},
    {"limit_isa", limit_isa, METH_O,
     "Use at most this instruction set, and never one that is missing."},
    {"compiler", compiler, METH_NOARGS,
     "The first line that the compiler prints about its version."},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef kModule = {
    PyModuleDef_HEAD_INIT,
    "_C",
    "Native CPU kernels of fastgan: build facts and CPU features.",
    -1,
    kFunctions,
    nullptr,
    nullptr,
    nullptr,
    nullptr,
};

}  // namespace

PyMODINIT_FUNC PyInit__C() { return PyModule_Create(&kModule); }
