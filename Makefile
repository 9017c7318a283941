# `make demo` and `make test` set up everything they need; `make help` lists the rest.
SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
RUN_STAMP := $(VENV)/.installed-run
DEV_STAMP := $(VENV)/.installed-dev

.PHONY: help demo test check types fmt docs migrate serve drain bench lock install clean

help:
	@sed -n 's/^## //p' Makefile

$(VENV)/bin/python:
	@sh scripts/make_venv.sh $(VENV)

$(RUN_STAMP): $(VENV)/bin/python requirements/run.lock requirements/build.lock pyproject.toml
	@sh scripts/install_locked.sh $(VENV) requirements/run.lock requirements/build.lock
	@touch $@

$(DEV_STAMP): $(VENV)/bin/python requirements/dev.lock pyproject.toml
	@sh scripts/install_locked.sh $(VENV) requirements/dev.lock
	@touch $@ $(RUN_STAMP)

## make install   set up .venv for development
install: $(DEV_STAMP)

## make demo      seed ten phases and drain them with recorded answers: no key, no network
demo: $(RUN_STAMP)
	@$(BIN)/autopack demo

## make test      all tests
test: $(DEV_STAMP)
	@$(BIN)/python -m pytest -n 3 --dist worksteal tests

## make check     format, lint, types, tests: what CI runs
check: $(DEV_STAMP)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(MAKE) --no-print-directory -j 2 types test

types: $(DEV_STAMP)
	@$(BIN)/mypy

## make fmt       put the code into the project's format
fmt: $(DEV_STAMP)
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

## make docs      write docs/openapi.json and docs/cli.md anew from the code
docs: $(DEV_STAMP)
	@$(BIN)/python -m autopack.cli.openapi > docs/openapi.json
	@$(BIN)/python -m autopack.cli.reference > docs/cli.md

## make migrate   bring the database to this version's schema (DATABASE_URL, else ./autopack.db)
migrate: $(RUN_STAMP)
	@$(BIN)/autopack migrate $(ARGS)

## make serve     serve the API on 127.0.0.1:8000 (ARGS="--port 9000")
serve: $(RUN_STAMP)
	@$(BIN)/autopack serve $(ARGS)

## make drain     drain a run: make drain RUN=my-run (ARGS="--concurrency 2")
drain: $(RUN_STAMP)
	@test -n "$(RUN)" || { echo "make drain: name the run, as in: make drain RUN=my-run" >&2; exit 2; }
	@$(BIN)/autopack drain --run-id "$(RUN)" $(ARGS)

## make bench     measure what docs/performance.md shows
bench: $(DEV_STAMP)
	@$(BIN)/python benchmarks/drain.py $(ARGS)

## make lock      resolve requirements/*.lock anew (needs uv)
lock:
	uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header pyproject.toml -o requirements/run.lock
	uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header requirements/build.in -c requirements/run.lock -o requirements/build.lock
	uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header pyproject.toml --group dev -c requirements/run.lock -o requirements/dev.lock

## make clean     remove what the targets above made, and nothing else
clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .autopack/demo build dist
