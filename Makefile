# Everything runs from .venv, which `demo` and `test` make by themselves: only Python 3.11 to 3.13
# and make are needed. A stamp file stands for each set of packages, so that a second run is instant.

VENV := .venv
BIN := $(VENV)/bin
RUN := $(VENV)/.ready-run
DEV := $(VENV)/.ready-dev
BENCH := $(VENV)/.ready-bench
# one worker more than processors, for tests with the real kernel mostly wait; no more than 8
WORKERS := $(shell n=$$(nproc 2>/dev/null || echo 2); [ $$n -gt 7 ] && n=7; echo $$((n + 1)))
.DEFAULT_GOAL := help
.PHONY: help demo test lint bench costs clean
.NOTPARALLEL:

help: ## what can be made
	@echo 'scapystack: a user-space TCP/IP stack whose frames are Scapy packets'
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1	\2/p' Makefile

demo: $(RUN) ## the stack beside a real Linux kernel (as root), or beside itself, step by step
	@$(BIN)/python -m scapystack demo

# without its bytecode kept, each worker and each of a hundred child processes would compile everything again
test: export PYTHONDONTWRITEBYTECODE =
test: $(DEV) ## all tests; those on a real TAP need root, and skip with a reason without it
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

lint: $(DEV) ## ruff, mypy --strict, import contracts
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check .
	@$(BIN)/python -m mypy
	@$(BIN)/lint-imports

bench: $(BENCH) ## what everything costs; ONLY=regex chooses, QUICK=1 is short, BASE=commit compares with it
	@$(BIN)/python -m benchmarks $(if $(ONLY),--only '$(ONLY)') $(if $(QUICK),--quick) $(if $(BASE),--base '$(BASE)')

costs: $(BENCH) ## what a packet costs as connections, windows, losses, routes, fragments grow, drawn into docs/
	@$(BIN)/python -m benchmarks.costs --document

clean: ## remove what was made here
	@rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info demo.pcapng
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(RUN): pyproject.toml .ci/venv
	@sh .ci/venv $(VENV) .
	@touch $@

$(DEV): pyproject.toml .ci/venv
	@sh .ci/venv $(VENV) '.[dev]'
	@touch $(RUN) $@

$(BENCH): $(RUN)
	@sh .ci/venv $(VENV) '.[bench]'
	@touch $@
