// fastgan._C: build facts and CPU features. Importing it also runs the registration of every op
// that is linked into the same library. Written against Python's own C interface: the headers of a
// binding generator would cost more to compile than any kernel of this library.
#include <Python.h>

#include <cstring>

#include "common/isa.h"

namespace {

constexpr const char* kIsaNames[] = {"baseline", "avx2", "avx512"};

PyObject* active_isa(PyObject*, PyObject*) {
  return PyUnicode_FromString(kIsaNames[int(fastgan::active_isa())]);
}

PyObject* supported_isas(PyObject*, PyObject*) {
  PyObject* list = PyList_New(0);
  for (int i = 0; list && i <= int(fastgan::supported_isa()); ++i) {
    PyObject* name = PyUnicode_FromString(kIsaNames[i]);
    if (!name || PyList_Append(list, name) != 0) Py_CLEAR(list);
    Py_XDECREF(name);
  }
  return list;
}

PyObject* limit_isa(PyObject*, PyObject* wanted) {
  const char* name = PyUnicode_AsUTF8(wanted);  // raises TypeError for what is not a string
  if (!name) return nullptr;
  for (int i = 0; i < 3; ++i)
    if (std::strcmp(name, kIsaNames[i]) == 0) {
      fastgan::limit_isa(fastgan::Isa(i));
      Py_RETURN_NONE;
    }
  return PyErr_Format(PyExc_ValueError, "limit_isa: expected baseline, avx2 or avx512, got %s",
                      name);
}

PyObject* compiler(PyObject*, PyObject*) { return PyUnicode_FromString(FASTGAN_COMPILER); }

PyMethodDef functions[] = {
    {"active_isa", active_isa, METH_NOARGS, "The instruction set that kernels are chosen for."},
    {"supported_isas", supported_isas, METH_NOARGS, "Those that this processor has."},
    {"limit_isa", limit_isa, METH_O,
     "Use at most this instruction set, and never one that is missing."},
    {"compiler", compiler, METH_NOARGS, "The first line that the compiler says of itself."},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    "_C",
    "Native CPU kernels of fastgan: build facts and CPU features.",
    0,
    functions,
    nullptr,
    nullptr,
    nullptr,
    nullptr,
};

}  // namespace

PyMODINIT_FUNC PyInit__C() { return PyModuleDef_Init(&definition); }
