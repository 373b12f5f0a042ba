# Every target works alone on a fresh clone: the first one that needs it makes .venv. `make` prints this list.
PYTHON ?= python3
GPU_PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
BUILD_INPUTS := pyproject.toml setup.py $(shell find csrc -type f -name '*.[ch]*')

# Waiting OpenMP threads that spin can slow a shared machine many times over.
export OMP_WAIT_POLICY ?= passive

.DEFAULT_GOAL := help
.PHONY: help install demo test fast lint format types sanitize operators bench rivals growth figures soak claims steadying \
  faces lab gpu clean

help:  ## print this list
	@sed -n 's/^\([a-z]*\):.*## /\1 \t/p' $(MAKEFILE_LIST) | expand -t 10

install: $(VENV)/.installed  ## make .venv with the package, the demo's and the tests' needs

demo: $(VENV)/.installed  ## retarget a made-up micro-expression onto a face and show what came out
	$(PY) -m eamfmeg_fast.demo

test: $(VENV)/.installed  ## all tests
	$(BIN)/pytest -q -n auto --dist loadfile

fast: $(VENV)/.installed  ## the tests that take seconds
	$(BIN)/pytest -q -n auto --dist loadfile -m "not slow"

lint: $(VENV)/.dev  ## ruff and clang-format, changing nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	find csrc -name '*.[ch]*' -print0 | xargs -0 $(BIN)/clang-format --dry-run -Werror

format: $(VENV)/.dev  ## let ruff and clang-format change what they can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	find csrc -name '*.[ch]*' -print0 | xargs -0 $(BIN)/clang-format -i

types: $(VENV)/.dev  ## mypy on the package as it is built
	rm -rf build/typecheck
	$(PY) setup.py -q build_py -d build/typecheck
	$(BIN)/mypy build/typecheck/eamfmeg_fast

sanitize: $(VENV)/.installed  ## the compiled rooms on every sample, under AddressSanitizer and UBSan
	EAMFMEG_SANITIZE=1 ASAN_OPTIONS=detect_leaks=0 LD_PRELOAD="$$($${CXX:-c++} -print-file-name=libasan.so)" \
	  $(PY) -P -m pytest -q -p no:cacheprovider -k "matches and not triton" tests/kernels/test_every_room.py

operators: $(VENV)/.installed  ## measure the operators; writes benchmarks/results/operators.json and the table
	$(PY) benchmarks/operators.py

bench: $(VENV)/.installed  ## the benchmarks, each after its accuracy gate
	$(BIN)/pytest -q benchmarks

soak: $(VENV)/.installed  ## 10,000 frames of `small`: memory must not grow
	$(PY) benchmarks/soak.py

rivals: $(VENV)/.bench  ## the engine against other runtimes, 15 minutes on a quiet machine; writes benchmarks/README.md
	$(PY) benchmarks/engine.py

lab: $(VENV)/.installed  ## the shipped weights on held-out people of the lab, 15 minutes; writes the README's table
	for weights in base small; do for noise in --noise --no-noise; do \
	  $(PY) -m eamfmeg_fast eval lab --weights $$weights $$noise --out benchmarks/results/lab.jsonl || exit 1; \
	done; done
	$(PY) benchmarks/lab_table.py

figures: $(VENV)/.installed  ## the README's pictures and the model cards, drawn from the shipped weights
	$(PY) benchmarks/figures.py
	$(PY) benchmarks/cards.py

growth: $(VENV)/.installed  ## how a frame's cost grows with size, batch and targets; writes benchmarks/README.md
	$(PY) benchmarks/growth.py

claims: $(VENV)/.installed  ## try the published claims on four variants, 40 minutes on two cores; writes benchmarks/README.md
	OMP_NUM_THREADS=1 $(PY) benchmarks/claims.py

steadying: $(VENV)/.installed  ## what each step of the motion's post-processing does on lab clips
	$(PY) benchmarks/steadying.py

faces: $(VENV)/.installed  ## how many faces a second the lab draws
	$(PY) benchmarks/lab_speed.py

gpu:  ## what needs a CUDA device, with the system's Python; NOT RUN without one
	GPU_PYTHON="$(GPU_PYTHON)" .ci/gpu

clean:  ## remove what was built; .venv stays (rm -rf .venv)
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks eamfmeg_fast/*.so
	rm -f $(VENV)/.installed $(VENV)/.dev $(VENV)/.bench
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "$(PYTHON) is older than Python 3.11 or not there. Name another: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' \
	  || { echo "$(PYTHON) cannot make virtual environments. Install its venv package (Debian: apt install python3-venv)."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BUILD_INPUTS) | $(PY)
	$(PY) -m pip install --quiet --disable-pip-version-check -e '.[demo,test]'
	@touch $@

$(VENV)/.dev: $(VENV)/.installed
	$(PY) -m pip install --quiet --disable-pip-version-check -e '.[demo,test,dev]'
	@touch $@

# One by one, so that a wheel that is missing drops no other rival. What cannot be installed is reported as such, the
# others are measured, and the next call tries again.
$(VENV)/.bench: $(VENV)/.installed
	@packages=$$($(PY) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["bench"])') \
	  || exit 1; lost=; for package in $$packages; do \
	    echo "pip install $$package"; \
	    $(PY) -m pip install --quiet --disable-pip-version-check "$$package" || lost=1; \
	  done; \
	  if [ -z "$$lost" ]; then touch $@; else echo "Not all rivals could be installed: those are left out."; fi
