# SPDX-License-Identifier: Apache-2.0
# README's two commands are `make demo` and `make test`; the rest is listed by `make help`.
PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.13.0
PIP_FLAGS ?=
TORCH_FLAGS ?=
DEMO_MINUTES ?= 5
DEMO_FLAGS ?=
GALLERY_MINUTES ?= 3
GALLERY_FLAGS ?=
PYTEST_FLAGS ?=

BIN := $(VENV)/bin
LOCK := .ci/requirements.lock
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS)
# Compiles what changed in csrc/ into fastgan/_C*.so; well under a second where nothing did.
BUILD := $(BIN)/python setup.py --quiet build_ext --inplace
# One process of pytest for each core, eight at most, of one OpenMP thread each. A test that is about
# threads sets their number itself. PYTEST_FLAGS="-n 0" runs all in one process.
# Inductor compiles in the process itself: a pool of processes of its own, beside ours, wins nothing and can wait for ever.
PYTEST := OMP_NUM_THREADS=1 TORCHINDUCTOR_COMPILE_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 8 --dist worksteal
# A test that is not slow and has not ended after 15 minutes never will: it fails, with what each thread was doing.
LIMIT := -o faulthandler_timeout=900 -o faulthandler_exit_on_timeout=true
# What runs kernels; the rest of the suite is the same on every backend.
KERNEL_TESTS := tests/ops tests/nn tests/losses tests/compat/test_shims.py

# Lists what pyproject.toml requires for an extra, or to build, for pip to install without building the package again.
EXTRAS = $(BIN)/python -c 'import sys, tomllib; project = tomllib.load(open("pyproject.toml", "rb")); extras = project["project"]["optional-dependencies"] | project["build-system"] | {"dependencies": [x for x in project["project"]["dependencies"] if not x.startswith("torch")]}; [print(x) for name in sys.argv[1:] for x in extras[name]]'

.PHONY: help demo gallery test quick kernels bench docs test-cpu test-reference test-emulator test-slow lint format abi cuda-check cuda-report sanitize mutation-check fuzz capture-lint operator-counts gpu-check abi-run wheel lock audit sbom promises clean

help:
	@echo "demo            install, render the data set, train for $(DEMO_MINUTES) minutes (DEMO_MINUTES=60 for longer)"
	@echo "gallery         train each recipe for $(GALLERY_MINUTES) minutes on one core (GALLERY_MINUTES=1), and show all on one page"
	@echo "test            install and run the tests: plain PyTorch, the CUDA kernels on the emulator, the CPU kernels"
	@echo "quick           for a developer at work, a minute: lint, and the first case of each quick test"
	@echo "test-slow       the long checks: compiles, inductor, real training runs"
	@echo "bench           pytest-benchmark over the quick cases of fastgan bench; BENCH_FLAGS=--every-case for all"
	@echo "docs            the site of docs/ and the docstrings, into build/site; warnings are errors"
	@echo "kernels         compile what changed in csrc/ since the last time"
	@echo "lint, format    ruff, clang-format and the line of the licence in each file: check, or rewrite"
	@echo "cuda-report     cuda-check, then registers, spills and vector accesses against the baseline"
	@echo "sanitize        the CUDA kernels (emulated) and the CPU kernels under ASAN, UBSAN and TSAN"
	@echo "fuzz            each op's binding and kernels on a fuzzer's inputs: half a million; FUZZ_FLAGS=\"--seconds 10 modulate\""
	@echo "mutation-check  bugs planted in the CUDA kernels, and who sees them: an hour"
	@echo "capture-lint    the table of training phases that a CUDA graph could hold"
	@echo "operator-counts how many operators of each training phase launch work on CUDA; no GPU is needed"
	@echo "gpu-check       where there is a GPU: the suite, compute-sanitizer, captured against eager, benchmarks"
	@echo "abi             torch-abi-audit of the built library"
	@echo "abi-run         run the op tests of the built library on another torch: OTHER_TORCH=2.11.0"
	@echo "wheel           a wheel with CPU kernels and the source distribution, into dist/, reproducible"
	@echo "lock            renew the versions and hashes of what the tests install"
	@echo "audit, sbom     known vulnerabilities of what is locked; a bill of materials in CycloneDX's form"
	@echo "promises        run what SECURITY.md's table names, and write the figures into it: hours"
	@echo "cuda-check      compile and link the CUDA library with nvcc; needs no GPU and no CUDA torch"

