# make run and make test are all a newcomer needs. Each sets up .venv first, which is quick when nothing changed.
# PYTHON names the interpreter for .venv: make run PYTHON=/path/to/python3.12
SHELL := /bin/bash
export PYTHON
.DEFAULT_GOAL := help
.PHONY: help run test setup web browser lint types unit soak audit clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /make \1	/p' Makefile

run: ## set up and serve on port 7100
	@scripts/motion/setup server
	@scripts/motion/serve

test: setup ## set up and run every check: format, lint, types, generated files, tests
	@scripts/motion/check
	@scripts/motion/test

setup: ## make .venv with everything that running and checking needs
	@scripts/motion/setup dev

web: ## build the page and the player into motion_service/web/static (needs Node.js)
	@scripts/motion/build_web

browser: setup ## install what the browser tests need (Chromium, npm packages) and run them
	@scripts/motion/setup_browser
	@scripts/motion/test tests/browser tests/export/test_vrma.py

lint: setup ## format and lint only
	@scripts/motion/check format lint

types: setup ## types only
	@scripts/motion/check types

unit: setup ## tests only
	@scripts/motion/test

soak: setup ## an hour of faults, then overload, kills, ends and 10,000 made-up requests (SOAK="--minutes 3" for less)
	@.venv/bin/python scripts/motion/soak $(SOAK)

audit: setup ## look up known vulnerabilities of every pinned package (asks the package index)
	@.venv/bin/python -m venv .venv/audit && .venv/audit/bin/pip install --quiet pip-audit==2.10.1
	@.venv/audit/bin/pip-audit --strict --no-deps --disable-pip -r constraints.txt

clean: ## remove .venv, caches and built packages; models and data stay
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
	find motion_service tests scripts examples -name __pycache__ -type d -prune -exec rm -rf {} +
