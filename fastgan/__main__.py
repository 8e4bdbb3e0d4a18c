# SPDX-License-Identifier: Apache-2.0
"""The `fastgan` command, also as `python -m fastgan`."""

import sys

from fastgan._extras import MissingPackageError, require


def main() -> None:
    """Run the command, or say in words that the package which reads its options is missing."""
    try:
        require("click", "train")
    except MissingPackageError as error:
        sys.exit(f"fastgan: {error}; for `fastgan build` alone: pip install 'fastgan[build]'")
    from fastgan.cli import main as command

    command(prog_name="fastgan")


if __name__ == "__main__":
    main()
