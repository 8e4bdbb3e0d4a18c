# SPDX-License-Identifier: Apache-2.0
"""No part of the installed package runs code that a file or an argument brings.

`forbidden` reads the syntax tree, so that a comment or a name such as `net.eval()` is no finding.
The few places that need such a call are in `JUSTIFIED`, each with the reason.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "fastgan"
# Their readers build any object that the data names.
MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
YAML_LOADERS = {"load", "load_all", "full_load", "full_load_all", "unsafe_load", "unsafe_load_all"}
SHELLS = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"}
# numpy.save pickles an array of objects; the two loaders run the code that a file holds.
WRITERS_AND_READERS = {"numpy.save", "torch.save", "torch.jit.load", "torch.hub.load"}
# They pickle what they send.
OBJECT_COLLECTIVES = {
    "all_gather_object", "broadcast_object_list", "gather_object", "recv_object_list",
    "scatter_object_list", "send_object_list",
}  # fmt: skip
JUSTIFIED = {
    # The unpickler of `fastgan import`: a table says what a file may name; it runs in a child.
    "compat/weights/allow_list.py": {"pickle"},
    # torch's own name for the error of its weights-only reader, which is caught.
    "compat/legacy_apis/plain_objects.py": {"pickle"},
    # Writes state_dicts for other projects' readers; import_weights reads the file back.
    "compat/weights/exporting.py": {"torch.save"},
    # FID's network, TorchScript that the person names; its reports hold the file's SHA-256.
    "metrics/inception/extractor.py": {"torch.jit.load"},
}


def aliases(tree: ast.AST) -> dict[str, str]:
    """What each imported name stands for: `np` → numpy, `load` → torch.load."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {a.asname: a.name for a in node.names if a.asname}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return found


