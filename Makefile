# Everything a developer runs; each target makes the environment first, which takes a while once and nothing after.

SHELL := /bin/sh
PY := .venv/bin/python
export PYTHON

.DEFAULT_GOAL := help
.PHONY: help python setup demo dev test prove cover lint lock settings licences clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+%?:.*## /{printf "  make %-14s %s\n", $$1, $$2}' Makefile

python:
	@ops/bootstrap

setup: python ## the environment: .venv from requirements.lock, and what the JavaScript tests need, from npm
	@ops/bootstrap-js

demo: python ## one whole spoken conversation, on this machine alone
	@.venv/bin/invorto demo $(ARGS)

dev: python ## a server with its own stores, until Ctrl-C
	@.venv/bin/invorto dev $(ARGS)

test: setup ## all tests; ARGS="tests/audio -x" for some
	@$(PY) -X dev -m pytest $(ARGS)

prove: setup ## the same proofs at their stated counts: takes long
	@PROVE=1 $(PY) -X dev -m pytest -m "" $(ARGS)

cover: python ## which lines and branches of the pure cores no test reaches; must be none
	@$(PY) -m ops.guards.cover $(ARGS)

lint: setup ## form, types, layers, guards: all of .ci/run but the tests
	@bash .ci/run lint

bench-%: python ## measure: calls, churn, ...; a table, then one JSON line
	@test -e ops/bench/$*.py -o -d ops/bench/$* || { echo "there is no bench '$*' in ops/bench/" >&2; exit 2; }
	@$(PY) -m ops.bench.$* $(ARGS)

lock: python ## resolve pyproject.toml into the locks; ARGS=--upgrade for newer versions
	@$(PY) -m ops.guards.locks --write $(ARGS)

settings: python ## write .env.example and the README's table from invorto/config.py
	@$(PY) -m ops.guards.settings --write

licences: python ## write the table of docs/licences.md from what is installed
	@$(PY) -m ops.guards.licences --write

clean: ## remove the environment, caches and builds; `invorto dev`'s data stays
	rm -rf sdk/js/dist sdk/js/node_modules .venv .pytest_cache .ruff_cache .hypothesis .import_linter_cache htmlcov dist build .coverage*
	find . -name __pycache__ -type d -not -path './node_modules/*' -exec rm -rf {} +
