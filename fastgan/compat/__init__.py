# SPDX-License-Identifier: Apache-2.0
"""Other projects' code on fastgan's ops, without changing that code.

`nvlabs`, `rosinality`, `basicsr`, `mmcv` and `bigvgan` are the replacements of the ops, each with
the names and signatures of that project; `patch` puts them where the project's code imports its
own. No code of those projects is contained.
"""

from fastgan.compat.families import COPIES, FAMILIES, Family
from fastgan.compat.patching import Patch, patch

__all__ = ["COPIES", "FAMILIES", "Family", "Patch", "patch"]
