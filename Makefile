# `make demo` and `make test` are all the set-up there is: each makes .venv when it is not there.

PYTHON ?= python3
VENV := .venv
INSTALLED := $(VENV)/.installed

.PHONY: demo test lint docs

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --editable '.[test,docs]'
	@touch $@

demo: $(INSTALLED)
	$(VENV)/bin/platorep run toyworld --offline > /dev/null
	$(VENV)/bin/python scripts/check_toyworld.py results/toyworld
	@echo "Open results/toyworld/report.html, or results/toyworld/figures/scaling.png; docs/toyworld.md says what they show."

test: $(INSTALLED)
	$(VENV)/bin/python -m pytest -n auto --dist worksteal

lint: $(INSTALLED)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/codespell

# Material for MkDocs announces its successor at every build; CONTRIBUTING says why it is not taken
# yet. Not `--quiet`, which hides warnings from `--strict` too.
docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict
	@echo "Open site/index.html through a server, such as: $(VENV)/bin/python -m http.server --directory site"
