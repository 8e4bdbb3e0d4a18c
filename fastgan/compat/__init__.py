"""Other projects: their ops' names and signatures on our ops, put under unmodified code.

`nvlabs`, `rosinality`, `basicsr`, `mmcv` and `bigvgan` hold the replacements, each with the
signatures of the project that it is named for; `patch` puts them where that project's code looks
for its own. Nothing of those projects is in here.
"""

from fastgan.compat.families import FAMILIES, Family
from fastgan.compat.patching import Patch, patch

__all__ = ["FAMILIES", "Family", "Patch", "patch"]
