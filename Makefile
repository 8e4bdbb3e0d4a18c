# README's two commands are `make demo` and `make test`; the rest is listed by `make help`.
PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.13.0
PIP_FLAGS ?=
TORCH_FLAGS ?=
DEMO_MINUTES ?= 5
DEMO_FLAGS ?=
PYTEST_FLAGS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS)
KERNELS := $(wildcard csrc/*.cpp csrc/*/*.h csrc/*/*.cuh csrc/ops/*/*)

.PHONY: help demo test test-cpu test-reference test-slow lint format abi cuda-check abi-run clean

help:
	@echo "demo            install, render the data set, train for $(DEMO_MINUTES) minutes (DEMO_MINUTES=60 for longer)"
	@echo "test            install and run the tests, with the native library and without it"
	@echo "test-slow       the long checks: compiles, inductor, real training runs"
	@echo "lint, format    ruff and clang-format: check, or rewrite"
	@echo "abi             torch-abi-audit of the built library"
	@echo "abi-run         run the op tests of the built library on another torch: OTHER_TORCH=2.11.0"
	@echo "cuda-check      compile and link the CUDA library with nvcc; needs no GPU and no CUDA torch"

# torch comes first and alone, so that nothing else resolves it; then the package with its kernels.
$(VENV)/.installed: pyproject.toml setup.py fastgan/_build.py $(KERNELS)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) $(TORCH_FLAGS) $(TORCH)
	$(PIP) 'setuptools>=77' wheel 'pybind11>=2.13'
	$(PIP) --no-build-isolation -e '.[metrics,test]'
	touch $@

demo: $(VENV)/.installed
	$(BIN)/fastgan train --minutes $(DEMO_MINUTES) $(DEMO_FLAGS)

test: test-reference test-cpu

# Without the library, every op is its reference and our derivative formulas.
test-reference: $(VENV)/.installed
	$(BIN)/python -m pytest --backend reference tests/ops tests/nn tests/losses $(PYTEST_FLAGS)

test-cpu: $(VENV)/.installed
	$(BIN)/python -m pytest --backend cpu -m 'not slow' $(PYTEST_FLAGS)

test-slow: $(VENV)/.installed
	$(BIN)/python -m pytest --backend cpu -m slow $(PYTEST_FLAGS)

$(VENV)/.linters: pyproject.toml $(VENV)/.installed
	$(PIP) --no-build-isolation -e '.[lint,abi]'
	touch $@

lint: $(VENV)/.linters
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	git ls-files 'csrc/*' | xargs $(BIN)/clang-format --dry-run -Werror

format: $(VENV)/.linters
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	git ls-files 'csrc/*' | xargs $(BIN)/clang-format -i

abi: $(VENV)/.linters
	$(BIN)/torch-abi-audit --check torch fastgan/_C*.so

cuda-check: $(VENV)/.installed
	rm -rf build/cuda-check
	FASTGAN_CACHE_DIR=build/cuda-check $(BIN)/fastgan build --cuda

OTHER_TORCH ?= 2.11.0
abi-run: $(VENV)/.installed
	$(PYTHON) -m venv .venv-torch-$(OTHER_TORCH)
	.venv-torch-$(OTHER_TORCH)/bin/python -m pip install --quiet $(PIP_FLAGS) torch==$(OTHER_TORCH) numpy pytest hypothesis
	PYTHONPATH=. .venv-torch-$(OTHER_TORCH)/bin/python -m pytest --backend cpu tests/ops -m 'not slow' $(PYTEST_FLAGS)

clean:
	rm -rf $(VENV) build *.egg-info fastgan/_C*.so
