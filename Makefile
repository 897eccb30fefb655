# Two commands do everything: `make demo` and `make test`. Needs Python 3.11 or newer and make; uv is used if present.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

UV := $(shell command -v uv 2>/dev/null || echo $(BIN)/uv)

.DEFAULT_GOAL := help
# A failed or interrupted setup begins anew: what is half there would be taken for done.
.DELETE_ON_ERROR:
.PHONY: help demo test lint openapi up bench chaos lock clean

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.ready ## Erase 12 product photos end to end; PHOTOS=dir takes your own, YES=1 pays unasked
	@$(BIN)/cleanplate demo $(if $(PHOTOS),--photos "$(PHOTOS)") $(if $(OUT),--out "$(OUT)") $(if $(COUNT),--count $(COUNT)) $(if $(filter 1,$(YES)),--yes)

up: $(VENV)/.ready ## Keep the whole stack running on this machine
	@$(BIN)/cleanplate up

# The journeys mostly wait, so they run beside the others; what they said comes after.
test: lint ## Run every linter and test; a quarter of an hour
	@$(BIN)/python -m pytest tests/journeys >$(VENV)/journeys.log 2>&1 & journeys=$$!; \
	$(BIN)/python -m pytest --ignore=tests/journeys; others=$$?; \
	wait $$journeys; told=$$?; cat $(VENV)/journeys.log; exit $$((others || told))

lint: $(VENV)/.ready-dev ## Run the linters: style, types, import rules
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

openapi: $(VENV)/.ready ## Lint the OpenAPI document with redocly; needs node, and fetches redocly
	@$(BIN)/python -c 'import json; from api.app import app; print(json.dumps(app.openapi(), indent=1))' >$(VENV)/openapi.json
	@npx --yes @redocly/cli@2 lint $(VENV)/openapi.json

bench: $(VENV)/.ready-dev ## Measure the conveyor on the simulator; prints one table
	@$(BIN)/python -m tests.bench

chaos: $(VENV)/.ready-dev ## Kill and freeze everything in mid-batch, at length, and hold the ledger against the promises
	@$(BIN)/python -m pytest -m chaos --long

lock: $(VENV)/.ready ## Choose the newest versions of all dependencies and write both locks
	$(UV) pip compile -q --upgrade --universal --generate-hashes --no-annotate --python-version 3.11 \
	  --custom-compile-command "make lock" --extra local pyproject.toml -o requirements.lock
	$(UV) pip compile -q --upgrade --universal --generate-hashes --no-annotate --python-version 3.11 \
	  --custom-compile-command "make lock" --extra local --extra dev -c requirements.lock pyproject.toml -o requirements-dev.lock

clean: ## Remove what make made here; data of `cleanplate up` stays
	rm -rf $(VENV) demo-out .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info build

$(BIN)/python:
	@command -v "$(PYTHON)" >/dev/null || { echo "there is no $(PYTHON): install Python 3.11 or newer, or set PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit("cleanplate needs Python 3.11 or newer; set PYTHON=python3.12, say" if sys.version_info < (3, 11) else 0)'
	@if command -v uv >/dev/null 2>&1; then uv venv -q --python "$(PYTHON)" $(VENV); \
	else $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install -q --disable-pip-version-check 'uv>=0.9'; fi

$(VENV)/.ready: requirements.lock pyproject.toml | $(BIN)/python
	@echo "setting up from requirements.lock ..." >&2
	@VIRTUAL_ENV=$(VENV) $(UV) pip install -q --compile-bytecode --require-hashes -r requirements.lock
	@VIRTUAL_ENV=$(VENV) $(UV) pip install -q --no-deps --no-build-isolation -e . && $(BIN)/python -m compileall -q cleanplate api worker migrations
	@touch $@

$(VENV)/.ready-dev: requirements-dev.lock $(VENV)/.ready
	@VIRTUAL_ENV=$(VENV) $(UV) pip install -q --compile-bytecode --require-hashes -r requirements-dev.lock
	@touch $@
