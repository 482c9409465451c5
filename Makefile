# `make` alone says what there is to do. Some examples with variables:
#   PORT=8001 make run      make test ARGS="-k expiry -x"      make test DATABASES=sqlite
PYTHON ?= python3.11
export PYTHON
DATABASES ?= sqlite mariadb
# Processes that share the tests.
WORKERS ?= 2

python := .venv/bin/python

# Runs the tests that a marker expression selects, on each database, and fails if one run failed. pytest's 5
# means that nothing was selected: fine for one database (some tests are for the other), not for all of them.
define pytest
	@outcome=5; for database in $(DATABASES); do \
		TEST_DATABASE=$$database $(python) -m pytest -n $(WORKERS) -m "$(1)" $(2) $(ARGS); code=$$?; \
		case $$code,$$outcome in 5,*) ;; *,[05]) outcome=$$code ;; esac; \
	done; exit $$outcome
endef

.DEFAULT_GOAL := help
.PHONY: help setup run serve test test-faults screenshots bench bench-quick lint format messages requirements clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: ## Prepare .venv and the system packages for development and tests
	@deploy/setup.sh dev

run: ## Serve the shop with demo data at http://127.0.0.1:8000 (SQLite, nothing else needed)
	@deploy/run.sh

serve: ## Serve what the environment names (DATABASE_URL, REDIS_URL, ...), without demo data and worker
	@deploy/serve.sh

test: ## Run the tests on SQLite, then on a private MariaDB (ARGS="-k name" narrows them)
	@deploy/setup.sh dev
	@rm -f var/coverage
	$(call pytest,not faults,--cov --cov-append --cov-report= --cov-fail-under=0)
	@[ -n "$(ARGS)" ] || $(python) -m coverage report

test-faults: ## Run the long fault injection tests (kill -9, lost servers)
	@deploy/setup.sh dev
	$(call pytest,faults)

screenshots: ## Draw the desk's main pages, in both languages and two widths, into var/screenshots/
	@deploy/setup.sh pictures
	@$(python) -m tests.browser.screenshots

bench: ## Measure every lane under load (takes a while, wants an idle machine)
	@deploy/setup.sh bench
	@$(python) -m tests.load $(ARGS)

bench-quick: ## Measure for a few minutes only, to see that nothing became slow
	@deploy/setup.sh bench
	@$(python) -m tests.load --quick $(ARGS)

lint: ## Check style, formatting, the way imports go, requirements and types
	@deploy/setup.sh dev
	$(python) -m ruff check .
	$(python) -m ruff format --check .
	.venv/bin/lint-imports --no-cache --no-logo
	$(python) -m deptry .
	DEBUG=1 $(python) -m mypy

format: ## Rewrite the code in the house style
	@deploy/setup.sh dev
	$(python) -m ruff check --fix .
	$(python) -m ruff format .

messages: ## Bring the translations (locale/) up to date with the source
	@deploy/setup.sh dev
	@$(python) -m tests.support.messages

# The index is whichever pip is set to use; its name does not belong into the files.
compile = CUSTOM_COMPILE_COMMAND="make requirements" $(python) -m piptools compile --quiet --generate-hashes \
	--allow-unsafe --strip-extras --no-emit-index-url --no-emit-trusted-host --no-emit-find-links $(ARGS)

requirements: ## Lock what requirements*.in name (ARGS=--upgrade for newer versions)
	@deploy/setup.sh dev
	$(compile) --output-file requirements.txt requirements.in
	$(compile) --output-file requirements-dev.txt requirements-dev.in

clean: ## Remove .venv and caches (the demo database in var/ stays)
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis var/static var/metrics
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
