# The single door: every command creates .venv and installs what it needs.
# Needs nothing but Python >= 3.11, pip and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What is imported is compiled then: to compile all of torch and its like first takes a minute.
EXTRA_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile

.DEFAULT_GOAL := help
.PHONY: help demo demo-check test lint bench soak reproduce results docs clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 10

# One stamp per set of extras, renewed when pyproject.toml changes.
$(VENV)/%.stamp: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing contrasift[$*] into $(VENV) ..."
	@$(EXTRA_INSTALL) --editable '.[$*]'
	@touch $@

demo: $(VENV)/demo.stamp  ## the whole idea on real images, in a few minutes
	$(BIN)/contrasift run --recipe demo --out runs/demo

demo-check: $(VENV)/demo.stamp  ## the demo with ten further seeds, and how many hold (half an hour)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/demo_check.py

# Tests often wait, for other processes or the disk: the checks take their time from there.
test: $(VENV)/dev.stamp  ## every check and test
	@$(MAKE) --no-print-directory --jobs 2 lint pytest

.PHONY: pytest
pytest: $(VENV)/dev.stamp
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(VENV)/dev.stamp  ## format, style, types, direction of imports
	$(BIN)/ruff format --check src reproduce tests benchmarks
	$(BIN)/ruff check src reproduce tests benchmarks
	$(BIN)/lint-imports
	$(BIN)/pyright --pythonpath $(BIN)/python

bench: $(VENV)/dev.stamp $(VENV)/bench.stamp  ## speed beside the peers and the hardware's limits
	$(BIN)/python benchmarks/bench_selection.py
	$(BIN)/python benchmarks/bench_objectives.py
	$(BIN)/python benchmarks/bench_classes.py
	$(BIN)/python benchmarks/bench_training.py
	$(BIN)/python benchmarks/bench_embedding.py
	$(BIN)/python benchmarks/bench_negatives.py --json benchmarks/results/negatives.json
	$(BIN)/python benchmarks/bench_theory.py
	$(BIN)/python benchmarks/bench_ray.py
	$(BIN)/python benchmarks/summary.py

reproduce: $(VENV)/demo.stamp  ## a table or figure of the papers: make reproduce ARGS="goal --scale cpu"
	$(BIN)/python -m reproduce $(ARGS)

results: $(VENV)/demo.stamp  ## reproduce/pages and their plots, from the finished cells
	$(BIN)/python -m reproduce --write-pages

soak: $(VENV)/dev.stamp  ## kills at random, and inputs that nobody should give (about 30 minutes)
	OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 $(BIN)/python benchmarks/soak.py

docs: $(VENV)/docs.stamp  ## the documentation, built strictly into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo "site/index.html"

clean:  ## remove .venv and caches (never runs/)
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis
