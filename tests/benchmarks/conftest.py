# SPDX-License-Identifier: Apache-2.0
import sys
from pathlib import Path

# `benchmarks` is not installed: it is run from the repository's root.
sys.path.insert(0, str(Path(__file__).parents[2]))
