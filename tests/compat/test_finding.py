# SPDX-License-Identifier: Apache-2.0
"""`patch` finds the ops of a code base by what its modules define, and says what it did not find.

No test here would pass if `patch` went by the names of the modules.
"""

import importlib
import re
import sys
import types
from pathlib import Path

import pytest
import torch
from code_bases import CODE_BASES, NVIDIA, below, module, nvidia, with_packages, write

from fastgan.compat import COPIES, FAMILIES, Patch, nvlabs, patch
from fastgan.compat.families import family_of


@pytest.fixture
def importable(tmp_path, monkeypatch):
    """importable(files): a code base on the path; what it imports is forgotten afterwards."""
    before = set(sys.modules)

    def add(files):
        write(tmp_path, files)
        monkeypatch.syspath_prepend(tmp_path)
        importlib.invalidate_caches()

    yield add
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in {file.partition("/")[0] for file in ROOTS}:
            del sys.modules[name]


ROOTS = [name for files in CODE_BASES.values() for name in files] + ["kernels/", "models/"]


def modules_of(files):
    return {
        name.removesuffix(".py").replace("/", ".")
        for name in files
        if not name.endswith("__init__.py")
    }


@pytest.mark.parametrize("family", CODE_BASES)
def test_each_module_that_defines_an_op_is_replaced_and_no_other(family, importable):
    files = CODE_BASES[family]
    root = family_of(family).packages[0].replace(".", "/")
    importable({**files, f"{root}/other.py": "def unrelated(x): return x\n"})
    with patch(family) as done:
        assert set(done.found) == modules_of(files)
        for name in done.found:
            found = importlib.import_module(name)
            assert found.__spec__.origin == "fastgan.compat"
            ours = [v for v in vars(found).values() if callable(v)]
            assert ours
            assert all(v.__module__.startswith("fastgan.") for v in ours if hasattr(v, "__name__"))
        other = importlib.import_module(f"{family_of(family).packages[0]}.other")
        assert other.unrelated(3) == 3
        done.check()
    for name in done.found:
        with pytest.raises(RuntimeError, match="ninja"):
            importlib.import_module(name)


@pytest.mark.parametrize("name", COPIES)
def test_copies_name_a_family(name):
    family, packages = COPIES[name]
    assert family in FAMILIES
    assert family_of(name).packages == packages


def test_a_family_without_ops_supplies_older_apis_alone():
    with patch("hifigan") as done:
        assert "no ops of its own" in str(done)
        assert torch.stft(torch.ones(32), 8, window=torch.ones(8)).shape[-1] == 2


def test_studiogans_flat_modules_run(importable):
    importable(CODE_BASES["studiogan"])
    with patch("studiogan"):
        from utils.style_ops import bias_act, conv2d_gradfix, upfirdn2d

        x = torch.randn(1, 2, 3, 3)
        torch.testing.assert_close(bias_act.bias_act(x, act="relu"), x.relu() * 2**0.5)
        assert upfirdn2d.upsample2d(x, upfirdn2d.setup_filter([1, 1])).shape == (1, 2, 6, 6)
        assert conv2d_gradfix.conv2d(x, torch.ones(1, 2, 3, 3)).shape == (1, 1, 1, 1)


def test_mmgeneration_has_two_kinds_of_one_op(importable):
    """mmcv's names in mmcv.ops, NVIDIA's in the copy of stylegan3, conv2d_gradfix outside both."""
    importable(CODE_BASES["mmgeneration"])
    with patch("mmgeneration"):
        mmcv, theirs, gradfix = map(
            importlib.import_module,
            ("mmcv.ops.upfirdn2d", "mmgen.ops.stylegan3.ops.upfirdn2d",
             "mmgen.ops.conv2d_gradfix"),
        )  # fmt: skip
        x = torch.randn(1, 2, 3, 3)
        f = torch.ones(2, 2)
        assert mmcv.upfirdn2d(input=x, filter=f, padding=1).shape == (1, 2, 4, 4)
        assert theirs.upfirdn2d(x=x, f=f, padding=1).shape == (1, 2, 4, 4)
        assert gradfix.conv2d(x, torch.ones(1, 2, 1, 1)).shape == (1, 1, 3, 3)


