# Everything a checkout needs: `make help`. Works on a machine with Python 3.11 (with pip or venv), make and git.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
# What make targets run is this checkout's, from its root, compiled to bytecode, with no library reporting its usage.
override ROOT := $(dir $(abspath $(lastword $(MAKEFILE_LIST))))
override BIN := .venv/bin
export PATH := $(ROOT)$(BIN):$(PATH)
unexport PYTHONDONTWRITEBYTECODE PYTHONPATH VIRTUAL_ENV
export DISABLE_TELEMETRY ?= 1
export DO_NOT_TRACK ?= 1
export DVC_NO_ANALYTICS ?= 1
export GX_ANALYTICS_ENABLED ?= false
export HF_HUB_DISABLE_TELEMETRY ?= 1
export ITERATIVE_DO_NOT_TRACK ?= 1

# uv takes pip's settings only under its own names, and lists separated by commas.
empty :=
comma := ,
listed = $(subst $(empty) $(empty),$(comma),$(strip $(1)))
ifdef PIP_INDEX_URL
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif
ifdef PIP_EXTRA_INDEX_URL
export UV_INDEX ?= $(PIP_EXTRA_INDEX_URL)
endif
ifdef PIP_FIND_LINKS
export UV_FIND_LINKS ?= $(call listed,$(PIP_FIND_LINKS))
endif
ifdef PIP_CERT
export SSL_CERT_FILE ?= $(PIP_CERT)
endif
UV = $$(command -v .uv/bin/uv || command -v uv)
COMPILE_LOCK = $(UV) pip compile -q pyproject.toml --all-extras --python-version 3.11 -c constraints.txt \
	--no-header --no-annotate --no-emit-find-links --no-emit-index-url
# One lock for both builds of torch: without the mark of the CPU build and the packages that only the CUDA build needs.
EITHER_TORCH = sed -i -E 's/\+cpu$$//; /^(nvidia-|cuda-|triton==)/d'

# The container images. DEVICE is what torch of the image `train` is built for: cpu or cuda.
IMAGES := data train serve pipeline
DOCKER ?= docker
REGISTRY ?= ghcr.io/moon-product-search
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"$$/\1/p' moon/__init__.py)
DEVICE ?= cpu
TAG = $(VERSION)$(if $(filter-out cpu,$(DEVICE)),$(if $(filter train,$(1)),-$(DEVICE)))
# Another base, pip's and uv's settings as secrets of the build, and any flag of docker build, such as --network=host.
BASE_IMAGE ?=
PIP_CONF ?=
UV_CONF ?=
BUILD_FLAGS ?=

.PHONY: help setup demo demo-docker test lint types compile compile-check bench soak repro lock lock-check images images-push clean
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.ready ## Make .venv with the locked dependencies and this package

demo: setup ## Run the whole chain here; ARGS="--set training.steps=100"
	python -m pipelines.demo $(ARGS)

demo-docker: setup images ## The same with every task in its container, without a network; needs Docker
	python -m pipelines.demo --docker --out runs/docker/demo $(ARGS)

test: setup ## Run the tests; ARGS="tests/vision -x"
	python -m pytest $(ARGS)

lint: setup ## Check style and format
	ruff check .
	ruff format --check .

types: setup ## Check types
	mypy

compile: setup ## Compile the pipelines to pipelines/compiled
	python -m pipelines.compile

compile-check: setup ## Fail where pipelines/compiled is stale
	python -m pipelines.compile --check

bench: setup ## Run one benchmark: NAME=training
	@test -n "$(NAME)" || { echo "error: which one? make bench NAME=$$(basename -s .py benchmarks/[a-z]*.py | paste -sd '|')" >&2; exit 2; }
	@test -f "benchmarks/$(NAME).py" || { echo "error: no benchmarks/$(NAME).py" >&2; exit 2; }
	python benchmarks/$(NAME).py $(ARGS)

soak: setup ## Load the model server with good, hostile and cancelled requests; ARGS="--seconds 600"
	python benchmarks/soak.py $(ARGS)

