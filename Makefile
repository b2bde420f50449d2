# One command each: setup, demo, lab, check, test, bench. All work twice in a row and from any folder.
SHELL := /bin/bash
VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check -q
OUT := out
CODE := nbautoml tests benchmarks notebooks js hatch_build.py
PYTHON ?= python3
POINTS ?= 200
TIMES_POINTS ?= 20
SOAK_S ?= 60

.PHONY: setup demo lab check format test test-faults test-faults-times test-soak test-nightly test-fast test-gpu bench bench-record bench-gpu bench-tables bench-compress bench-fronts bench-rivals browser screenshots clean front help
.DEFAULT_GOAL := help

help:  ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | expand -t 14

setup: $(VENV)/.stamp front  ## a .venv with everything, the front end built

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# The constraints go to pip for the project's own packages only: build environments need no torch.
$(VENV)/.stamp: pyproject.toml constraints-dev.txt | $(VENV)/bin/python
	$(PIP) install -c constraints-dev.txt torch
	NBAUTOML_SKIP_FRONT_END=1 $(PIP) install -c constraints-dev.txt -e '.[dev]'
	touch $@

front: $(VENV)/.stamp  ## the front end: js/ -> nbautoml/static and nbautoml/labextension
	$(PY) js/build.py

demo: setup  ## run the quickstart notebook headless on real data
	$(PY) notebooks/run_demo.py --out $(OUT)

lab: setup  ## JupyterLab with the notebooks, on this machine only
	$(VENV)/bin/jupyter lab --ip 127.0.0.1 --notebook-dir notebooks $(LAB_FLAGS)

format:  ## rewrite the code in the one format
	$(VENV)/bin/ruff format $(CODE)
	$(VENV)/bin/ruff check --fix $(CODE)

check: setup  ## format, lint, types, layers, generated files
	$(VENV)/bin/ruff format --check $(CODE)
	$(VENV)/bin/ruff check $(CODE)
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(PY) -m nbautoml.widgets.generate --check
	$(PY) js/build.py --check

browser:
	@$(PY) tests/browser/install_browser.py

# A file a core. Threads that wait sleep: those of the tests' own runs would spin where cores are few.
test: setup browser  ## every test
	$(PY) js/build.py --test
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(PY) -m pytest -n 2 --dist loadfile -q

test-faults: setup browser  ## all that breaks something, POINTS kills a test -> benchmarks/faults.json and .md (hours on two cores)
	NBAUTOML_FAULTS=all NBAUTOML_FAULT_POINTS=$(POINTS) NBAUTOML_FAULT_OUT=benchmarks/faults.json \
		$(PY) -m pytest tests/faults $$($(PY) tests/support/fault_index.py) --ignore tests/faults/test_soak.py -q
	$(PY) benchmarks/faults.py --points $(POINTS)

test-faults-times: setup browser  ## the times alone, for a machine where nothing else runs, into the same table (not timed as a whole)
	NBAUTOML_FAULTS=all NBAUTOML_FAULT_POINTS=$(TIMES_POINTS) NBAUTOML_FAULT_QUIET=1 \
		NBAUTOML_FAULT_OUT=benchmarks/faults.json $(PY) -m pytest tests/faults -m timed -q
	$(PY) benchmarks/faults.py --alone --points $(TIMES_POINTS)

test-soak: setup  ## 2,000 short trials, then runs started, paused, killed at random for SOAK_S seconds
	NBAUTOML_FAULTS=all NBAUTOML_SOAK_S=$(SOAK_S) $(PY) -m pytest tests/faults/test_soak.py -q

test-nightly: setup browser  ## what `make test` leaves out for its time, but the faults
	NBAUTOML_FAULTS=all OMP_NUM_THREADS=1 $(PY) -m pytest tests -m nightly --ignore tests/faults -q

test-fast: setup  ## what needs neither browser nor kernel
	$(PY) -m pytest tests -m "not browser and not slow and not fault" -q

test-gpu:  ## what needs a GPU, on a machine that has one; benchmarks/gpu.py says what a bare one needs, PY names its Python
	$(PY) -m pytest tests/train_stacked/test_stack_cuda.py tests/tune/test_ahead.py -q

$(VENV)/.bench: $(VENV)/.stamp
	NBAUTOML_SKIP_FRONT_END=1 $(PIP) install -c constraints-dev.txt -e '.[dev,bench]'
	touch $@

bench: setup $(VENV)/.bench  ## measure the hot paths against their peers -> out/results.md (under 15 minutes)
	$(PY) benchmarks/run_all.py --out $(OUT)

bench-record: setup  ## out/results.json -> benchmarks/results.json and .md, and the README's table
	$(PY) benchmarks/pages.py --take $(OUT)/results.json

bench-gpu:  ## the same on a GPU -> out/gpu.md; benchmarks/gpu.py says what a bare machine needs, PY names its Python
	$(PY) benchmarks/gpu.py --out $(OUT)

bench-compress: setup  ## how small LeNet-300-100 and LeNet-5 become on MNIST without loss -> out/compressing.md (some 55 minutes on a quiet core)
	$(PY) benchmarks/compressing.py --out $(OUT)

bench-fronts: setup  ## the front of compressions beside random search and NSGA-II -> out/fronts.md (half an hour)
	$(PY) benchmarks/fronts.py --out $(OUT)

bench-rivals: setup $(VENV)/.bench  ## smaller networks beside Torch-Pruning, torchao, ONNX Runtime alone -> out/rivals.md (not timed as a whole)
	$(PY) benchmarks/rivals.py --out $(OUT)

bench-tables: setup $(VENV)/.bench  ## quality of the search on tables of real trainings (an hour)
	$(PY) benchmarks/tables.py --out $(OUT)

screenshots: setup browser  ## the README's pictures of the panel -> docs/panel-*.png
	$(PY) notebooks/make_screenshots.py

clean:
	rm -rf $(VENV) $(OUT) nbautoml/static nbautoml/labextension js/node_modules
