# Needs only Python 3.11 or 3.12 (with venv), git and make. `make quickstart` and `make test` install what they need.
CORES ?= 2
PYTHON ?=
CUDA ?= # of PyTorch, where it is not the lock's: cu126 for older drivers and GPUs (docs/full.md)
BIN := .venv/bin
STAMP := .venv/.installed
PRESET = $(shell sed -n 's/^preset: *\([a-z0-9_]*\).*/\1/p' params.yaml)
GRAPH := $(BIN)/python -m pipeline.graph
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q

export PATH := $(CURDIR)/$(BIN):$(PATH)
unexport PYTHONDONTWRITEBYTECODE # compiled bytecode halves the start of every stage

.PHONY: help install lock quickstart headline test slow-test gpu-test fuzz lint accept own compare catalogue tables clean

help:
	@echo 'make quickstart   install, tour all five papers in build/tour: seven to fourteen minutes on two cores, nothing tracked changes'
	@echo 'make headline     the headline report of the preset of params.yaml, here: the numbers of reports/mini, hours'
	@echo 'make install      everything into .venv [PYTHON=/path/to/python3.12] [CUDA=cu126: for older drivers and GPUs, needs uv]'
	@echo 'make test         install, run the tests (make slow-test: those that build whole graphs or train)'
	@echo 'make gpu-test     the tests of training by the rules of CUDA on a pretended GPU (needs g++)'
	@echo 'make fuzz         10,000 damaged and odd inputs over all readers of files: minutes'
	@echo 'make accept       after a clone: take the committed results as they are, without training'
	@echo 'make catalogue    every experiment of all 44 tables: hours at mini size, goes on where it was'
	@echo 'make tables       all 44 tables from the results there are, without training'
	@echo 'make own          check your own data again, then build the report of the preset of params.yaml'
	@echo 'make compare      which method helps on your images (COCO, VOC, YOLO): IMAGES=folder ANNOTATIONS=file [SIZE=mini|small|full]'
	@echo 'make lint         ruff, snakefmt, snakemake --lint'
	@echo 'make lock         write requirements.txt anew from requirements.in (needs uv)'
	@echo 'make clean        remove logs and caches of tools; results, weights and .venv stay'

install: $(STAMP)

# `make install CUDA=...` installs although everything is there.
ifneq ($(and $(filter install,$(MAKECMDGOALS)),$(strip $(CUDA))),)
.PHONY: $(STAMP)
endif

$(STAMP): requirements.txt pyproject.toml
	@found=; \
	for python in $(PYTHON) python3.11 python3.12 python3; do \
	  if $$python -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null; \
	  then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo 'Python 3.11 or 3.12 with its venv module is needed: make PYTHON=/path/to/python3.11' >&2; exit 1; \
	fi; \
	echo "Installing into .venv with $$found (5.3 GB; minutes with pip, less with uv; once)"; \
	$$found -m venv .venv
	@if command -v uv >/dev/null; then uv pip install --python $(BIN)/python --require-hashes -r requirements.txt; \
	else $(BIN)/python -m pip install --no-compile --disable-pip-version-check --progress-bar off --require-hashes -r requirements.txt; fi
	@if [ -n "$(strip $(CUDA))" ]; then \
	  uv pip install --python $(BIN)/python --torch-backend $(CUDA) --reinstall-package torch --reinstall-package torchvision \
	  $$(grep -E '^torch(vision)?==' requirements.in); fi
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/python -m pipeline.graph.lock_file || true # DVC works without, only slower
	@touch $@

# All that requirements.in needs in turn, with hashes, for Python 3.11 and 3.12. Pins that still fit stay as they are.
lock:
	uv pip compile requirements.in --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url \
	  --custom-compile-command 'make lock' --quiet --output-file requirements.txt

quickstart: $(STAMP)
	@$(GRAPH) build quickstart --preset tour --cores $(CORES)

headline: $(STAMP)
	@$(GRAPH) build quickstart --cores $(CORES)
	@echo 'Read the report: reports/$(PRESET)/index.md'

test: $(STAMP)
	$(PYTEST) -n 2 -m 'not slow'

slow-test: $(STAMP)
	$(PYTEST) -n 2 --dist loadfile -m slow

gpu-test: $(STAMP)
	PYTHONPATH=tests/pretend_gpu:tests/models $(PYTEST) -n 2 -p pretended -m 'not slow' tests/training

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check workflow
	$(BIN)/snakemake --lint

# Every experiment of all 44 tables, over as many sittings and clones as it takes: committed results count although their
# weights are not in git. `make tables` writes the tables from what there is so far.
catalogue: $(STAMP)
	@$(GRAPH) build catalogue results --cores $(CORES) --keep-going --allow-missing

tables: $(STAMP)
	@$(GRAPH) tables

accept: $(STAMP)
	@$(GRAPH) accept quickstart

# DVC follows the preset's file, not the thousands of images that it names: look at them again, whatever DVC thinks.
own: $(STAMP)
	@$(GRAPH) build synthesize --cores 1
	@$(BIN)/dvc --wait-for-lock repro --force --single-item verify
	@$(GRAPH) build quickstart --cores $(CORES)
	@echo 'Read the report: reports/$(PRESET)/index.md; what was left out and why: reports/$(PRESET)/data.md'

# Splits the images where VAL_ANNOTATIONS is not given; builds in build/NAME. docs/own-data.md has the rest.
SIZE ?= mini
NAME ?= compare
SEEDS ?= 3
# A value as it was typed, for the shell: make would take `$x` for a variable, the shell would end at an apostrophe.
typed = '$(subst ','\'',$(value $(1)))'
option = $(if $(value $(2)),--$(1) $(call typed,$(2)))
compare: $(STAMP)
	@$(BIN)/python -m pipeline.own.compare --annotations $(call typed,ANNOTATIONS) $(call option,images,IMAGES) \
	  $(call option,val-images,VAL_IMAGES) $(call option,val-annotations,VAL_ANNOTATIONS) $(call option,data,DATA) \
	  --size $(call typed,SIZE) --name $(call typed,NAME) --seeds $(call typed,SEEDS) --cores $(CORES) \
	  $(call option,methods,METHODS) $(call option,init,INIT) $(call option,hours,HOURS) $(call option,sizes,SIZES) \
	  $(call option,categories,CATEGORIES) $(call option,steps,STEPS) \
	  $(if $(BUDGET),--only-budget)

# 10,000 damaged and odd inputs over all readers, of users' files and of own ones: each ends in data or in one sentence.
fuzz: $(STAMP)
	@$(BIN)/python tests/data/fuzz_all.py 10000

clean:
	rm -rf dvc_plots logs .hypothesis .pytest_cache .ruff_cache
	find pipeline tests -name __pycache__ -type d -prune -exec rm -rf {} +
