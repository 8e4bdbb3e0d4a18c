# SPDX-License-Identifier: Apache-2.0
"""Every public callable has a docstring in Google form that names what its signature names.

Public is what the `__all__` of a package lists, and the same of each module that it lists; the
files of the packages whose files are loaded by name (losses, models, vocoders); and the phases of
a training step. For each of them:

- a summary of one line that ends in a period, then an empty line where more follows;
- `Args:` with one entry `name: text` for each parameter, and for nothing else. A class documents
  its constructor (the fields of a dataclass, also under `Attributes:`) in its own docstring or
  in that of a class of fastgan that it inherits from; `forward` and `__call__` without a docstring
  have their parameters named anywhere in the docstring of the class; another method without one
  overrides a method that has one;
- `Returns:` where it returns something else than None (`Yields:` in a generator);
- `Raises:` with an entry for each exception that its own body raises by name.

A function that only forwards may say "Arguments are those of `fastgan.ops.conv2d`": what that one
documents need not be repeated. Each entry begins with 4 spaces; its further lines are indented
deeper.
"""

import ast
import contextlib
import dataclasses
import functools
import importlib
import inspect
import pkgutil
import re
import textwrap
from types import ModuleType

import pytest
import torch

import fastgan

BY_NAME = ("fastgan.losses", "fastgan.models", "fastgan.models.vocoders")
PHASES = "fastgan.training.step.phases"
FORWARDED = re.compile(r"[Aa]rguments are those of `(fastgan\.[\w.]+)`")
SECTION = re.compile(r"^(Args|Attributes|Returns|Yields|Raises|Example|Examples|Note):$")


def is_private(name):
    return any(part.startswith("_") for part in name.split(".")[1:])


def packages():
    names = ["fastgan"]
    for module in pkgutil.walk_packages(fastgan.__path__, "fastgan."):
        if module.ispkg and not is_private(module.name):
            names.append(module.name)
    return names


def names_of(module):
    """What a public module shows: `__all__`, else the classes and functions defined there."""
    own = [n for n, v in vars(module).items() if getattr(v, "__module__", "") == module.__name__]
    return getattr(module, "__all__", [n for n in own if not n.startswith("_")])


@functools.cache
def public():
    """{name of the module of definition: {qualified name: class or function}}."""
    found = {}
    waiting = [importlib.import_module(name) for name in [*packages(), PHASES]]
    for package in BY_NAME:
        path = importlib.import_module(package).__path__
        names = [m.name for m in pkgutil.iter_modules(path) if not m.name.startswith("_")]
        waiting += [importlib.import_module(f"{package}.{name}") for name in names]
    seen = set()
    while waiting:
        module = waiting.pop()
        if module.__name__ in seen:
            continue
        seen.add(module.__name__)
        is_package = hasattr(module, "__path__")
        for name in getattr(module, "__all__", ()) if is_package else names_of(module):
            value = getattr(module, name)
            if isinstance(value, ModuleType):
                waiting.append(value)
            elif not (inspect.isclass(value) or inspect.isfunction(value)):
                continue
            elif value.__module__.startswith("fastgan."):
                found.setdefault(value.__module__, {})[value.__qualname__] = value
    return found


class Docstring:
    """The summary and the sections of a docstring; a section is {name of an entry: text}."""

    def __init__(self, text):
        self.text = inspect.cleandoc(text or "")
        self.sections, self.forwarded = {}, {}
        entries = None
        for line in self.text.splitlines():
            if SECTION.match(line):
                entries = self.sections.setdefault(line.rstrip(":"), {})
            elif line and not line.startswith(" "):
                entries = None
            elif entries is not None and re.match(r"^ {4}\S", line):
                name, _, text = line.strip().partition(":")
                entries[name.lstrip("*").split(" (")[0]] = text.strip()
        if (forwarded := FORWARDED.search(" ".join(self.text.split()))) is not None:
            module, _, name = forwarded[1].rpartition(".")
            target = Docstring(getattr(importlib.import_module(module), name).__doc__)
            self.forwarded = target.sections

    def faults_of_form(self):
        if not self.text:
            return ["no docstring"]
        first, *rest = self.text.splitlines()
        faults = [] if first.endswith((".", "?", "!")) else ["the summary is not one sentence"]
        if rest and rest[0]:
            faults.append("the summary is longer than one line")
        return faults

    def entries(self, section):
        return self.sections.get(section, {})

    def has(self, section):
        return bool(self.entries(section) or self.forwarded.get(section))


