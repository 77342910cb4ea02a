# Needs Python 3.11+ and make; everything else is installed below this folder.
PYTHON ?= python3
BIN := .venv/bin
PIP := -m pip --disable-pip-version-check --quiet
READY := .venv/.ready

.PHONY: help setup demo serve test lake check audit faults bench bench-quick bench-ray bench-lake endure model crash format lock schema clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("File Inventory needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3")'
	$(PYTHON) -m venv .venv
	$(BIN)/python $(PIP) install --require-hashes -r requirements.lock
	$(BIN)/python $(PIP) install --no-deps --no-build-isolation --editable .
	touch $@

# What only the tests need: the real gateway; the DuckDB versions that readers and hosts have; the clients and the tools
# of others; Ray; a lake; each group in an environment of its own.
OTHERS := $(patsubst %,.%/.ready,duckdb-1.4 duckdb-1.5 lake sdks peers recipes recipes-airflow recipes-superset ray)
RAY = PYTHONPATH=$$(echo $(CURDIR)/.ray/lib/python3*/site-packages)

tests/gateway/node_modules/.ready: tests/gateway/package-lock.json
	@if command -v npm >/dev/null; then npm ci --prefix tests/gateway --ignore-scripts --no-audit --no-fund --loglevel=error && touch $@; \
	else echo "npm is not installed: the tests through the real Portkey gateway will be skipped"; fi

.%/.ready: tests/%.txt | $(READY)
	$(BIN)/uv venv --quiet --clear --python $(PYTHON) $(@D)
	$(BIN)/uv pip install --quiet --python $(@D) --no-deps --require-hashes -r $<
	touch $@

demo: $(READY) ## run the main job against the built-in simulator
	rm -rf data/demo
	$(BIN)/file-inventory demo --keep data/demo

serve: $(READY) ## show the service over two weeks of simulated history
	$(BIN)/file-inventory demo --serve --files 8000

