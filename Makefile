# Every target works from a fresh clone: what it needs first, it makes.
# `make` alone lists them. PYTHON=… names another Python 3.11 or newer than python3.

PYTHON ?= python3
BIN := .venv/bin
OFFLINE := k8s/offline
SYFT := $(or $(shell command -v syft),$(BIN)/syft)

.PHONY: help
help:  ## List the targets
	@sed -nE 's/^([a-z0-9-]+):.*## (.*)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r target what; do printf 'make %-8s %s\n' "$$target" "$$what"; done

.PHONY: demo
demo: .venv/installed  ## Run the pipeline on this machine; SERVE=yes serves its site; PAGES=… replays recorded pages
	@PAGES='$(PAGES)' SERVE='$(SERVE)' CHECK_CHANNELS='$(CHECK_CHANNELS)' $(BIN)/python -m demo

.PHONY: replay
replay: .venv/installed  ## Replay recorded pages, a run every ten minutes, and print what is told; PAGES=…
	@PAGES='$(PAGES)' PYTHONPATH=tasks $(BIN)/python -m demo.replay

.PHONY: test
test: .venv/installed  ## Run the tests; what cannot run here says why; RECORDED_PAGES=FOLDER: on real pages, too
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal $(ARGS)

.PHONY: e2e
e2e: .venv/installed  ## Deploy to a real cluster from nothing, and test it in a real browser; WITH='stream search': these, too
	$(BIN)/python -m pytest -x -s tests/e2e $(ARGS)

.PHONY: faults
faults: .venv/installed  ## Kill everything once, and let the services fail; SEED=… does the same again
	SEED='$(SEED)' $(BIN)/python -m pytest -s tests/faults $(ARGS)

.PHONY: bench
bench: .venv/installed  ## Measure what matters to a user; ONLY='store steps objects crawl publish stream search images cluster' chooses
	@PAGES='$(PAGES)' PYTHONPATH=tasks $(BIN)/python -m bench $(ONLY) $(ARGS)

.PHONY: lint
lint: .venv/installed  ## Check the code: ruff, its formatter, mypy, shellcheck, hadolint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/shellcheck .ci/run $(OFFLINE)/build $(OFFLINE)/airflow/entrypoint $(OFFLINE)/airflow/clean-logs \
	  $(OFFLINE)/node/kindnetd $(OFFLINE)/s3/entrypoint $(OFFLINE)/kafka/run $(OFFLINE)/node/kubernetes/update \
	  $(OFFLINE)/opensearch/assemble $(OFFLINE)/opensearch/entrypoint
	$(BIN)/hadolint tasks/*/Dockerfile dags/Dockerfile $(OFFLINE)/*/*Dockerfile

.PHONY: format
format: .venv/installed  ## Format the code, and mend what ruff can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: images
images:  ## Build the images of the steps, those that are not there yet
	@$(PYTHON) -m deploy images build tasks

# The deployment. It needs no virtual environment: Python, docker, kind, helm and kubectl are enough.
.PHONY: up
up:  ## Deploy to a kind cluster, from nothing or from anything; STAND_INS=yes: without the real services
	@SCHEDULE='$(SCHEDULE)' $(PYTHON) -m deploy up

.PHONY: deploy
deploy:  ## Deploy to the cluster KUBE_CONTEXT, images by IMAGE_REGISTRY; the commands below take KUBE_CONTEXT, too
	@SCHEDULE='$(SCHEDULE)' $(PYTHON) -m deploy deploy

.PHONY: trigger
trigger:  ## Run the DAG once on the cluster, and wait for its end
	@$(PYTHON) -m deploy trigger

.PHONY: logs
logs:  ## Print a task's log, by kubectl; TASK=fetch_and_store_data
	@$(PYTHON) -m deploy logs $(TASK)

.PHONY: rows
rows:  ## Show the launches that the cluster has stored
	@$(PYTHON) -m deploy psql 'SELECT id, launch_id, name, net, image_url FROM rocket_launches;'

.PHONY: psql
psql:  ## Open psql on the cluster's launches
	@$(PYTHON) -m deploy psql

.PHONY: links
links:  ## Show what is known of the pictures and pages that the nearest launch links to
	@$(PYTHON) -m deploy links

.PHONY: check-channels
check-channels:  ## Say what each channel would be sent now, by what is deployed, and send nothing
	@$(PYTHON) -m deploy check-channels

.PHONY: changes
changes:  ## Print the newest changes from Kafka; FOLLOW=yes: each that comes
	@FOLLOW='$(FOLLOW)' $(PYTHON) -m deploy changes

