# Two commands: `make run` and `make test`. Both set up .venv first where it is missing.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install run sweep results best post lecture scenes figures test test-all check lint types \
	format tensorboard clean

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

results: $(VENV)/installed ## the comparison of docs/results.md again: about an hour on four cores, with MNIST
	$(MAKE) sweep
	$(MAKE) sweep DATA=mnist ARGS="seed=0,1 trainer.max_epochs=3"
	$(BIN)/python -m context_agg.train -m model=large,plain,linear data=mnist trainer.max_epochs=3 \
	hydra/launcher=joblib
	$(BIN)/python docs/sweeps.py digits mnist models

best: $(VENV)/installed ## the context module at its best on MNIST, two seeds: about an hour on two cores
	$(BIN)/python -m context_agg.train -m experiment=best_mnist seed=0,1 hydra/launcher=joblib
	$(BIN)/python docs/sweeps.py best

post: $(VENV)/installed ## the runs of the 2018 post, three seeds each: about three hours on four cores, with MNIST
	$(BIN)/python -m context_agg.train -m experiment=post_broken seed=0,1,2 hydra/launcher=joblib
	$(BIN)/python -m context_agg.train -m experiment=post_auto backprop=manual seed=0,1,2 hydra/launcher=joblib
	$(BIN)/python -m context_agg.train -m experiment=draft_manual seed=0,1,2 hydra/launcher=joblib
	$(BIN)/python -m context_agg.train -m experiment=post_broken frozen=[context] trainer.max_epochs=30 \
	seed=0,1,2 hydra/launcher=joblib
	$(BIN)/python -m context_agg.train -m experiment=post_broken backprop=manual trainer.max_epochs=20 \
	seed=0,1,2 hydra/launcher=joblib
	$(BIN)/python -m context_agg.train -m experiment=post_auto backprop=manual optimizer.lr=0.0025 \
	trainer.max_epochs=20 seed=0 hydra/launcher=joblib
	$(BIN)/python docs/sweeps.py post

lecture: $(VENV)/installed ## a lecture's network beside ours, 25 epochs of MNIST: about an hour on three cores
	$(BIN)/python -m context_agg.train -m experiment=lecture_mnist model.init=default,lecture hydra/launcher=joblib
	$(BIN)/python -m context_agg.train -m experiment=lecture_mnist model=basic backprop=auto
	$(BIN)/python docs/lecture.py
	$(BIN)/python docs/sweeps.py lecture

# Every context module begins with the front end of its own seed.
SCENES = $(BIN)/python -m context_agg.train -m hydra/launcher=joblib
AFTER = start_from='outputs/scenes/front_end/seed-$${seed}'
SHORT = trainer.limit_train_batches=0.25 trainer.max_epochs=4 model.init=identity,xavier,normal

scenes: $(VENV)/installed ## dense prediction in three stages, and what rescues random starts: an hour on four cores
	$(SCENES) experiment=scenes_front_end seed=0,1,2 hydra.sweep.dir=outputs/scenes/front_end
	$(SCENES) experiment=scenes_context model.init=identity,xavier,normal seed=0,1,2 $(AFTER) hydra.sweep.dir=outputs/scenes/basic
	$(SCENES) experiment=scenes_context model=plain seed=0,1,2 $(AFTER) hydra.sweep.dir=outputs/scenes/plain
	$(SCENES) experiment=scenes_joint seed=0,1,2 \
	start_from='outputs/scenes/basic/model.init-identity/seed-$${seed}' hydra.sweep.dir=outputs/scenes/joint
	$(SCENES) experiment=scenes_context front_end.lift=2 seed=0,1,2 $(AFTER) hydra.sweep.dir=outputs/scenes/lifted
	$(SCENES) experiment=scenes_joint front_end.lift=2 seed=0,1,2 \
	start_from='outputs/scenes/lifted/seed-$${seed}' hydra.sweep.dir=outputs/scenes/lifted_joint
	$(SCENES) experiment=scenes_context model.init=kaiming seed=0,1,2 $(AFTER) hydra.sweep.dir=outputs/scenes/kaiming
	$(SCENES) experiment=scenes_context model.init=xavier optimizer.lr=0.003 seed=0,1,2 $(AFTER) hydra.sweep.dir=outputs/scenes/faster
	$(SCENES) experiment=scenes_context model.init=xavier trainer.max_epochs=24 seed=0,1,2 $(AFTER) hydra.sweep.dir=outputs/scenes/longer
	$(SCENES) experiment=scenes_context front_end.lift=2 trainer.max_epochs=24 seed=0,1,2 $(AFTER) hydra.sweep.dir=outputs/scenes/lifted_longer
	$(SCENES) experiment=scenes_context $(SHORT) $(AFTER) hydra.sweep.dir=outputs/scenes/short
	$(SCENES) experiment=scenes_context model=large $(SHORT) $(AFTER) hydra.sweep.dir=outputs/scenes/large
	$(BIN)/python docs/sweeps.py scenes scenes_rescue scenes_short

figures: $(VENV)/installed ## every figure of README and docs; measures what docs/results lacks, with MNIST
	$(BIN)/python docs/gradients.py
	$(BIN)/python docs/convolutions.py
	$(BIN)/python docs/dense.py
	$(BIN)/python docs/sweeps.py

test: $(VENV)/installed-dev ## the test suite, without what is slow
	$(BIN)/python -m pytest -m 'not slow and not notebook' $(ARGS)

test-all: test ## the test suite, and then what is slow and the tour
	$(BIN)/python -m pytest -m 'slow or notebook' $(ARGS)

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
	find context_agg tests -name __pycache__ -type d -exec rm -rf {} +
