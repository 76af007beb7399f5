# `make demo` and `make test` start from a bare python3; everything they need goes into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
READY := $(VENV)/.ready
DEMO := .demo
SYNTHETIC_RATINGS := 100836

export PYTHONUNBUFFERED = 1

.PHONY: help setup demo test lint docs bench bench-large bench-train wheel lock clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(READY)  ## create .venv with the locked dependencies, LightFM built

$(READY): pyproject.toml requirements/build.lock requirements/dev.lock
	@echo "Setting up $(VENV) (once; a few minutes on two cores)"
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "recsvc needs Python 3.11 or newer: name one, as in make setup PYTHON=python3.12" >&2; \
		exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install --require-hashes -r requirements/build.lock
	@$(PIP) install --require-hashes --no-build-isolation -r requirements/dev.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@$(PIP) check
	@touch $@

# Each source of data has a database of its own, so that none is mixed with another.
demo: $(READY)  ## ingest, retrain, publish and show; DATA=DIR, or MovieLens is downloaded
	@set -eu; mkdir -p $(DEMO); \
	data="$(DATA)"; \
	if [ -n "$$data" ] && [ ! -d "$$data" ]; then \
		echo "There is no folder $$data: name one that holds MovieLens CSVs." >&2; exit 1; \
	fi; \
	if [ -z "$$data" ]; then \
		data=$(DEMO)/ml-latest-small; \
		if [ ! -e $$data/ratings.csv ] && [ ! -e $(DEMO)/synthetic/ratings.csv ]; then \
			$(BIN)/recsvc download ml-latest-small $(DEMO) || echo \
				"make demo goes on with $(SYNTHETIC_RATINGS) synthetic ratings of the same shape." >&2; \
		fi; \
		if [ ! -e $$data/ratings.csv ]; then \
			data=$(DEMO)/synthetic; \
			test -e $$data/ratings.csv || \
				$(BIN)/recsvc synth $$data --ratings $(SYNTHETIC_RATINGS); \
		fi; \
	fi; \
	database=$(DEMO)/$$(basename "$$(cd "$$data" && pwd)").db; \
	export DATABASE_URL="sqlite:///$$database"; \
	echo "export DATABASE_URL=$$DATABASE_URL"; \
	show() { printf '\n$$ recsvc'; printf ' %s' "$$@"; echo; $(BIN)/recsvc "$$@"; }; \
	show db upgrade; \
	show ingest "$$data"; \
	show retrain; \
	show status; \
	show metrics; \
	show recommend 1; \
	show similar 1; \
	movie=$$($(BIN)/recsvc recommend 1 --limit 1 --json | sed -n 's/.*"movie_id": \([0-9]*\).*/\1/p'); \
	show explain 1 "$$movie"

test: lint  ## lint, types, and the whole suite on SQLite and PostgreSQL
	@$(BIN)/pytest -n auto -q

lint: $(READY)
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/deptry . --no-ansi

docs: $(READY)  ## write the generated parts of docs/ again
	@$(BIN)/python docs/generate.py

# What recsvc is measured against has environments of its own, and is no dependency.
PEERS := benchmarks/.peers benchmarks/.peers-rectools

benchmarks/.peers/.ready: benchmarks/peers/requirements.txt
benchmarks/.peers-rectools/.ready: benchmarks/peers/rectools.txt

$(PEERS:%=%/.ready):
	@echo "Setting up $(@D)"
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip --disable-pip-version-check --quiet install -r $<
	@touch $@

BENCHMARKS := night ingest rank evaluate publish

bench: $(READY) $(PEERS:%=%/.ready)  ## measure nights, ingest, ranking, evaluation, publication; minutes
	@for name in $(BENCHMARKS); do $(BIN)/python benchmarks/$$name.py || exit; done

bench-large: $(READY) $(PEERS:%=%/.ready)  ## the same at the size of MovieLens 25M; two hours
	@for name in $(BENCHMARKS); do $(BIN)/python benchmarks/$$name.py --large || exit; done

bench-train: $(READY) $(PEERS:%=%/.ready)  ## measure training against LightFM; half an hour
	@$(BIN)/python benchmarks/train.py $(if $(DATA),--data $(DATA))

wheel: $(READY)  ## build dist/recsvc-*.whl with the locked build dependencies
	@$(PIP) wheel --no-deps --no-build-isolation --wheel-dir dist .

LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-emit-index-url --no-annotate

lock:  ## resolve the dependencies again (needs uv in .venv: pip install uv)
	@test -x $(BIN)/uv || { echo "make lock needs uv: $(BIN)/python -m pip install uv" >&2; exit 1; }
	$(LOCK) --group build -o requirements/build.lock
	$(LOCK) pyproject.toml -o requirements/runtime.lock
	$(LOCK) pyproject.toml --group dev --constraint requirements/runtime.lock -o requirements/dev.lock

clean:  ## remove everything that make has made, .venv included
	rm -rf $(VENV) $(PEERS) $(DEMO) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
