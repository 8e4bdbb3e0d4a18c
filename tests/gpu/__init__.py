# SPDX-License-Identifier: Apache-2.0
"""Everything that only a machine with a GPU can show: `make gpu-check`.

    python -m tests.gpu --out build/gpu-check           # all of it: an hour or more
    python -m tests.gpu --out build/gpu-check --quick   # at most 8 minutes
    python -m tests.gpu --only capture,benchmarks       # some steps (and `environment`)
    python -m tests.gpu --dry-run                       # the steps; needs no GPU

It builds what is missing, runs the test suite with `--backend cuda`, compute-sanitizer, every
training phase as a CUDA graph against eager, and the benchmarks. Each step is a process of its own
with a time limit and a log; a step that fails or hangs does not stop the others. It writes
results.json, complete after every step, and its tables as results.md (`--render results.json`
writes them again); at most eight files in all.
Exit code 0: nothing failed; 1: a step failed; 2: no GPU, nothing written.
A result that is worth keeping goes to benchmarks/results/gpu/<device>-<date>.json and .md.

From a fresh clone on a machine with a GPU and a network, with pip:

    make gpu-check GPU_FLAGS=--quick     # a venv, torch with CUDA, the build, the check

Without a network, in an environment that is there (fastgan itself need not be installed), from the
root of a copy of the working tree:

    export FASTGAN_CACHE_DIR=/tmp/fastgan
    make gpu-check GPU_PYTHON=python3 GPU_FLAGS="--quick --out $OUT --commit COMMIT"   # no pip

That python3 needs torch (>= 2.11, with CUDA), numpy, pillow, click, rich, safetensors, pytest and
hypothesis. The first step builds both libraries into FASTGAN_CACHE_DIR: it needs ninja,
g++ (12 or newer), Python's headers and nvcc. Where one of these is missing, build elsewhere, with
the same Python version and the same sources, and bring the folder along:

    FASTGAN_CACHE_DIR=carried fastgan build --cuda --force   # there; a CPU build of torch will do
    export FASTGAN_CACHE_DIR=$PWD/carried                    # here; mode 0700, owned by the user

The CUDA library alone does not depend on Python but carries its tag in the file name. --commit
names the commit that is checked, where .git is not in the copy.
"""