def test_ops_in_one_file_and_in_a_package_itself(importable):
    one = [*NVIDIA["bias_act"], *NVIDIA["upfirdn2d"]]
    importable(
        with_packages({"kernels/fast.py": module(one), "kernels/act/__init__.py": module([])})
        | {"kernels/act/__init__.py": module(NVIDIA["bias_act"]), "kernels/act/more.py": "n = 7\n"}
    )
    with patch("stylegan3", "kernels") as done:
        assert set(done.found) == {"kernels.fast", "kernels.act"}
        fast = importlib.import_module("kernels.fast")
        assert fast.upfirdn2d is nvlabs.upfirdn2d.upfirdn2d
        assert fast.bias_act is nvlabs.bias_act.bias_act
        assert importlib.import_module("kernels.act.more").n == 7


def test_definitions_in_branches_count(importable):
    importable(
        with_packages(
            {
                "kernels/ops.py": "try:\n    import no_such_module as made\nexcept ImportError:\n"
                "    def fma(a, b, c):\n        return None\nelse:\n    fma = made.fma\n"
            }
        )
    )
    with patch("stylegan3", "kernels"):
        assert importlib.import_module("kernels.ops").fma is nvlabs.fma.fma


def test_a_module_that_has_no_file(importable):
    made = types.ModuleType("kernels")
    exec("def fma(a, b, c):\n    return None", vars(made))
    sys.modules["kernels"] = made
    with patch("stylegan3", "kernels"):
        assert made.fma is nvlabs.fma.fma
    assert made.fma.__module__ == "kernels"