repro: setup ## Run the stages of dvc.yaml that have changed; renders data/ where it is missing
	@test -d data || (set -x; moon render --out data)
	dvc repro $(ARGS)

lock: .uv/ready ## Write requirements.lock anew from pyproject.toml
	$(COMPILE_LOCK) --upgrade -o requirements.lock
	$(EITHER_TORCH) requirements.lock

lock-check: .uv/ready ## Fail where requirements.lock is not what pyproject.toml asks for
	@fresh=$$(mktemp); trap 'rm -f "$$fresh"' EXIT; cp requirements.lock "$$fresh"; \
	$(COMPILE_LOCK) -o "$$fresh"; $(EITHER_TORCH) "$$fresh"; \
	diff -u requirements.lock "$$fresh" || { echo "error: requirements.lock does not match pyproject.toml: run 'make lock'" >&2; exit 1; }

images: $(addprefix image-,$(IMAGES)) ## Build the container images; one of them: make image-serve; see docs/images.md

images-push: images ## Push the images to REGISTRY and write their digests to components/images.yaml
	$(foreach image,$(IMAGES),$(DOCKER) push "$(REGISTRY)/moon-$(image):$(call TAG,$(image))"; )
	$(PYTHON) docker/pin.py digests --registry "$(REGISTRY)" --docker "$(DOCKER)" --device "$(DEVICE)"
	@echo "next: make compile, and commit what has changed"

clean: ## Remove what runs and tools leave behind; keeps data/ and .venv
	rm -rf runs build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis dvc_plots
	find moon components pipelines tests -name __pycache__ -prune -exec rm -rf {} +

# --- images -----------------------------------------------------------------------------------------------------

.PHONY: $(addprefix image-,$(IMAGES))
$(addprefix image-,$(IMAGES)): image-%: .wheels
	DOCKER_BUILDKIT=1 $(DOCKER) build $(BUILD_FLAGS) --target $* --tag "$(REGISTRY)/moon-$*:$(call TAG,$*)" \
		$(if $(BASE_IMAGE),--build-arg BASE_IMAGE="$(BASE_IMAGE)") --build-arg DEVICE="$(if $(filter train,$*),$(DEVICE),cpu)" \
		$(if $(PIP_CONF),--secret id=pip$(comma)src="$(PIP_CONF)") $(if $(UV_CONF),--secret id=uv$(comma)src="$(UV_CONF)") \
		--build-arg VERSION="$(VERSION)" --build-arg REVISION="$$(git rev-parse HEAD 2>/dev/null || true)" .

# A build sees no folder but this one: torch for the CPU comes from where pip has it, if that is a folder.
.PHONY: .wheels
.wheels:
	@for folder in $(PIP_FIND_LINKS); do for wheel in "$$folder"/torch-*+cpu-*.whl; do \
		[[ ! -f "$$wheel" || -e "docker/wheels/$${wheel##*/}" ]] || cp "$$wheel" docker/wheels/; done; done

# --- set-up -----------------------------------------------------------------------------------------------------

.venv/.ready: requirements.lock pyproject.toml .uv/ready
	test -x $(BIN)/python || $(UV) venv -q --seed --python $(PYTHON) .venv
	$(UV) pip install --python $(BIN)/python --compile-bytecode -r requirements.lock
	$(UV) pip install -q --python $(BIN)/python --no-deps -e .
	@touch $@

# uv comes from PATH, else from PyPI into .uv; a Debian python refuses to install into itself, never into a folder.
.uv/ready:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "error: python 3.11 or newer is needed, '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || true); next: install it, or make PYTHON=/path/to/python3.11 setup" >&2; exit 1; }
	@mkdir -p .uv
	@command -v uv >/dev/null || { \
		$(PYTHON) -m pip --version >/dev/null 2>&1 || { echo "error: $(PYTHON) has no pip; next: apt install python3-pip" >&2; exit 1; }; \
		(set -x; $(PYTHON) -m pip install -q --upgrade --target .uv uv); }
	@touch $@
