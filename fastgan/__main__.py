"""`python -m fastgan`: the `fastgan` command."""

from fastgan.cli import main

main(prog_name="fastgan")