def dotted(node: ast.AST, names: dict[str, str]) -> str:
    """`np.load` → numpy.load; empty where the node is no name."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        base = dotted(node.value, names)
        return f"{base}.{node.attr}" if base else ""
    return ""


def constant(call: ast.Call, name: str, default: object) -> object:
    """The value of a keyword of `call`; a value that is no literal, or `**options`, is None."""
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    if name in given:
        value = given[name]
        return value.value if isinstance(value, ast.Constant) else None
    return None if None in given else default


def forbidden(text: str) -> list[tuple[str, int]]:
    """What `text` may not do, as (rule, line)."""
    tree = ast.parse(text)
    names = aliases(tree)
    found = []
    for node in ast.walk(tree):
        found += [(rule, node.lineno) for rule in of_node(node, names)]
    return sorted(set(found), key=lambda entry: (entry[1], entry[0]))


def of_node(node: ast.AST, names: dict[str, str]) -> list[str]:
    if isinstance(node, ast.Import):
        return [m for a in node.names if (m := a.name.split(".")[0]) in MODULES]
    if isinstance(node, ast.ImportFrom):
        parts = [*(node.module or "").split("."), *(a.name for a in node.names)]
        return [part for part in parts if part in MODULES | OBJECT_COLLECTIVES]
    if isinstance(node, ast.Attribute):
        is_pickle = node.attr in MODULES and dotted(node, names)
        return [node.attr] if is_pickle or node.attr in OBJECT_COLLECTIVES else []
    if not isinstance(node, ast.Call):
        return []
    called = dotted(node.func, names)
    found = []
    if called.removeprefix("builtins.") in ("eval", "exec", "compile", "__import__"):
        found.append(called.removeprefix("builtins."))
    if called in ("torch.load", "torch.serialization.load"):
        found += [] if constant(node, "weights_only", None) is True else ["torch.load"]
    if called in WRITERS_AND_READERS:
        found.append(called)
    if called.split(".")[0] in ("yaml", "ruamel") and called.split(".")[-1] in YAML_LOADERS:
        found.append("yaml.load")
    given = {keyword.arg for keyword in node.keywords}
    if called in SHELLS or ("shell" in given and constant(node, "shell", False) is not False):
        found.append("shell")
    if "allow_pickle" in given and constant(node, "allow_pickle", False) is not False:
        found.append("allow_pickle")
    if called == "getattr" and len(node.args) > 1 and isinstance(node.args[1], ast.Constant):
        found += [node.args[1].value] if node.args[1].value in {*MODULES, "eval", "exec"} else []
    return found


def sources() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if "csrc" not in path.parts)


@pytest.mark.parametrize("path", sources(), ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_nothing_in_the_package_is_forbidden(path):
    allowed = JUSTIFIED.get(path.relative_to(PACKAGE).as_posix(), set())
    found = forbidden(path.read_text(encoding="utf-8"))
    assert not [entry for entry in found if entry[0] not in allowed]


@pytest.mark.parametrize("name", JUSTIFIED)
def test_each_exception_is_still_needed(name):
    found = {rule for rule, _ in forbidden((PACKAGE / name).read_text(encoding="utf-8"))}
    assert JUSTIFIED[name] <= found


PLANTED = {
    "import pickle": "pickle",
    "import pickle as p": "pickle",
    "from pickle import loads": "pickle",
    "from torch.serialization import pickle": "pickle",
    "def f(x):\n    import dill": "dill",
    "x = torch.serialization.pickle.loads(b)": "pickle",
    "import numpy.lib.format, marshal": "marshal",
    "torch.load(path)": "torch.load",
    "torch.load(path, weights_only=False)": "torch.load",
    "torch.load(path, weights_only=flag)": "torch.load",
    "torch.load(path, **options)": "torch.load",
    "from torch import load\nload(path)": "torch.load",
    "from torch import load as read\nread(path)": "torch.load",
    "import torch as t\nt.load(path)": "torch.load",
    "import torch.serialization as s\ns.load(path)": "torch.load",
    "torch.hub.load('a', 'b')": "torch.hub.load",
    "torch.jit.load(path)": "torch.jit.load",
    "torch.save(x, path)": "torch.save",
    "eval(text)": "eval",
    "import builtins\nbuiltins.exec(text)": "exec",
    "from builtins import eval as e\ne(text)": "eval",
    "getattr(builtins, 'exec')(text)": "exec",
    "compile(text, '', 'exec')": "compile",
    "__import__(name)": "__import__",
    "import yaml\nyaml.load(text)": "yaml.load",
    "from yaml import unsafe_load\nunsafe_load(text)": "yaml.load",
    "import yaml as y\ny.full_load(text)": "yaml.load",
    "np.load(path, allow_pickle=True)": "allow_pickle",
    "np.load(path, allow_pickle=flag)": "allow_pickle",
    "import numpy as np\nnp.save(path, x)": "numpy.save",
    "subprocess.run(text, shell=True)": "shell",
    "subprocess.run(text, shell=flag)": "shell",
    "from subprocess import run\nrun(text, shell=1)": "shell",
    "os.system(text)": "shell",
    "from os import popen\npopen(text)": "shell",
    "import subprocess as s\ns.getoutput(text)": "shell",
    "dist.broadcast_object_list(x)": "broadcast_object_list",
    "from torch.distributed import all_gather_object": "all_gather_object",
}


@pytest.mark.parametrize("text", PLANTED)
def test_a_planted_call_is_found(text):
    assert PLANTED[text] in {rule for rule, _ in forbidden(text)}


@pytest.mark.parametrize(
    "text",
    [
        "net.eval()",
        "# eval(text), import pickle",
        "'torch.load'",
        "torch.load(path, weights_only=True)",
        "np.load(path, allow_pickle=False)",
        "subprocess.run([sys.executable], shell=False)",
        "re.compile(text)",
        "torch.compile(net)",
        "yaml.safe_load(text)",
        "session.load(path)",
    ],
)
def test_what_is_harmless_is_not(text):
    assert not forbidden(text)
