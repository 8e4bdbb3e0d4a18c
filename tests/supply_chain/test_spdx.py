# SPDX-License-Identifier: Apache-2.0
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import spdx


def test_the_package_the_kernels_and_the_tests_are_looked_at():
    found = {p.relative_to(spdx.ROOT).as_posix() for p in spdx.sources()}
    assert found >= {
        "Makefile", "setup.py", "pyproject.toml", "fastgan/__init__.py", ".ci/run",
        "csrc/ops/bias_act/bias_act_cuda.cu", "csrc/common/platform.cuh", "tests/conftest.py",
        "fastgan/explore/page/page.html", "tests/native/mutations/bias_act.toml",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.py", '"""A module."""\n'),
        ("a.py", "#!/usr/bin/env python\nx = 1\n"),
        ("a.py", ""),
        ("a.cu", "__global__ void f();\n"),
        ("a.css", "p { }\n"),
        ("a.html", "<!DOCTYPE html>\n<p>\n"),
        ("a.toml", "x = 1\n# SPDX-License-Identifier: Apache-2.0\n"),  # not at the top
        ("a.py", "# SPDX-License-Identifier: MIT\n"),
    ],
)
def test_a_file_without_the_line_is_found_and_gets_it(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    (found,) = spdx.sources(tmp_path)
    assert not spdx.has_line(found)
    spdx.add_line(found)
    assert spdx.has_line(found)
    lines = path.read_text().splitlines()
    lines.remove(spdx.line_of(path))
    assert lines == text.splitlines()