# What `make lock` locked comes first, each file by its hash; then torch, from where pip finds it: its CPU and CUDA builds
# are other files of one version, so it has no hash in the lock; then the package with its kernels.
$(VENV)/.installed: pyproject.toml setup.py $(LOCK)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --no-deps --require-hashes -r $(LOCK)
	$(PIP) $(TORCH_FLAGS) $(TORCH)
	$(PIP) --no-build-isolation -e '.[train,metrics,test]'
	touch $@

# What needs the kernels asks for this, and not only for the installation, which is older than a changed header.
kernels: $(VENV)/.installed
	FASTGAN_REQUIRE_NATIVE=1 $(BUILD)

demo: $(VENV)/.installed
	$(BUILD)
	$(BIN)/fastgan train --minutes $(DEMO_MINUTES) $(DEMO_FLAGS)

# Packages of data are not installed: docs/other-samples.md names them, and the page those that are missing.
gallery: $(VENV)/.installed
	$(BUILD)
	$(BIN)/python -m benchmarks.gallery --minutes $(GALLERY_MINUTES) $(GALLERY_FLAGS)

test: test-reference test-emulator test-cpu

# Without the library, every op is its reference and our derivative formulas. Inductor is tested here.
test-reference: $(VENV)/.installed
	$(PYTEST) $(LIMIT) --backend reference -m 'not slow or inductor' $(KERNEL_TESTS) $(PYTEST_FLAGS)

# The CUDA kernels, run on the CPU. Needs the CUDA toolkit's headers, and no GPU.
test-emulator: $(VENV)/.cuda
	$(PYTEST) $(LIMIT) --backend emulator -m 'not slow' $(KERNEL_TESTS) $(PYTEST_FLAGS)

test-cpu: kernels
	$(PYTEST) $(LIMIT) --backend cpu -m 'not slow' $(PYTEST_FLAGS)

test-slow: kernels
	$(PYTEST) --backend cpu -m slow $(PYTEST_FLAGS)

quick: lint kernels
	$(PYTEST) --backend cpu --quick $(PYTEST_FLAGS)

# Checked before timed, like fastgan bench, but one test after another: no ratios within a round.
BENCH_FLAGS ?=
bench: kernels
	$(EXTRAS) bench >$(VENV)/.bench.txt
	$(PIP) -r $(VENV)/.bench.txt
	$(BIN)/python -m pytest benchmarks --benchmark-only $(BENCH_FLAGS)

# The compiler and headers of CUDA: the machine's, else pinned wheels of the same version.
$(VENV)/.cuda: pyproject.toml $(VENV)/.installed
	$(EXTRAS) nvcc >$@.txt
	command -v nvcc >/dev/null || test -x "$$CUDA_HOME/bin/nvcc" || $(PIP) -r $@.txt
	touch $@

# SANITIZE=driver-cpu-thread: one of them; the list is in tests/native/sanitize.py.
SANITIZE ?=
sanitize: $(VENV)/.cuda
	$(BIN)/python tests/native/sanitize.py $(SANITIZE)

# Half a million inputs; FUZZ_FLAGS="--seconds 10" limits each op, "--runs 1000 modulate" takes one. With clang and its
# libFuzzer (on Debian: apt-get install clang-16 libclang-rt-16-dev) inputs are guided by coverage, else blind.
FUZZ_FLAGS ?=
fuzz: $(VENV)/.cuda
	$(BIN)/python tests/native/fuzz/fuzz.py $(FUZZ_FLAGS)

promises: $(VENV)/.cuda
	$(BIN)/python tests/supply_chain/promises.py --run --write

mutation-check: $(VENV)/.cuda
	$(BIN)/python tests/native/mutate.py

# Fails where a kernel got worse than tests/cuda_report/baseline.json; REPORT_FLAGS=--write-baseline.
REPORT_FLAGS ?=
cuda-report: cuda-check
	$(EXTRAS) cuda-check >$(VENV)/.cuda-check.txt
	$(PIP) -r $(VENV)/.cuda-check.txt
	$(BIN)/python -m tests.cuda_report $$(find build/cuda-check -name '_C_cuda*.so') $(REPORT_FLAGS)

