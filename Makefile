# Two commands: `make run` and `make test`. Both set up .venv first where it is missing.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install run sweep study results figures test test-all check lint types format \
	tensorboard clean

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	"this needs Python 3.11 or later, $(PYTHON) is " + sys.version.split()[0] + "; name another: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

# What is installed, as stamp files: the package alone to run, with the tools to develop.
$(VENV)/installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install -q -c constraints.txt -e .
	@touch $@

$(VENV)/installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/installed

install: $(VENV)/installed-dev ## the package and the development tools into .venv

run: $(VENV)/installed ## the main job: the basic module with the hand-written backward on the digits
	$(BIN)/python -m context_agg.train model=basic backprop=manual $(ARGS)

sweep: $(VENV)/installed ## auto, manual, broken x two initialisations x three seeds, and a table; DATA=mnist MODEL=large
	$(BIN)/python -m context_agg.train -m backprop=auto,manual,broken model.init=identity,normal \
	seed=0,1,2 hydra/launcher=joblib $(if $(DATA),data=$(DATA)) $(if $(MODEL),model=$(MODEL)) $(ARGS)

study: $(VENV)/installed ## repeat a study: make study NAME=post; without a name, a list with the time each took
	$(BIN)/python -m studies $(NAME)

results: $(VENV)/installed ## all studies: what docs/results lacks is run and recorded, the documents made anew
	$(BIN)/python -m studies all

figures: $(VENV)/installed ## every figure and table of README and docs, from the recorded numbers
	$(BIN)/python -m studies all --draw

# Every test has one thread, so they run side by side, a process per core.
PYTEST = $(BIN)/python -m pytest -n auto --dist worksteal

test: $(VENV)/installed-dev ## the test suite, without what is slow
	$(PYTEST) -m 'not slow and not notebook' $(ARGS)

test-all: test ## the test suite, and then what is slow and the tour
	$(PYTEST) -m 'slow or notebook' $(ARGS)

check: lint types test-all ## all that CI asks for

lint: $(VENV)/installed-dev ## ruff: style, imports, docstrings
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed-dev ## mypy --strict
	$(BIN)/mypy

format: $(VENV)/installed-dev ## rewrite the code in ruff's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

tensorboard: $(VENV)/installed ## the curves of all runs, in the browser
	$(BIN)/tensorboard --logdir outputs $(ARGS)

clean: ## remove .venv and caches; outputs/ is kept
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find context_agg tests studies -name __pycache__ -type d -exec rm -rf {} +
