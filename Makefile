# make design: install and run the quickstart.   make test: install with test extras and run the whole suite.
# make quick: the checks and tests for the next edit, under two minutes.
# make docs: install with docs extras and build the site into site/.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Python 3.11 and 3.12 get numpy 1.26, which torchgfn needs; later ones numpy 2, and no torchgfn.
LOCK := $(shell $(PYTHON) -c 'import sys; print("requirements.lock" if sys.version_info < (3, 13) else "requirements-numpy2.lock")')
RUN ?= runs/quickstart
CONFIG ?= runs/configs/quickstart.yaml
TRAIN_FLAGS ?=
SAMPLES ?= 1000
QUICK := tests/envs/alloy tests/envs/chemistry tests/envs/composition tests/envs/contract tests/envs/objects \
	tests/envs/structure_io/test_structure_files.py tests/envs/test_plugins.py tests/rewards/chemistry \
	tests/rewards/test_composite.py tests/rewards/reference tests/agent/config \
	tests/agent/policy tests/agent/learners tests/agent/tables tests/whole/test_layers.py \
	tests/whole/test_public_signatures.py tests/whole/test_public_interface.py
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint $(LOCK)

.PHONY: design test quick docs clean

design: $(VENV)/.installed
	$(BIN)/oreflow design $(CONFIG) --out $(RUN) -n $(SAMPLES) --overwrite $(TRAIN_FLAGS)
	$(BIN)/oreflow evaluate $(RUN)/samples/candidates.csv --quiet

test: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest -n 2 --dist worksteal

# For the next edit: style, types, import contracts, and the tests that neither train, nor start processes, nor need the
# long compilation of crystal masks.
quick: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m "not slow" $(QUICK)

docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# torch goes first and alone: with it in place no later requirement pulls in a second, larger build.
$(VENV)/.torch:
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 14) else f"oreflow needs Python 3.11 to 3.14, got {v[0]}.{v[1]}: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch
	@touch $@

$(VENV)/.installed: pyproject.toml $(LOCK) | $(VENV)/.torch
	$(PIP) --editable .
	@touch $@

$(VENV)/.installed-test: pyproject.toml $(LOCK) | $(VENV)/.torch
	$(PIP) --editable '.[test]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-docs: pyproject.toml $(LOCK) | $(VENV)/.torch
	$(PIP) --editable '.[docs]'
	@touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) build site dist *.egg-info
