# The two main commands are `make run` and `make test`. Both first set up .venv if it is missing.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install run sweep study results figures bench test test-all check lint types format \
	docs tensorboard clean

help: ## print this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	"this needs Python 3.11 or later, but $(PYTHON) is " + sys.version.split()[0] + "; name another: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

# Stamp files record what is installed: the package alone, or also the development tools.
$(VENV)/installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install -q -c constraints.txt -e .
	@touch $@

$(VENV)/installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/installed

$(VENV)/installed-slurm: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[slurm]'
	@touch $@ $(VENV)/installed

install: $(VENV)/installed-dev ## install the package and the development tools into .venv

run: $(VENV)/installed ## train the basic module with the hand-written backward pass on the digits
	$(BIN)/python -m context_agg.train model=basic backprop=manual $(ARGS)

sweep: $(VENV)/installed$(if $(filter slurm,$(LAUNCHER)),-slurm) ## compare auto, manual and broken, two initialisations, three seeds; DATA=mnist LAUNCHER=slurm
	$(BIN)/python -m context_agg.train -m backprop=auto,manual,broken model.init=identity,normal \
	seed=0,1,2 hydra/launcher=$(or $(LAUNCHER),joblib) $(if $(DATA),data=$(DATA)) $(if $(MODEL),model=$(MODEL)) $(ARGS)

study: $(VENV)/installed ## repeat a study, such as NAME=post; without a name, list all studies with their times
	$(BIN)/python -m studies $(NAME)

results: $(VENV)/installed ## run and record what docs/results lacks, then remake all figures and tables
	$(BIN)/python -m studies all

figures: $(VENV)/installed ## draw every figure and table of README and docs; trains nothing
	$(BIN)/python -m studies all --draw
	$(BIN)/python -m benchmarks --draw

bench: $(VENV)/installed ## time training beside PyTorch, Keras and JAX, where installed; a quarter of an hour; NAME=step
	$(BIN)/python -m benchmarks $(NAME)

# Every test has one thread, so they run side by side, a process per core.
PYTEST = $(BIN)/python -m pytest -n auto --dist worksteal

test: $(VENV)/installed-dev ## run the tests, except the slow ones
	$(PYTEST) -m 'not slow and not browser and not notebook and not slurm' $(ARGS)

test-all: test ## run the tests, then the slow ones, the tour, and those in a browser and on Slurm
	$(PYTEST) -m 'slow or browser or notebook or slurm' $(ARGS)

check: lint types test-all ## run everything that CI requires

lint: $(VENV)/installed-dev ## check style, imports and docstrings with ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed-dev ## check types with mypy --strict
	$(BIN)/mypy

format: $(VENV)/installed-dev ## format the code with ruff
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/installed-dev ## build the documents as a site, docs/_build/html; runs the tour
	$(BIN)/python -m sphinx -W --keep-going -b html -c docs . docs/_build/html

tensorboard: $(VENV)/installed ## show the curves of all runs in the browser
	$(BIN)/tensorboard --logdir outputs $(ARGS)

clean: ## remove .venv and caches; outputs/ is kept
	rm -rf $(VENV) docs/_build docs/api .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find context_agg tests studies -name __pycache__ -type d -exec rm -rf {} +