test: $(READY) tests/gateway/node_modules/.ready $(OTHERS) ## run all tests
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest --numprocesses=auto --dist=loadfile --ignore=tests/integration/test_ray.py $(PYTEST_ARGS)
	$(RAY) $(BIN)/coverage run -m pytest tests/integration/test_ray.py $(PYTEST_ARGS)
	PYTHONPATH=$$(echo $(CURDIR)/.duckdb-1.5/lib/python3*/site-packages) $(BIN)/coverage run -m pytest tests/unit/test_store.py tests/unit/test_upgrade.py tests/unit/test_query.py tests/unit/test_output.py tests/integration/test_runs.py --numprocesses=2 $(PYTEST_ARGS)
	PYTHONPATH=$(LAKE) $(BIN)/coverage run -m pytest $(LOST) $(LEADS) $(LAKE_TESTS) --numprocesses=2 $(PYTEST_ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --fail-under=97

LAKE = $$(echo $(CURDIR)/.lake/lib/python3*/site-packages)
LAKE_TESTS = --store=lake tests/integration/test_lake.py tests/integration/test_doubts.py
LEADS = tests/integration/test_alerts.py::test_who_leads_next_tells_nothing_twice_and_what_is_over
LOST = tests/integration/test_hosts.py::test_what_a_lost_host_holds_is_free_within_half_a_minute
ROUNDS ?= 50
lake: $(READY) .lake/.ready ## whole runs on a lake: faults, 50 leaders killed, 50 rounds of two hosts at once, hosts lost
	PYTHONPATH=$(LAKE) $(BIN)/python -m pytest $(LAKE_TESTS) $(addprefix tests/integration/test_,runs.py hosts.py) --rounds=$(ROUNDS) --durations=5 $(PYTEST_ARGS)
	PYTHONPATH=$(LAKE) $(BIN)/python -m pytest --store=lake $(addprefix tests/integration/test_,faults.py api.py files_api.py alerts.py crash.py) tests/e2e/test_containers.py --kills=$(KILLS) $(PYTEST_ARGS)
	PYTHONPATH=tests:$(LAKE) $(BIN)/python -m integration.model --store lake --seed $(SEED) --steps 500

check: $(READY) ## lint, format, types, layers, shipped schema
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m etl.config | diff - config/inventory.schema.json

faults: $(READY) tests/gateway/node_modules/.ready ## run every fault in every dialect, print what came of it, beside what others do
	$(BIN)/python tests/benchmarks/faults.py --beside tests/peers.json

audit: $(READY) ## ask PyPI whether what is locked has known vulnerabilities
	test -d .audit || { $(PYTHON) -m venv .audit && .audit/bin/python $(PIP) install pip-audit; }
	@.audit/bin/pip-audit --requirement requirements.lock --disable-pip --require-hashes --no-deps --progress-spinner off > .audit/told 2>&1; \
	status=$$?; \
	if ! grep -q "^Found" .audit/told && grep -Eq "could not be audited|ServiceError|ConnectionError" .audit/told; \
	then echo "skipped: from here PyPI does not tell of the vulnerabilities of $$(grep -c 'could not be audited' .audit/told) packages"; \
	else cat .audit/told; exit $$status; fi

bench: $(READY) ## measure speed and memory, print and keep the figures
	$(BIN)/python tests/benchmarks/bench.py
	$(BIN)/python tests/benchmarks/answers.py

bench-quick: $(READY) ## measure less of it, in under two minutes
	$(BIN)/python tests/benchmarks/bench.py --quick

bench-ray: $(READY) .ray/.ready ## measure fetching on a Ray cluster of one and two workers; CREDENTIALS=1000 for a quick look
	$(RAY) $(BIN)/python tests/benchmarks/cluster.py --credentials $(CREDENTIALS)

bench-lake: $(READY) .lake/.ready ## measure a lake beside a file, and its catalogue over 1,000 runs
	PYTHONPATH=tests:$(LAKE) $(BIN)/python tests/benchmarks/lake.py

endure: $(READY) ## 50 readers for a minute while runs go on; four simulated months
	$(BIN)/python tests/benchmarks/endurance.py load
	$(BIN)/python tests/benchmarks/endurance.py soak

CREDENTIALS ?= 10000
SEED ?= 1
STEPS ?= 10000
model: $(READY) ## compare the inventory with a plain model after each of 10,000 random steps; make model SEED=2
	PYTHONPATH=tests $(BIN)/python -m integration.model --seed $(SEED) --steps $(STEPS)

KILLS ?= 200
crash: $(READY) ## kill 200 runs at random moments, and at every single step; damage files; fill disks
	$(BIN)/python -m pytest tests/integration/test_crash.py --kills=$(KILLS) -rP $(PYTEST_ARGS)

format: $(READY) ## let ruff rewrite what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

LOCK = $(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header --upgrade
lock: $(READY) ## resolve the dependencies anew
	$(LOCK) pyproject.toml --extra otel --group dev -o requirements.lock
	$(LOCK) pyproject.toml --extra lake --extra otel --group build -o config/deploy/lake.lock
	$(LOCK) tests/lake.in -o tests/lake.txt
	$(LOCK) tests/ray.in --constraint requirements.lock -o tests/ray.txt
	$(LOCK) tests/peers.in -o tests/peers.txt
	$(LOCK) tests/recipes.in pyproject.toml -o tests/recipes.txt
	$(LOCK) tests/recipes-airflow.in pyproject.toml -o tests/recipes-airflow.txt
	$(LOCK) tests/recipes-superset.in -o tests/recipes-superset.txt

schema: $(READY) ## write what is written from the code: JSON Schema, columns, guarantees, a store to upgrade from
	$(BIN)/python -m etl.config > config/inventory.schema.json
	$(BIN)/python tests/dictionary.py
	$(BIN)/python tests/benchmarks/faults.py --page
	$(BIN)/python tests/stores/make.py

clean: ## remove all that make made
	rm -rf .venv .audit .duckdb-* .lake .sdks .peers .ray .recipes* tests/gateway/node_modules .coverage* .mypy_cache .pytest_cache .ruff_cache .hypothesis .schemathesis .import_linter_cache build dist
	find etl tests -name __pycache__ -type d -prune -exec rm -rf {} +