def tree_of(function):
    source = textwrap.dedent(inspect.getsource(inspect.unwrap(function)))
    return ast.parse(source).body[0]


def own_nodes(tree):
    """The nodes of a function without those of the functions and classes inside it."""
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Lambda):
            yield node
            yield from own_nodes(node)


def raised(function):
    """Names of the exceptions that a body makes: `raise ValueError(...)`, `raise ValueError`."""
    names = set()
    for node in own_nodes(tree_of(function)):
        if isinstance(node, ast.Raise) and node.exc is not None:
            made = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            name = ast.unparse(made).split(".")[-1]
            if name[0].isupper():
                names.add(name)
    is_abstract = names == {"NotImplementedError"} and len(tree_of(function).body) <= 2
    return set() if is_abstract else names


def parameters(function):
    names = list(inspect.signature(function).parameters)
    return [n for n in names if n not in ("self", "cls") and not n.startswith("_")]


def result_of(function):
    """ "Returns", "Yields" or None: the section that a function needs."""
    annotation = str(inspect.signature(function).return_annotation)
    nothing = ("None", "NoReturn", "typing.NoReturn", "<class 'NoneType'>")
    if annotation in nothing or re.fullmatch(
        r".*(Iterator|Generator)\[None(, None)*\]", annotation
    ):
        return None
    nodes = list(own_nodes(tree_of(function)))
    if any(isinstance(node, ast.Yield | ast.YieldFrom) for node in nodes):
        return "Yields"
    returned = [node for node in nodes if isinstance(node, ast.Return) and node.value is not None]
    return "Returns" if returned else None


def faults_of_arguments(wanted, doc, elsewhere=()):
    """`elsewhere`: names that another docstring documents."""
    documented = {*doc.entries("Args"), *elsewhere, *doc.forwarded.get("Args", {})}
    faults = [f"Args: lacks {name}" for name in wanted if name not in documented]
    stray = [name for name in doc.entries("Args") if name not in wanted]
    return faults + [f"Args: {name} is no parameter" for name in stray]


def faults_of_raises(function, doc):
    missing = raised(function) - {*doc.entries("Raises"), *doc.forwarded.get("Raises", {})}
    return [f"Raises: lacks {name}" for name in sorted(missing)]


def faults_of_function(function):
    doc = Docstring(function.__doc__)
    faults = doc.faults_of_form()
    if faults == ["no docstring"]:
        return faults
    faults += faults_of_arguments(parameters(function), doc)
    section = result_of(function)
    if section is not None and not doc.has(section):
        faults.append(f"lacks {section}:")
    return faults + faults_of_raises(function, doc)


def constructor(cls):
    """The function that builds a class where fastgan wrote it, or None."""
    for name in ("__init__", "__new__"):
        function = getattr(cls, name)
        if inspect.isfunction(function) and function.__module__.startswith("fastgan."):
            return function
    return None


def faults_of_class(cls):
    doc = Docstring(cls.__doc__)
    is_dataclass = dataclasses.is_dataclass(cls)
    if is_dataclass and "__doc__" in vars(cls) and doc.text.startswith(f"{cls.__name__}("):
        return ["no docstring"]
    faults = doc.faults_of_form()
    if faults == ["no docstring"]:
        return faults
    wanted, documented = [], set(doc.entries("Attributes")) if is_dataclass else set()
    for base in cls.__mro__[1:]:
        if base.__module__.startswith("fastgan."):
            inherited = Docstring(base.__doc__)
            documented |= {*inherited.entries("Args"), *inherited.entries("Attributes")}
    if is_dataclass:
        wanted = [f.name for f in dataclasses.fields(cls) if not f.name.startswith("_")]
    elif (function := constructor(cls)) is not None:
        wanted = parameters(function)
    faults += faults_of_arguments(wanted, doc, documented)
    for name in ("__init__", "__post_init__"):
        function = vars(cls).get(name)
        if inspect.isfunction(function) and function.__module__.startswith("fastgan."):
            with contextlib.suppress(OSError, TypeError):  # a dataclass's __init__ has no source
                faults += faults_of_raises(function, doc)
    return faults


