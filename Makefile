# Every target works from a fresh clone: what it needs first, it makes.
# `make` alone lists them. PYTHON=… names another Python 3.11 or newer than python3.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: help
help:  ## List the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r target what; do printf 'make %-8s %s\n' "$$target" "$$what"; done

.PHONY: demo
demo: .venv/installed  ## Run the pipeline on this machine; PAGES=FOLDER replays recorded pages
	@PAGES='$(PAGES)' $(BIN)/python -m demo

.PHONY: test
test: .venv/installed  ## Run the tests; what cannot run here says why
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal $(ARGS)

.PHONY: lint
lint: .venv/installed  ## Check the code: ruff, its formatter, mypy, shellcheck, hadolint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/shellcheck .ci/run k8s/images k8s/offline/build
	$(BIN)/hadolint tasks/*/Dockerfile k8s/offline/*/*Dockerfile

.PHONY: format
format: .venv/installed  ## Format the code, and mend what ruff can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: images
images:  ## Build the three task images, those that are not there yet
	k8s/images build

.PHONY: offline
offline:  ## Build from packages what a container registry would give, where there is none
	k8s/offline/build

.PHONY: lock
lock: .venv/installed  ## Lock the requirements anew; UPGRADE=1 takes the newest versions
	$(BIN)/uv pip compile $(LOCK) requirements.in -o requirements.txt
	for task in init_schema fetch notify; do \
	  $(BIN)/uv pip compile $(LOCK) -c requirements.txt tasks/$$task/requirements.in -o tasks/$$task/requirements.txt || exit; \
	done
LOCK = -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command 'make lock' \
  $(if $(UPGRADE),--upgrade)

.PHONY: clean
clean:  ## Remove the virtual environment and every cache
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis

# --no-deps: the lock file is complete, and pip need not work that out again.
.venv/installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'This needs Python 3.11 or newer: name one with make PYTHON=/path/to/python3'; exit 1; }
	@echo 'Installing into .venv (once, about a minute)'
	@rm -rf .venv
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.txt
	@touch $@