REFUSED = {
    "no such package": (
        {}, "stylegan3", "no.such.package", r"finds no package no\.such\.package .*PYTHONPATH",
    ),
    "a default package that is not there": (
        {}, "rosinality", None, "finds no package op for the family 'rosinality'",
    ),
    "a package without any op": (
        {"kernels/__init__.py": "", "kernels/net.py": "def forward(x): return x\n"},
        "stylegan3", "kernels",
        "no module of kernels defines an op of 'stylegan3': expected one that defines bias_act, "
        ".* define forward",
    ),
    "another family": (
        CODE_BASES["psp"], "stylegan3", "models.stylegan2.op",
        r"parameters in models\.stylegan2\.op\.upfirdn2d differ: expected upfirdn2d\(x, f, up.*"
        r"found upfirdn2d\(input, kernel, up, down, pad\); .* family rosinality or basicsr or mmcv",
    ),
    "another family, of which no op has the same name": (
        below("kernels", {"act.py": CODE_BASES and (["fused_leaky_relu(input, bias)"],
                                                    {"FusedLeakyReLU": "channel"})}),
        "bigvgan", "kernels", "its ops are those of the family rosinality or basicsr or mmcv",
    ),
    "a package for a family without ops": (
        {}, "hifigan", "kernels", "hifigan has no ops of its own, got package 'kernels'",
    ),
    "a parameter that ours has not": (
        with_packages({"kernels/fma.py": module(["fma(a, b, c, rounding)"])}), "stylegan3",
        "kernels", r"expected fma\(a, b, c\), found fma\(a, b, c, rounding\)",
    ),
    "another order": (
        with_packages({"kernels/fma.py": module(["fma(c, a, b)"])}), "stylegan3",
        "kernels", r"found fma\(c, a, b\)",
    ),
    "a keyword that ours has not": (
        with_packages({"kernels/s.py": module(["grid_sample(input, grid, *, mode)"])}),
        "stylegan3", "kernels", r"found grid_sample\(input, grid, mode\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_and_in_which_words(case, importable):
    files, family, package, words = REFUSED[case]
    importable(files)
    before = list(sys.meta_path)
    with pytest.raises(ValueError, match=words):
        patch(family, package)
    assert sys.meta_path == before


@pytest.mark.parametrize("package", [3, "", [], ["op", 3], [""]])
def test_a_package_that_is_no_name(package):
    with pytest.raises(TypeError, match=r"package must be the dotted name .*, got "):
        patch("rosinality", package=package)


def test_the_summary_says_what_is_done_and_what_is_not_yet(importable):
    importable({**nvidia(), "torch_utils/ops/fma.py": module(NVIDIA["fma"], end="")})
    importlib.import_module("torch_utils.ops.fma")
    with patch("stylegan2-ada") as done:
        assert str(done).startswith("fastgan.compat: torch_utils: ops.fma are fastgan's now; ")
        later = str(done).partition("; ")[2]
        assert "ops.bias_act" in later
        assert later.endswith("will be fastgan's when imported")
        importlib.import_module("torch_utils.ops.bias_act")


def test_deferred_it_looks_at_each_module_when_it_is_imported(importable, tmp_path):
    made = []
    done = Patch("stylegan3", is_deferred=True, on_made=made.append)
    try:
        importable(nvidia())  # later than the patch, as sys.path of a script is
        write(tmp_path, {"torch_utils/ops/fma.py": module(["fma(a, b, c, rounding)"])})
        bias_act = importlib.import_module("torch_utils.ops.bias_act")
        assert bias_act.bias_act is nvlabs.bias_act.bias_act
        assert made == ["torch_utils.ops.bias_act"]
        with pytest.raises(ImportError, match=r"found fma\(a, b, c, rounding\)"):
            importlib.import_module("torch_utils.ops.fma")
    finally:
        done.undo()


class Before:
    """An import finder that stands before patch's, as those of editable installations may."""

    def __init__(self, folder):
        self.folder = folder

    def find_spec(self, name, path=None, target=None):
        if name != "torch_utils.ops.fma":
            return None
        return importlib.util.spec_from_file_location(name, self.folder / "theirs.py")


def test_the_proof_fails_where_a_function_is_not_ours(importable, tmp_path, monkeypatch):
    importable(nvidia())
    write(tmp_path, {"theirs.py": module(NVIDIA["fma"], end="")})
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    with patch("stylegan3") as done:
        assert done.found
        sys.meta_path.insert(0, Before(tmp_path))
        theirs = importlib.import_module("torch_utils.ops.fma")
        sys.meta_path.pop(0)
        with pytest.raises(RuntimeError, match=r"fma holds fma of another origin .*theirs\.py"):
            done.check()
        theirs.fma = nvlabs.fma.fma
    sys.modules.pop("torch_utils.ops.fma")
    with patch("stylegan3"):  # settings of the project's modules may be set
        importlib.import_module("torch_utils.ops.conv2d_gradfix").enabled = True


def test_the_proof_needs_no_survey(importable, tmp_path, monkeypatch):
    """Deferred, a module that patch's finder was never asked for is found by what it defines."""
    importable(nvidia())
    write(tmp_path, {"theirs.py": module(NVIDIA["fma"], end="")})
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    done = Patch("stylegan3", is_deferred=True)
    try:
        done.check()
        sys.meta_path.insert(0, Before(tmp_path))
        importlib.import_module("torch_utils.ops.fma")
        sys.meta_path.pop(0)
        with pytest.raises(RuntimeError, match="fma holds fma of another origin"):
            done.check()
    finally:
        done.undo()


def test_the_end_of_a_block_is_checked(importable):
    importable(nvidia())
    done = patch("stylegan3").__enter__()
    importlib.import_module("torch_utils.ops.fma").fma = len
    with pytest.raises(RuntimeError, match="fma holds fma of another origin"):
        done.__exit__(None, None, None)
    with pytest.raises(RuntimeError, match="ninja"):  # it was undone all the same
        importlib.import_module("torch_utils.ops.fma")


def test_the_documented_tables_are_those_of_the_code():
    page = (Path(__file__).parents[2] / "docs/other-code-bases.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| `")]
    kinds = {name: row for row in rows for name in re.findall(r"`([\w-]+)`", row[0])}
    assert set(kinds) == {*FAMILIES, *COPIES}
    for name in FAMILIES:
        assert re.findall(r"`([\w.]+)`", kinds[name][1]) == list(FAMILIES[name].packages)
    for name, (family, packages) in COPIES.items():
        assert kinds[name][1:] == [f"`{family}`", ", ".join(f"`{p}`" for p in packages)]


def test_the_help_names_every_family():
    from fastgan.cli.patch import command

    words = set(re.split(r"[\s,;:.]+", command.help))
    assert {*FAMILIES, *COPIES} <= words
