# Two commands do everything: `make demo` and `make test`. `make help` lists the rest.
SHELL := /bin/sh
VENV ?= .venv
BIN := $(VENV)/bin
ASYNC := .venv-ib-async
KEEP ?= 0
ARGS ?=
# Many tests wait for processes, so six workers share two cores well (five left a quarter of them idle); a file's tests stay together, and all workers share one Kafka.
WORKERS ?= 6
# In full the counted suites kill and stop more, each beside the others; fewer at a time keep their wall-time bounds meaningful.
FULL_WORKERS ?= 3
PARALLEL = -n $(WORKERS) --dist loadfile --no-loadscope-reorder
# Engines are everything pure; the services are the thin shells around them, as in the purity lint of pyproject.toml.
ENGINES := triplane/domain/*,data_plane/*,strategy_plane/*,order_plane/*,triplane/control/engine.py
SERVICES := */__main__.py,data_plane/daemon/*,data_plane/sources/*,strategy_plane/worker/*,order_plane/daemon/*,order_plane/kill/http.py,order_plane/kill/switch.py

# Daemons start often here, and compiling the tree anew takes each a quarter of a second.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test coverage test-full test-ib-async lint typecheck format bench lock docs clean
.DEFAULT_GOAL := help

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort

$(VENV)/.ready: pyproject.toml requirements/ib-insync.txt deploy/setup.sh
	@deploy/setup.sh $(VENV) ib-insync

$(ASYNC)/.ready: pyproject.toml requirements/ib-async.txt deploy/setup.sh
	@deploy/setup.sh $(ASYNC) ib-async

demo: $(VENV)/.ready ## three planes trade a simulated market around 2018-02-05 (KEEP=1 leaves them running)
	@$(BIN)/triplane demo $(if $(filter 1,$(KEEP)),--keep) $(ARGS)

test: $(VENV)/.ready ## all tests, counted suites in their short form
	@$(BIN)/python -m pytest -q $(PARALLEL) $(ARGS)

coverage: $(VENV)/.ready ## engines >= 90 % by branch, the whole >= 80 %, by the tests that need neither Kafka nor a process to kill
	@mkdir -p build && rm -f .coverage .coverage.*
	@# A traced interpreter takes three times as long, and so may its tests.
	@$(BIN)/python -m pytest -q $(PARALLEL) --timeout=540 --cov --cov-report= -m "not integration and not chaos" $(ARGS)
	@$(BIN)/coverage report --include="$(ENGINES)" --omit="$(SERVICES)" --fail-under=90 >build/coverage-engines.txt || { cat build/coverage-engines.txt; exit 1; }
	@$(BIN)/coverage report --fail-under=80 >build/coverage-whole.txt || { cat build/coverage-whole.txt; exit 1; }
	@echo "statements, missed, branches, partly taken, covered by branch" && sed -n 's/^TOTAL/engines      /p' build/coverage-engines.txt && sed -n 's/^TOTAL/whole project/p' build/coverage-whole.txt

test-full: WORKERS = $(FULL_WORKERS)
test-full: $(VENV)/.ready ## the counted suites with their full counts
	@TRIPLANE_FULL=1 $(BIN)/python -m pytest -q $(PARALLEL) -m counted $(ARGS)

test-ib-async: $(ASYNC)/.ready ## the broker tests with ib_async instead of ib_insync
	@$(ASYNC)/bin/python -m pytest -q $(PARALLEL) tests/broker tests/paper $(ARGS)

lint: $(VENV)/.ready ## ruff, import directions, purity
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-cache

typecheck: $(VENV)/.ready ## mypy on the whole tree
	@$(BIN)/mypy

format: $(VENV)/.ready ## apply ruff's fixes and format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(VENV)/.ready ## latency and throughput beside raw limits measured in the same run
	@$(BIN)/python -m benchmarks $(ARGS)

docs: $(VENV)/.ready ## regenerate the generated pages and targets.yaml
	@$(BIN)/python -m triplane.control.document
	@$(BIN)/python -m triplane.runtime.settings >docs/environment.md

lock: $(VENV)/.ready ## pin every dependency, with hashes, for both broker clients
	@for client in ib-insync ib-async; do \
	  $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	    --extra $$client --extra demo --extra test --output-file requirements/$$client.txt pyproject.toml; done

clean: ## remove environments, caches and local state
	rm -rf $(VENV) $(ASYNC) .triplane .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*
