# Everything a fresh machine with Python >= 3.10 and make needs. `make` alone lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ADDRESS := 127.0.0.1:8000
# Keeps a notice about MkDocs 2 (which is not used here) out of the output.
export NO_MKDOCS_2_WARNING := 1

.DEFAULT_GOAL := help
.PHONY: help demo test site serve budgets lint format verify clean

# $(call step,what,command): a failing step ends with one line that says what to do.
define step
	@echo "== $(1)"
	@$(2) || { echo "make $@: \"$(1)\" failed; the lines above say why. Mend that and run 'make $@' again." >&2; exit 1; }
endef

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:[^#]*## /\t/' | expand -t 10

demo: $(VENV)/.all  ## validate the catalog, train and judge one implementation, build the site with its report
	$(call step,validate the catalog,$(BIN)/python -m scripts.validate)
	@rm -rf runs/demo
	$(call step,train SimCLR on the synthetic Earth and judge it beside its baselines,$(BIN)/python -m refimpl run simclr --out runs/demo --size 32 --backbone resnet10t --epochs 15 --batch 128)
	$(call step,build the site with this run in it,$(BIN)/python -m mkdocs build --quiet --strict)
	@echo "Done. 'make serve' serves the site at http://$(ADDRESS)/ ; the run's own page is runs/demo/report.html"

test: $(VENV)/.all  ## lint, and every test
	$(call step,lint,$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/python -m scripts.format_entries --check)
	$(call step,test,$(BIN)/python -m pytest)

site: $(VENV)/.site  ## build the site only (installs no torch)
	$(call step,validate the catalog,$(BIN)/python -m scripts.validate)
	$(call step,build the site,$(BIN)/python -m mkdocs build --quiet --strict)

serve: $(VENV)/.site  ## serve the site and rebuild it when an entry changes
	$(BIN)/python -m mkdocs serve --dev-addr $(ADDRESS)

verify: $(VENV)/.all  ## climb the verification ladder with every implementation (minutes each)
	$(call step,verify,$(BIN)/python -m refimpl verify --all)

budgets: $(VENV)/.site  ## weigh the site at its real size, 1,000 and 3,000 entries (minutes)
	$(call step,budgets,$(BIN)/python -m scripts.budgets)

lint: $(VENV)/.all  ## check style
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/python -m scripts.format_entries --check

format: $(VENV)/.all  ## mend style
	$(BIN)/ruff check --fix . && $(BIN)/ruff format . && $(BIN)/python -m scripts.format_entries

clean:  ## remove what was built and installed (runs/ stays)
	rm -rf $(VENV) site docs/generated/*

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "make: $(PYTHON) is older than 3.10; name a newer one: make PYTHON=python3.12" >&2; exit 1; }
	$(call step,create $(VENV),$(PYTHON) -m venv $(VENV))

# Versions come from requirements.lock; pyproject.toml says which packages each part needs.
$(VENV)/.site: requirements.lock pyproject.toml | $(BIN)/python
	$(call step,install what the site needs,$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[site]')
	@touch $@

$(VENV)/.all: requirements.lock pyproject.toml | $(BIN)/python
	$(call step,install everything (torch is large: minutes),$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[site$(,)run$(,)geo$(,)table$(,)export$(,)tensorboard$(,)test]')
	@touch $@ $(VENV)/.site

, := ,
