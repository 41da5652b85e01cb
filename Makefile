# serve and test set everything up by themselves; the rest is for people who work on trioice.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: serve test check format docs bench lab clean

serve: .venv/serve ## a relay, a transceiver and signaling on loopback, with the demo page
	@$(BIN)/trioice serve $(ARGS)

test: .venv/test ## ruff, mypy --strict and every test (WITHOUT_CHROMIUM=1 leaves the browser out)
	@sh tests/chromium.sh
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest $(ARGS)

check: .venv/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv/test ## the ladders of docs/explanation/set-up.md, drawn anew
	$(BIN)/python -m tests.harness.drawing

bench: .venv/test ## the figures of docs/measurements.md (ARGS='echo --calls 200' takes some of them)
	$(BIN)/python -m bench $(ARGS)

lab: .venv/test ## as root: calls from real browsers over a bad network (ARGS='--case sped --runs 40')
	@sh tests/chromium.sh
	@$(BIN)/python -m bench lab $(ARGS)

clean:
	rm -rf .venv dist

.venv/serve: pyproject.toml | .venv/made
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[audio]'
	@touch $@

.venv/test: pyproject.toml | .venv/made
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ .venv/serve

# Debian leaves venv out of python3: install it where we may, else say how.
.venv/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'trioice needs Python 3.11 or newer; set PYTHON=…' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  if [ "$$(id -u)" = 0 ]; then apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >/dev/null; \
	  else echo 'python3-venv is missing: sudo apt-get install python3-venv' >&2; exit 1; fi; }
	@$(PYTHON) -m venv .venv
	@touch $@
