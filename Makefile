# `make run` and `make test` need Python >= 3.11 and make, nothing else: the first call makes .venv, a later one starts at once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TEST_STAMP := $(VENV)/.installed-test

.PHONY: run test check clean vectors mutants mutants-all fuzz faults

run: $(STAMP)
	$(BIN)/fedsec run --epsilon 3

test: $(TEST_STAMP)
	$(BIN)/python -m pytest -n 2 --dist worksteal

check: $(TEST_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m tests.check_readme

vectors: $(TEST_STAMP)
	$(BIN)/python -m tests.secagg.make_vectors
	$(BIN)/python -m tests.dp.make_vectors
	$(BIN)/python -m tests.compliance.privacy_schema

# Each mutant breaks one claim in a copy of the tree; the test that makes the claim must fall.
mutants: $(TEST_STAMP)
	$(BIN)/python -m tests.mutants

mutants-all: $(TEST_STAMP) $(VENV)/.installed-mutation
	$(BIN)/python -m tests.mutants
	$(BIN)/python -m tests.mutants --generated

fuzz: $(TEST_STAMP) $(VENV)/.installed-fuzz
	$(BIN)/python -m tests.fuzz --inputs 1000000

# Kills, torn writes, full disks and lost connections at every system call of the ledger, on SQLite and PostgreSQL.
faults: $(TEST_STAMP)
	$(BIN)/python -m tests.faults

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "fedsec needs Python 3.11 or newer; say which with: make run PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# torch first and pinned: without a version, pip takes the newest build with several GB of CUDA libraries.
$(STAMP): pyproject.toml | $(VENV)/bin/python
	@echo "installing into $(VENV): about 250 MB, a minute or two"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

# The extras, one stamp each: test, mutation, fuzz.
$(VENV)/.installed-%: pyproject.toml $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[$*]'
	@touch $@
