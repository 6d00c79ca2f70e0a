# Linux and macOS (GNU make 3.81 or later); README.md has the same for Windows.
#   make run      open the window, or run the default scenario where there is no screen
#   make test     run all checks
#   make lint     only style and import directions
#   make types    only mypy
#   make screenshots  pictures of every page, into build/screenshots
#   make clean    remove what was made here
#   make PYTHON=python3.12 test    with that Python; .venv is made anew if it has another

PYTHON =
VENV = .venv
BIN = $(VENV)/bin
# One stamp for each interpreter and each set of packages, so that a second run starts at once.
READY = $(VENV)/ready$(if $(PYTHON),-$(subst /,_,$(PYTHON)))

.PHONY: help run test lint types screenshots clean
.NOTPARALLEL:

help:
	@sed -n 's/^#   //p' Makefile

run: $(READY)-run
	@$(BIN)/python main.py

test: lint types
	$(BIN)/python -m pytest -n auto

lint: $(READY)-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-logo

types: $(READY)-test
	$(BIN)/mypy

screenshots: $(READY)-test
	$(BIN)/python scripts/screenshots.py build/screenshots

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY)-run: pyproject.toml constraints.txt
	@sh scripts/install.sh "$(VENV)" . "$(PYTHON)"
	@touch $@

$(READY)-test: pyproject.toml constraints.txt
	@sh scripts/install.sh "$(VENV)" ".[test]" "$(PYTHON)"
	@touch $@ $(READY)-run