def faults_of_method(cls, name, function):
    is_call = name in ("forward", "__call__")
    if function.__doc__ or not is_call:
        bases = [vars(base).get(name) for base in cls.__mro__[1:]]
        is_inherited = not function.__doc__ and any(getattr(b, "__doc__", None) for b in bases)
        return [] if is_inherited else faults_of_function(function)
    text = " ".join(c.__doc__ or "" for c in cls.__mro__ if c.__module__.startswith("fastgan."))
    wanted = parameters(function)
    return [f"class docstring names no {n}" for n in wanted if not re.search(rf"\b{n}\b", text)]


def is_torchs(cls, name):
    """Whether a method means what torch's method of that name means, as `extra_repr` does."""
    return name != "forward" and hasattr(torch.nn.Module, name) and issubclass(cls, torch.nn.Module)


def faults_in(objects):
    faults = []
    for name, value in objects.items():
        if inspect.isfunction(value):
            faults += [f"{name}: {fault}" for fault in faults_of_function(value)]
            continue
        faults += [f"{name}: {fault}" for fault in faults_of_class(value)]
        for method_name, member in vars(value).items():
            function = getattr(member, "__func__", member)  # static and class methods
            is_public = not method_name.startswith("_") or method_name == "__call__"
            if isinstance(member, property | functools.cached_property) and is_public:
                getter = member.fget if isinstance(member, property) else member.func
                faults_of = Docstring(getter.__doc__).faults_of_form()
            elif not function.__doc__ and is_torchs(value, method_name):
                continue
            elif inspect.isfunction(function) and is_public:
                faults_of = faults_of_method(value, method_name, function)
            else:
                continue
            faults += [f"{name}.{method_name}: {fault}" for fault in faults_of]
    return faults


@pytest.mark.parametrize("module", sorted(public()))
def test_docstrings_name_what_the_signatures_name(module):
    faults = faults_in(public()[module])
    assert not faults, f"{module}:\n" + "\n".join(faults)


def scale(x, factor=2.0, *rest):
    """x · factor.

    Args:
        x: a number.
        offset: of another function.
    """
    if not factor:
        raise ValueError("scale: factor must not be 0")
    return x * factor


def forwarded(x, factor=2.0, *rest):
    """Arguments are those of `fastgan.names.refuse_names`."""
    return scale(x, factor, *rest)


def counted(n):
    """Count. The summary of this one goes on
    in a second line."""
    yield from range(n)


@dataclasses.dataclass
class Pair:
    a: int
    b: int

    def added(self, times):
        pass


def test_the_check_sees_what_it_forbids():
    assert faults_in({"scale": scale}) == [
        "scale: Args: lacks factor",
        "scale: Args: lacks rest",
        "scale: Args: offset is no parameter",
        "scale: lacks Returns:",
        "scale: Raises: lacks ValueError",
    ]
    assert faults_in({"counted": counted}) == [
        "counted: the summary is not one sentence",
        "counted: the summary is longer than one line",
        "counted: Args: lacks n",
        "counted: lacks Yields:",
    ]
    assert faults_in({"Pair": Pair}) == ["Pair: no docstring", "Pair.added: no docstring"]
    assert "forwarded: Args: lacks factor" in faults_in({"forwarded": forwarded})


def test_what_is_public_is_found():
    modules = {
        "fastgan.ops.bias_act",
        "fastgan.compat.nvlabs.fma",
        "fastgan.losses.adversarial",
        PHASES,
    }
    assert modules <= set(public())
