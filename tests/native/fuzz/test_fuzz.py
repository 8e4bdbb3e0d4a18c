# SPDX-License-Identifier: Apache-2.0
"""The fuzzer's harnesses: one for each op, and a lost check of a binding is found."""

import os
import shutil
import sys
from pathlib import Path

import native_build
import pytest

from fastgan import _build

sys.path.insert(0, str(Path(__file__).parent))

import fuzz

CHECK = "row >= 0 && row < totals.size(1)"


@pytest.fixture(scope="module")
def program():
    return _build.make(fuzz.OUTPUT, [fuzz.target("observe", "cpu")])[0]


def test_every_op_has_a_harness():
    found = {*fuzz.ops("cpu"), *fuzz.ops("emulator")}
    assert found == {p.name for p in (native_build.CSRC / "ops").iterdir() if p.is_dir()}
    assert fuzz.ops("emulator") == native_build.ops()


def test_nothing_is_found_in_what_is_right(program, tmp_path, capsys):
    assert fuzz.run(program, 2000, 0, tmp_path) == (2000, "")
    served, refused = map(int, _numbers(capsys.readouterr().out))
    assert served > 200  # inputs must not all be refused, nor all be right
    assert refused > 200


def _numbers(text):
    words = text.split()
    return words[words.index("fuzz:") + 1], words[words.index("fuzz:") + 3]


def test_a_check_that_a_binding_lost_is_found(tmp_path):
    for folder in ("csrc/common", "csrc/ops/observe", "tests/native/fuzz"):
        shutil.copytree(native_build.ROOT / folder, tmp_path / folder)
    binding = tmp_path / "csrc" / "ops" / "observe" / "observe.cpp"
    text = binding.read_text(encoding="utf-8")
    assert text.count(CHECK) == 1
    binding.write_text(text.replace(CHECK, "row >= 0"), encoding="utf-8")
    planted = fuzz.target("observe", "cpu", tmp_path)._replace(name=f"planted-{os.getpid()}")
    made = _build.make(fuzz.OUTPUT, [planted])[0]
    try:
        done, found = fuzz.run(made, 20_000, 0, tmp_path / "corpus")
    finally:
        for path in fuzz.OUTPUT.glob(f"{made.name}*"):
            path.unlink()
    assert done == 0
    assert "AddressSanitizer" in found or "runtime error" in found
