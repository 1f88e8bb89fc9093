# Everything a newcomer needs: `make quickstart` and `make test`. Needs Python 3.11 or later, pip and make.
# Another Python (`make test PYTHON=python3.13`) has an environment of its own, .venv-3.13.
PYTHON ?= python3
ifeq ($(origin PYTHON), file)
VENV := .venv
else
VENV := .venv-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
endif
BIN := $(VENV)/bin
RUN := runs/quickstart
# The tests of a file share what it makes: they stay in one process.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile

.PHONY: quickstart install test test-fast test-numbers lint types slow clean

quickstart: $(VENV)/.installed
	$(BIN)/modjax sweep experiments/quickstart.toml --out $(RUN)
	@echo "Report: $(RUN)/report.html    Figures: $(RUN)/figures    Tables: $(RUN)/*.parquet    (print one: $(BIN)/modjax table $(RUN) modules)"

install: $(VENV)/.installed-dev

test: $(VENV)/.installed-dev
	$(PYTEST)

# The pure parts: no sweep, and next to nothing to compile.
FAST := tests/test_architecture.py tests/clustering tests/data tests/store \
  tests/ray/test_queue.py tests/report/test_best_settings.py tests/report/test_statistics.py \
  tests/sweep/test_spec.py tests/sweep/test_spec_fuzz.py tests/training/test_schedule.py tests/training/test_slots.py \
  tests/golden/test_golden.py::test_trial_ids_and_hashes_of_the_experiments --deselect tests/clustering/test_pool.py
test-fast: $(VENV)/.installed-dev
	$(PYTEST) $(FAST)

# What numbers come from: kernels, training, clustering; compiled as users have them compiled. Not what the host does with
# trials (decisions, folders, tables), which is the same on every version.
HOST := $(addprefix --ignore=tests/training/, test_extend.py test_halving.py test_population_table.py)
test-numbers: $(VENV)/.installed-dev
	$(PYTEST) --compiler users $(HOST) tests/measures tests/training tests/clustering tests/golden

slow: $(VENV)/.installed-dev
	$(PYTEST) --no-loadscope-reorder -m slow

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/basedpyright --pythonpath $(BIN)/python

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "modjax needs Python 3.11 or later; '$(PYTHON)' is older. Try: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@ $(VENV)/.installed

clean:
	rm -rf .venv .venv-* .pytest_cache .ruff_cache
