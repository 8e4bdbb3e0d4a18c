# SPDX-License-Identifier: Apache-2.0
"""`python -m fastgan.cli`, which is how torchrun starts `fastgan`."""

from fastgan.cli import main

main(prog_name="fastgan")
