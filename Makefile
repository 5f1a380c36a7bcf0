# make figures: every figure of the paper companion.   make test: the tests.   Both set up .venv first.
PYTHON  ?= python3
PROFILE ?= standard
JOBS    ?=
OUTPUT  ?=
SAVE    ?=
N       ?= 3
SEED    ?=
CHEAP   ?=
UV      ?= uv
VENV    := .venv
BIN     := $(VENV)/bin
READY   := $(VENV)/.installed
NEWEST  := .venv-newest
# What `make newest` does not renew. A newer torch may have no build for this machine; KEEP=/dev/null tries it.
KEEP    ?= requirements-torch.lock

.PHONY: help figures reproduce spotcheck class check-class slides workshop test lint bench lock newest notebooks site clean

help:
	@echo "make figures     every figure and claim from the stored results, in output/standard; five minutes"
	@echo "                 [PROFILE=smoke|workshop|standard|full] [JOBS=n] [OUTPUT=folder] [SAVE=1: replace what is committed]"
	@echo "make reproduce   train everything anew and compare with the stored results; about two hours [SAVE=1]"
	@echo "make spotcheck   train N=3 stored models anew, drawn at random [SEED=...], and compare; minutes"
	@echo "make class       copy the notebooks to class/ and open JupyterLab there"
	@echo "make check-class say whether this machine is ready for a class"
	@echo "make slides      make the slides of the workshop, site/slides.html, which need no network"
	@echo "make workshop    fill the store for a class: every notebook with one seed of standard"
	@echo "make test        run the tests"
	@echo "make lint        check style and formatting"
	@echo "make bench       measure speed against a reference implementation"
	@echo "make notebooks   refresh notebooks/*.ipynb from their .py sources, keeping outputs"
	@echo "make site        build pages of notebooks and documents in site/; reading them needs no network"
	@echo "make lock        pin the dependencies anew (needs uv)"
	@echo "make newest      run the tests and every notebook with the newest dependencies that pyproject.toml allows"
	@echo "make clean       remove .venv, .venv-newest, caches, output and the site; the store of results stays"

figures: $(READY)
	$(BIN)/python -m physmis.paper.regenerate --profile $(PROFILE) $(if $(JOBS),--jobs $(JOBS)) \
		$(if $(OUTPUT),--output $(OUTPUT)) $(if $(SAVE),--save)

reproduce: $(READY)
	$(BIN)/python -m physmis.paper.reproduce $(if $(JOBS),--jobs $(JOBS)) $(if $(SAVE),--save)

spotcheck: $(READY)
	$(BIN)/python -m physmis.paper.reproduce --models $(N) $(if $(SEED),--seed $(SEED)) $(if $(CHEAP),--cheap)

class: $(READY)
	$(BIN)/python -m physmis.teaching.classroom

check-class: $(READY)
	$(BIN)/python -m physmis.teaching.classroom --check

slides: $(READY)
	$(BIN)/python docs/workshop/slides.py

workshop: $(READY)
	$(BIN)/python -m physmis.paper.regenerate --profile workshop $(if $(JOBS),--jobs $(JOBS))

# One thread per process: two processes of one thread do more on two cores than one of two. Each begins with one half
# of the tests, in order, as tests side by side share the models that they need.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: $(READY)
	$(BIN)/python -m benchmarks

notebooks: $(READY)
	$(BIN)/jupytext --update --to ipynb notebooks/[0-9]*.py notebooks/appendix/*.py

# By way of build/, as MyST-NB leaves a copy of the notebooks beside the pages.
site: $(READY)
	$(BIN)/sphinx-build -q -W -c docs -d build/doctrees . build/site
	mkdir -p site && cp -r build/site/. site
	@echo "the site begins at site/index.html"

lock:
	$(UV) pip compile pyproject.toml --extra audit --extra cluster --extra dev --extra formats --extra maze --extra site -c requirements-torch.lock -o requirements.lock \
		--universal --python-version 3.11 --fork-strategy fewest --generate-hashes --quiet \
		--no-emit-index-url --no-header --no-emit-package torch
	{ echo "# Every package that CI installs, except torch (see requirements-torch.lock)."; \
	  echo "# Made by 'make lock', which keeps these versions; delete the file first to take newer ones."; \
	  cat requirements.lock; } > requirements.lock.new
	mv requirements.lock.new requirements.lock

# A store of its own, as what the locked versions have made would be read instead of made.
newest:
	rm -rf $(NEWEST)
	$(PYTHON) -m venv $(NEWEST)
	$(NEWEST)/bin/pip install -q -c $(KEEP) -e '.[audit,cluster,dev,formats,maze,site]'
	$(NEWEST)/bin/pip list
	@echo "Newer still, and held back by a range:"; $(NEWEST)/bin/pip list --outdated
	OMP_NUM_THREADS=1 $(NEWEST)/bin/pytest -n 2 --dist worksteal
	PHYSMIS_STORE=$(CURDIR)/$(NEWEST)/store $(NEWEST)/bin/python -m physmis.paper.regenerate --profile smoke

$(READY): pyproject.toml requirements.lock requirements-torch.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info; (3, 11) <= v < (3, 14) or sys.exit( \
		"physmis needs Python 3.11, 3.12 or 3.13, and $(PYTHON) is %d.%d. Name another: make PYTHON=python3.12" % v[:2])'
	@echo "Setting up $(VENV): a few minutes the first time"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --require-hashes -r requirements.lock
	$(BIN)/pip install -q -r requirements-torch.lock
	$(BIN)/pip install -q --no-deps --no-build-isolation -e .
	@touch $@

clean:
	rm -rf $(VENV) $(NEWEST) .pytest_cache .ruff_cache .hypothesis build *.egg-info site output store-anew
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