# By the environment and as they were typed: no shell, nor make, reads a quote or a dollar in them.
override Q := $(value Q)
override PROVIDER := $(value PROVIDER)
override SINCE := $(value SINCE)
override STATUS := $(value STATUS)
export Q PROVIDER SINCE STATUS

.PHONY: search
search:  ## Search the launches; Q='falcon geostationary next month', PROVIDER=…, SINCE=…, STATUS=…
	@$(PYTHON) -m deploy search

.PHONY: rebuild
rebuild:  ## Make the launches' tables again from the object store; SINCE=…, DRY_RUN=yes: say what would differ
	@SINCE='$(SINCE)' DRY_RUN='$(DRY_RUN)' $(PYTHON) -m deploy rebuild

.PHONY: check-store
check-store:  ## Compare the object store with the tables, and say what is missing or was altered
	@$(PYTHON) -m deploy check-store

.PHONY: backup
backup:  ## Write the cluster's launches into a file here
	@$(PYTHON) -m deploy backup

.PHONY: restore
restore:  ## Put a backup in the place of the cluster's launches; FILE=launches-….dump
	@$(PYTHON) -m deploy restore '$(FILE)'

.PHONY: status
status:  ## Say how old the newest of everything is, and show the cluster's releases and pods
	@$(PYTHON) -m deploy status

.PHONY: down
down:  ## Delete the cluster and all that is in it
	@$(PYTHON) -m deploy down

.PHONY: offline
offline:  ## Build from packages what a container registry would give, where there is none
	$(OFFLINE)/build

# Without greenlet, which is there for SQLAlchemy's asyncio alone and is 3 MB.
.PHONY: lock
lock: .venv/installed  ## Lock the requirements anew; UPGRADE=1 takes the newest versions
	$(BIN)/uv pip compile $(LOCK) --python-version 3.11 requirements.in tasks/*/requirements.in -o requirements.txt
	for file in tasks/*/requirements.in; do \
	  $(BIN)/uv pip compile $(LOCK) --python-version 3.11 -c requirements.txt --no-emit-package greenlet \
	    $$file -o $${file%.in}.txt || exit; \
	done
	$(BIN)/uv pip compile $(LOCK) --python-version 3.13 --no-deps dags/requirements.in -o dags/requirements.txt
	$(BIN)/uv pip compile $(LOCK) --python-version 3.13 $(OFFLINE)/airflow/requirements.in -o $(OFFLINE)/airflow/requirements.txt
LOCK = -q --universal --generate-hashes --no-emit-index-url --custom-compile-command 'make lock' \
  $(if $(UPGRADE),--upgrade)

# By OSV: PyPI's own service says nothing where an index in between does not pass it on, and that would look like health.
# A file at a time, as the files differ in a version. An exception is a line --ignore-vuln ID, with its reason.
.PHONY: audit
audit: .venv/installed  ## Ask OSV for the known vulnerabilities of every Python package that is pinned
	@for file in requirements.txt dags/requirements.txt tasks/*/requirements.txt $(OFFLINE)/*/requirements.txt; do \
	  said=$$($(BIN)/pip-audit --disable-pip --progress-spinner off -s osv $(if $(OSV),--osv-url $(OSV)) -r $$file 2>&1) \
	    || failed=1; \
	  case $$said in \
	    *'known vulnerabilit'*) echo "$$file: $$said" ;; \
	    *) echo "$$file could not be audited: $$(echo "$$said" | tail -n 1)"; exit 1 ;; \
	  esac; \
	done; exit $${failed:-0}

.PHONY: sbom
sbom: images $(SYFT)  ## List what is in each task image, Debian's and Python's packages, as CycloneDX in artifacts/sbom
	@for image in $$($(PYTHON) -m deploy images | sed '/AIRFLOW/d; s/.*=//'); do \
	  name=$${image##*/} && sbom=artifacts/sbom/$${name%%:*}.json && \
	  $(SYFT) scan --quiet "docker:$$image" -o "cyclonedx-json=$$sbom" && echo "$$sbom" || exit; \
	done

# Where there is no syft on PATH, Go makes one, once, in some minutes.
$(BIN)/syft: .venv/installed
	GOBIN='$(CURDIR)/$(BIN)' CGO_ENABLED=0 go install github.com/anchore/syft/cmd/syft@v1.57.0

.PHONY: clean
clean:  ## Remove the virtual environment and every cache
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

# --no-deps: the lock file is complete, and pip need not work that out again.
.venv/installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'This needs Python 3.11 or newer: name one with make PYTHON=/path/to/python3'; exit 1; }
	@echo 'Installing into .venv (once, about a minute)'
	@rm -rf .venv
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.txt
	@touch $@
