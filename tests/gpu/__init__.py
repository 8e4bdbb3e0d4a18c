"""Everything that only a machine with a GPU can show: `make gpu-check`.

    python -m tests.gpu --out build/gpu-check           # all of it: an hour or more
    python -m tests.gpu --out build/gpu-check --quick   # at most 8 minutes
    python -m tests.gpu --only capture,benchmarks       # some steps (and `environment`)
    python -m tests.gpu --dry-run                       # the steps; needs no GPU

It builds what is missing, runs the test suite with `--backend cuda`, compute-sanitizer, every
training phase as a CUDA graph against eager, and the benchmarks. Each step is a process of its own
with a time limit and a log; none stops the others. Out come results.json, whole after every step,
and results.md, its tables (`--render results.json` writes them again).
Exit code 0: nothing failed; 1: a step failed; 2: no GPU, nothing written.
A result that is worth keeping goes to benchmarks/results/gpu/<device>-<date>.json and .md.

From a fresh clone on a machine with a GPU, with pip:

    make gpu-check GPU_FLAGS=--quick     # a venv, torch with CUDA, the build, the check

On one without a network, whose python3 has torch (>= 2.11, with CUDA), numpy, pillow, click, rich,
safetensors, pytest and hypothesis (fastgan itself need not be installed), from the root:

    export FASTGAN_CACHE_DIR=/tmp/fastgan
    make gpu-check GPU_PYTHON=python3 GPU_FLAGS="--quick --out $OUT --commit COMMIT"   # no pip

The first step builds both libraries into FASTGAN_CACHE_DIR; it needs g++ (12 or newer), Python's
headers and nvcc. Where nvcc or headers are absent, build elsewhere, with the same Python version
and the same sources, and bring the folder along:

    FASTGAN_CACHE_DIR=carried fastgan build --cuda --force   # there; a CPU build of torch will do
    export FASTGAN_CACHE_DIR=$PWD/carried                    # here; mode 0700, owned by the user

The CUDA library alone does not depend on Python but carries its tag in the file name. --commit
says what was checked where .git did not come along. At most eight files are written.
"""
