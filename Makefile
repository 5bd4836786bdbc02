# Two commands do everything: `make quickstart` and `make test`. Each sets up what it needs, once.
PYTHON ?= python3
VENV   ?= .venv
OUT    ?= runs/quickstart
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps
# Where this is set, every process would compile all it imports again: 2 CPU seconds for jax alone. Compiled
# modules are written into our own environment, at their first use.
export PYTHONDONTWRITEBYTECODE =

.PHONY: quickstart test test-all test-jax setup figures docs lint lock clean
.DEFAULT_GOAL := help

help:
	@echo "make quickstart   set up, train a small grid on real text, fit, detect, write the report"
	@echo "make test         set up, run the tests (before every commit)"
	@echo "make test-all     the tests with long simulations, programs optimised as for users (every week)"
	@echo "make figures      draw the figures of README and docs from the stores in runs/"
	@echo "make docs         set up, build the documentation as a site: build/site/index.html"
	@echo "make lint         set up, check style and types"
	@echo "make clean        remove the virtual environment"

# One stamp per lock file: a second call finds it and installs nothing.
$(VENV)/.core: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed, this is $$($(PYTHON) --version); set PYTHON=..."; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "setting up $(VENV) from requirements.lock (about 600 MB, once)"
	@$(PIP) --require-hashes --no-compile -r requirements.lock
	@$(PIP) --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.core requirements-dev.lock
	@echo "setting up the test tools from requirements-dev.lock"
	@$(PIP) --require-hashes --no-compile -r requirements-dev.lock
	@touch $@

setup: $(VENV)/.core

# Interrupted at any point, the same command goes on where it was.
quickstart: $(VENV)/.core
	@$(BIN)/lab run sweeps/studies/quickstart.toml --out $(OUT)
	@$(BIN)/lab fit $(OUT)
	@$(BIN)/lab forecast $(OUT)
	@$(BIN)/lab thresholds $(OUT)
	@$(BIN)/lab report $(OUT) --open

test: $(VENV)/.dev
	@$(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

# The same with another jax, in an environment of its own: make test-jax JAX=0.12.* PYTHON=python3.12 (every week).
# From jax 0.11 on a Python of 3.12 or newer is needed. Of the doctor's tests some hold versions to those that the package
# asks for, which another jax is not.
test-jax:
	@test -n "$(JAX)" || { echo "JAX=... names the version of jax, as in JAX=0.12.*"; exit 2; }
	@$(MAKE) --no-print-directory VENV=.venv-jax '$(if $(PYTHON),PYTHON=$(PYTHON))' .venv-jax/.dev
	@.venv-jax/bin/python -m pip install -qq --disable-pip-version-check --upgrade 'jax==$(JAX)' flax optax orbax-checkpoint
	@.venv-jax/bin/python -m pytest -n auto --dist worksteal --ignore tests/lab/test_doctor.py $(ARGS)

# Also what is marked weekly; and programs compiled exactly as users get them, see tests/conftest.py.
test-all: $(VENV)/.dev
	@SCALING_LAB_OPTIMISED=1 $(BIN)/python -m pytest -n auto --dist worksteal -m "" $(ARGS)

# Draws what docs/figures.toml lists, for each study whose store is there.
figures: $(VENV)/.core
	@$(BIN)/python -m benchmarks.figures $(ARGS)

$(VENV)/.docs: $(VENV)/.core requirements-docs.lock
	@echo "setting up mkdocs from requirements-docs.lock"
	@$(PIP) --require-hashes --no-compile -r requirements-docs.lock
	@touch $@

# Strict: a link or anchor that leads nowhere, or a page that is on no menu, is an error.
docs: $(VENV)/.docs
	@$(BIN)/python -m benchmarks.handbook build/handbook
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@! grep -rnE '<(script|link|img)[^>]*(src|href)="?https?://[^>]*stylesheet|<(script|img)[^>]*src="?https?://' build/site --include=*.html \
	  || { echo "a page of the site would fetch something from elsewhere"; exit 1; }
	@echo "build/site/index.html; with search: $(BIN)/python -m http.server --bind 127.0.0.1 --directory build/site"

lint: $(VENV)/.dev
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

# Needs uv. The build tool is locked too, so that an install asks the registry for nothing else; clients of
# object stores want a python-dateutil below 3.
LOCKED := printf 'setuptools>=77\npython-dateutil<3\n'
lock:
	$(LOCKED) | uv pip compile --universal --python-version 3.11 --generate-hashes -q --no-header pyproject.toml - -o requirements.lock
	$(LOCKED) | uv pip compile --universal --python-version 3.11 --generate-hashes -q --no-header --extra dev -c requirements.lock pyproject.toml - -o requirements-dev.lock
	$(LOCKED) | uv pip compile --universal --python-version 3.11 --generate-hashes -q --no-header --extra docs -c requirements-dev.lock pyproject.toml - -o requirements-docs.lock

clean:
	rm -rf $(VENV)
