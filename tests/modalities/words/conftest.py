# SPDX-License-Identifier: Apache-2.0
import re
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def word_file(tmp_path_factory):
    """The lowercase words of this project's licence and guide, one a line: some 600."""
    root = Path(__file__).parents[3]
    text = "".join((root / f).read_text(encoding="utf-8") for f in ("LICENSE", "CONTRIBUTING.md"))
    path = tmp_path_factory.mktemp("words") / "guide.txt"
    path.write_text("\n".join(re.findall(r"[a-zA-Z]+", text)), encoding="utf-8")
    return path
