# From a fresh clone, with nothing but Python >= 3.11, git and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A second try trusts the machine's own certificates, as a company's network may need.
INSTALL = $(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt
# Many processes import the same modules: each would compile them anew where the environment forbids to keep that.
export PYTHONDONTWRITEBYTECODE :=
# Tests that no clock judges. They run beside those of live calls, and leave them the processor.
COMPUTING = tests/unit tests/fuzz $(addprefix tests/integration/,api twilio prompts store storage site cli/test_doctor.py \
  cli/test_flow_promote.py cli/test_serve.py cli/test_serve_workers.py support webhooks/test_signatures.py)
STEP = @printf '\033[2m· %s\033[0m\n'

.DEFAULT_GOAL := help
.PHONY: help demo test .live .computing .faults serve bench bench-lookup bench-fanout bench-crowd fuzz faults soak-speech check fix constraints clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22

demo: $(VENV)/.run ## one real spoken call through an example flow
	@$(BIN)/vocelio demo

test: check ## everything needed, then lint, types and all tests
	$(STEP) "services"
	@tests/services.sh
	@$(MAKE) --no-print-directory --jobs 2 --keep-going .live .computing; others=$$?; \
	  $(MAKE) --no-print-directory .faults && exit $$others

.live:
	$(STEP) "tests of live calls, and many others beside them"
	@$(BIN)/pytest -n 4 --dist worksteal $(COMPUTING:%=--ignore=%) --ignore=tests/resilience

.computing:
	@nice $(BIN)/pytest -n 2 --dist worksteal --timeout 300 $(COMPUTING) > $(VENV)/computing.txt 2>&1 || \
	  { cat $(VENV)/computing.txt; exit 1; }
	$(STEP) "the many others: $$(tail -n 1 $(VENV)/computing.txt)"

.faults:
	$(STEP) "processes killed and replaced under live calls"
	@$(BIN)/pytest -n 2 --dist worksteal tests/resilience

serve: $(VENV)/.run ## the gateway on http://localhost:8080, answering the example's number
	@$(BIN)/vocelio serve --site examples/site

bench: $(VENV)/.run ## how fast: CPU per second of a call, beside a bare echo
	@$(BIN)/python -m benchmarks

bench-lookup: $(VENV)/.run ## from a number to its flow with 100, 1,000 and 10,000 tenants: about 3 minutes
	@$(BIN)/python -m benchmarks.lookup

bench-fanout: $(VENV)/.run ## from a call to 1, 100 and 1,000 monitors, in the process and through Redis: about 2 minutes
	@$(BIN)/python -m benchmarks.fanout

bench-crowd: $(VENV)/.run ## 500 monitors of which 50 never read: who is cut off when, and who notices: about 2 minutes
	@$(BIN)/python -m benchmarks.crowd

fuzz: $(VENV)/.dev ## random flows, calls and documents, many more than in the tests: about 6 minutes
	@FUZZ=12000 $(BIN)/pytest --timeout 0 -n 4 tests/fuzz

faults: $(VENV)/.dev ## kill, replace and pause what live calls depend on, with figures: about 50 minutes
	@tests/services.sh
	@$(BIN)/python -m tests.resilience

soak-speech: $(VENV)/.dev ## 500 recognitions and 2,000 syntheses by each SDK, and what is left of them: about 5 minutes
	@$(BIN)/python -m tests.support.speech_soak

check: $(VENV)/.dev ## lint, types and the import directions only
	$(STEP) "lint and types"
	@$(BIN)/ruff format --quiet --check . && $(BIN)/ruff check --quiet .
	@$(BIN)/pyright --warnings > $(VENV)/pyright.txt & pyright=$$!; \
	  $(BIN)/mypy --no-error-summary && $(BIN)/mypy --no-error-summary --exclude '^$$' benchmarks; mypy=$$?; \
	  wait $$pyright || { cat $(VENV)/pyright.txt; exit 1; }; exit $$mypy
	@$(BIN)/lint-imports > $(VENV)/imports.txt || { cat $(VENV)/imports.txt; exit 1; }

fix: $(VENV)/.dev ## mend what ruff can mend
	@$(BIN)/ruff check --quiet --fix . ; $(BIN)/ruff format --quiet .

constraints: $(VENV)/.uv ## lock the newest versions anew
	@$(BIN)/uv pip compile --quiet --universal --upgrade --python-version 3.11 --all-extras --group dev pyproject.toml \
	  --no-annotate --no-header --no-emit-index-url --output-file constraints.txt
	@sed -i '1i # Every version that is installed anywhere: `make constraints` writes this file anew.' constraints.txt

clean: ## remove what make made
	@rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info build dist

# uv installs in seconds what takes pip a minute.
$(VENV)/.uv: constraints.txt
	$(STEP) "virtual environment"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt uv 2>$(VENV)/pip.txt || { cat $(VENV)/pip.txt; exit 1; }
	@touch $@

$(VENV)/.run: pyproject.toml $(VENV)/.uv
	$(STEP) "packages"
	@$(INSTALL) --editable '.[local]' 2>$(VENV)/uv.txt || $(INSTALL) --system-certs --editable '.[local]'
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	$(STEP) "packages for the tests"
	@$(INSTALL) --group dev 2>$(VENV)/uv.txt || $(INSTALL) --system-certs --group dev
	@touch $@
