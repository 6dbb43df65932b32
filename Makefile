# The verbs of this repository; CI calls the same ones. `make help` lists them.
# Needs Python 3.11 or later (PYTHON=/path/to/python picks one) and a POSIX shell; everything else comes with install.

VENV := .venv
BIN := $(VENV)/bin
# A tool that is named without a path (sluice calls dbt) is the one of the environment.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DBT_SEND_ANONYMOUS_USAGE_STATS := false
export DO_NOT_TRACK := 1

# Longest first, as two run at a time. A failed one is run alone by its name, e.g. `make check-types`.
CHECKS := check-conventions check-types check-project check-sql check-sqlfmt check-format check-lint
PYTHON_CODE := pipelines sandbox servers bench tests .ci
SQL_CODE := models macros tests/generic tests/data

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

.PHONY: install
install: $(VENV)/.installed ## make .venv from the hash-checked requirements.lock

$(VENV)/.installed: requirements.lock $(wildcard pyproject.toml */pyproject.toml) .ci/install .ci/uv.txt
	@.ci/install $(VENV)
	@touch $@

.PHONY: run
run: install ## sandbox company, load, build, docs, in one go
	@$(BIN)/sluice run --sandbox

.PHONY: catalog
catalog: install ## write target/catalog.html from the last run
	@$(BIN)/sluice catalog

.PHONY: review
review: install ## what this branch changes: make review BASE=main
	@$(BIN)/sluice review --base $(or $(BASE),main) $(ARGS)

.PHONY: check
check: install ## lint, types, conventions, declarations; no warehouse
	@$(MAKE) --no-print-directory --keep-going --jobs 2 $(CHECKS)

STEP = @.ci/step $(@:check-%=%)

.PHONY: $(CHECKS)
check-conventions:
	$(STEP) $(BIN)/sluice check

check-types:
	$(STEP) $(BIN)/mypy

check-sql:
	$(STEP) $(BIN)/sqlfluff lint --processes 1 --disable-progress-bar models tests/data

check-sqlfmt:
	$(STEP) $(BIN)/sqlfmt --check --no-progressbar $(SQL_CODE)

check-format:
	$(STEP) $(BIN)/ruff format --check --output-format concise $(PYTHON_CODE)

check-lint:
	$(STEP) $(BIN)/ruff check --output-format concise $(PYTHON_CODE)

check-project:
	$(STEP) $(BIN)/pytest -q -m "not full" tests/project

.PHONY: format
format: install ## format Python and SQL, fix what ruff can fix
	@$(BIN)/ruff check --quiet --fix --exit-zero $(PYTHON_CODE)
	@$(BIN)/ruff format $(PYTHON_CODE)
	@$(BIN)/sqlfmt --no-progressbar $(SQL_CODE)

# One more at a time than there are processors: tests wait for servers and processes for a third of their time.
.PHONY: test
test: install ## the tests, without the long suites
	@$(BIN)/pytest -q -m "not full" --numprocesses 3 --dist loadfile $(ARGS)

.PHONY: test-full
test-full: install ## the long suites: crashes, soaks, corpora
	@$(BIN)/pytest -q -m "full and not alone" --numprocesses 2 --dist worksteal --durations 10 $(ARGS) || [ $$? -eq 5 ]
	@$(BIN)/pytest -q -m "full and alone" --durations 10 $(ARGS) || [ $$? -eq 5 ] # ARGS may name none of them

.PHONY: bench
bench: install ## measure loads against DuckDB alone; ARGS="--only csv", "--large", "--help"
	@$(BIN)/python -m bench $(ARGS)

.PHONY: schema
schema: install ## write the JSON Schemas that editors use for sources/*.yml and audiences.yml
	@mkdir -p schemas
	@$(BIN)/sluice schema > schemas/source.schema.json
	@$(BIN)/sluice schema audiences > schemas/audiences.schema.json

.PHONY: dist
dist: install ## the wheels and their locks, in dist/
	@$(BIN)/python .ci/dist.py dist 2>/dev/null

.PHONY: lock
lock: ## resolve requirements.lock again (needs uv)
	uv pip compile --quiet pyproject.toml --universal --extra project --extra sandbox --extra dev --generate-hashes --no-emit-index-url --no-header \
	  -o requirements.lock
	echo uv | uv pip compile --quiet - --universal --generate-hashes --no-emit-index-url --no-header --no-annotate \
	  -o .ci/uv.txt

.PHONY: clean
clean: ## remove what runs made: warehouse/, target/, logs/, dist/, caches
	@if [ -x $(BIN)/sluice ] && [ -d warehouse ]; then $(BIN)/sluice sandbox down; fi
	@rm -rf warehouse target logs dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
