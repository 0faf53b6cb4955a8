# Everything a newcomer needs is `make demo` and `make test`; both set up .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup demo test coverage test-faults test-compose bench bench-smoke soak check proto lock clean

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "arbhub needs Python 3.11 to 3.13: name one with PYTHON=, as in 'make $(MAKECMDGOALS) PYTHON=python3.12'"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/arbhub demo

test: $(STAMP)
	$(BIN)/python -m pytest

coverage: $(STAMP)
	$(BIN)/python -m pytest --cov --cov-report=term:skip-covered

test-faults: $(STAMP)
	$(BIN)/python -m pytest tests/faults

test-compose: $(STAMP)
	$(BIN)/python -m pytest --capture=no tests/compose

bench: $(STAMP)
	$(BIN)/python -m loadtest bench

bench-smoke: $(STAMP)
	$(BIN)/python -m loadtest bench --smoke

soak: $(STAMP)
	$(BIN)/python -m loadtest bench --only soak

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	PYTHON=$(BIN)/python sh proto/check.sh

proto: $(STAMP)
	PYTHON=$(BIN)/python sh proto/generate.sh .

lock: $(STAMP)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-emit-find-links \
		--no-header --no-annotate --group dev pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
