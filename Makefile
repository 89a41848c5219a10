# `make demo` and `make test` need Python 3.11, git and make; everything else is installed into .venv.
SHELL := /bin/bash
PYTHON ?= python3.11
# The one outside, always: under `make -j` that of .venv is half there.
PYTHON := $(shell command -v $(PYTHON) || echo $(PYTHON))
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Two processes with a thread each: threads of two processes that wait for one another on two cores cost time.
# Files come in the order of tests/conftest.py; pytest-xdist would begin those of one long test last.
PYTEST := OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
# A few tests are taken from the files that hold their mark: looking through all tests takes each process half a minute.

.PHONY: help setup demo ui test test-quick test-real test-slow test-all format claims clean recbole kernels javascript docs axe

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(VENV)/installed ## create .venv and install under constraints.txt

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[all]"
	touch $@

demo: setup ## run the whole pipeline on the simulated shop and print the leaderboard
	dvc repro
	@python -m shopkeeper leaderboard --pipeline

ui: setup ## open the MLflow comparison on http://127.0.0.1:5000
	mlflow ui --backend-store-uri sqlite:///mlflow.db --host 127.0.0.1 --port 5000

test: setup test-quick ## format check, lint, types, tests

test-quick:
	ruff format --check .
	ruff check .
	mypy
	$(PYTEST)

test-real: setup ## what needs the real data in SHOPKEEPER_RAW
	$(PYTEST) -m real $$(grep -rlw --include='*.py' 'mark.real' tests | sort)

test-slow: setup ## what takes longer than a minute, such as a training that is killed twenty times
	$(PYTEST) -m slow $$(grep -rlw --include='*.py' 'mark.slow' tests | sort)

test-all: setup ## everything, the slow tests too
	python -m pytest -m "not none"

format: setup ## format and mend what can be mended
	ruff format .
	ruff check --fix .

docs: setup ## build the documentation site into site/
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict

claims: setup ## every claim of benchmarks/results, those that fall short first
	@python benchmarks/claims.py

recbole: .venv-recbole/installed ## an environment of its own for RecBole's models

.venv-recbole/installed: requirements-recbole.txt
	rm -rf .venv-recbole
	$(PYTHON) -m venv .venv-recbole
	.venv-recbole/bin/python -m pip install --quiet -r requirements-recbole.txt
	touch $@

javascript: clients/javascript/node_modules ## the package of the JavaScript client of bundles (needs npm)

clients/javascript/node_modules: clients/javascript/package-lock.json
	cd clients/javascript && npm ci --ignore-scripts --no-audit --no-fund
	touch $@

axe: tests/report/axe/node_modules ## what looks at the report's accessibility in its tests (needs npm)

tests/report/axe/node_modules: tests/report/axe/package-lock.json
	cd tests/report/axe && npm ci --ignore-scripts --no-audit --no-fund
	touch $@

kernels: .venv-kernels ## fused softmax kernels, for their test in Triton's interpreter

.venv-kernels:
	rm -rf $@.part
	$(PYTHON) -m pip install --quiet --no-deps --target $@.part triton==3.9.0 cut-cross-entropy==25.1.1 liger-kernel==0.8.5
	mv $@.part $@

clean: ## remove what commands have made, told by its manifests (not .venv, raw data, MLflow's database)
	python -m shopkeeper clean