# Whether each training phase could be captured in a CUDA graph, on fake CUDA tensors.
capture-lint: $(VENV)/.installed
	$(BIN)/python tests/capture/lint_table.py

# How many operators of each phase launch work on CUDA, against ceilings that may only fall.
operator-counts: $(VENV)/.installed
	$(BIN)/python tests/capture/operator_counts.py

# All that only a GPU can show, into build/gpu-check; GPU_PYTHON= takes an environment that is there.
GPU_FLAGS ?=
GPU_PYTHON ?= $(BIN)/python
gpu-check: $(if $(filter $(BIN)/python,$(GPU_PYTHON)),$(VENV)/.installed)
	$(GPU_PYTHON) -m tests.gpu --out build/gpu-check $(GPU_FLAGS)

$(VENV)/.linters: pyproject.toml $(VENV)/.installed
	$(EXTRAS) lint abi >$@.txt
	$(PIP) -r $@.txt
	touch $@

lint: $(VENV)/.linters
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tests/supply_chain/spdx.py
	git ls-files 'csrc/*' | xargs $(BIN)/clang-format --dry-run -Werror

format: $(VENV)/.linters
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python tests/supply_chain/spdx.py --write
	git ls-files 'csrc/*' | xargs $(BIN)/clang-format -i

$(VENV)/.docs: pyproject.toml $(VENV)/.installed
	$(EXTRAS) docs >$@.txt
	$(PIP) -r $@.txt
	touch $@

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

abi: $(VENV)/.linters kernels
	$(BIN)/torch-abi-audit --check torch fastgan/_C*.so
	$(BIN)/abi3audit --strict --assume-minimum-abi3 3.11 fastgan/_C.abi3.so

# The objects are in build/native; only the library of other sources must not stay beside the new one. Compiled are the
# architectures that the report reads; tests/test_build.py (slow) compiles the kernels for the other default ones.
CUDA_CHECK_ARCHITECTURES ?= 8.0;9.0
cuda-check: $(VENV)/.cuda
	rm -rf build/cuda-check
	FASTGAN_CACHE_DIR=build/cuda-check TORCH_CUDA_ARCH_LIST="$(CUDA_CHECK_ARCHITECTURES)" $(BIN)/fastgan build --cuda

# A wheel for CPython 3.11 and later, with CPU kernels, and the source distribution, into dist/. Two builds of one
# commit, by one compiler, shall be equal byte by byte (SECURITY.md says what was shown).
wheel: $(VENV)/.supply
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) FASTGAN_REQUIRE_NATIVE=1 FASTGAN_CUDA=0 $(BIN)/python -m build --no-isolation --outdir dist
	cd dist && sha256sum fastgan-*

$(VENV)/.supply: pyproject.toml $(VENV)/.installed
	$(EXTRAS) supply-chain >$@.txt
	$(PIP) -r $@.txt
	touch $@

# Renews the lock, for every platform and Python that pyproject.toml allows.
lock: $(VENV)/.supply
	$(EXTRAS) requires dependencies train metrics test >$(VENV)/.lock.in
	echo torch >$(VENV)/.not-locked
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate --excludes $(VENV)/.not-locked --custom-compile-command 'make lock' --output-file $(LOCK) .ci/torch-requires.in $(VENV)/.lock.in

# Known vulnerabilities of what is locked. It asks the package index's own service, which a mirror may lack.
audit: $(VENV)/.supply
	$(BIN)/pip-audit --strict --disable-pip --require-hashes --progress-spinner off -r $(LOCK)

# What is locked, as a bill of materials in CycloneDX's XML, into build/. (The check of its JSON takes minutes.)
sbom: $(VENV)/.supply
	mkdir -p build
	$(BIN)/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible --of XML -o build/fastgan.cdx.xml $(LOCK)

OTHER_TORCH ?= 2.11.0
abi-run: kernels
	$(PYTHON) -m venv .venv-torch-$(OTHER_TORCH)
	.venv-torch-$(OTHER_TORCH)/bin/python -m pip install --quiet $(PIP_FLAGS) torch==$(OTHER_TORCH) numpy pytest hypothesis
	PYTHONPATH=. .venv-torch-$(OTHER_TORCH)/bin/python -m pytest --backend cpu tests/ops -m 'not slow' $(PYTEST_FLAGS)

clean:
	rm -rf $(VENV) build *.egg-info fastgan/_C*.so
