# The environment is .venv/; everything is installed through constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := runs/demo
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/pip install --quiet --quiet --constraint constraints.txt

.PHONY: demo test test-slow bench validity check dev docs docs-pictures clean

# Trains two agents on Procgen's CoinRun, collects observations, analyzes the checkpoints and writes the report.
demo: $(VENV)/.installed
	$(BIN)/probe train demo --method baseline --method specnorm --resume
	@$(MAKE) --no-print-directory $(DEMO)/observations.h5
	$(BIN)/probe analyze $(DEMO) --data $(DEMO)/observations.h5 --out $(DEMO)/analysis.h5 --workers 2
	$(BIN)/probe report $(DEMO)/analysis.h5 $(DEMO) --out $(DEMO)/report

# An observation set is never overwritten, so the demo can be run again.
$(DEMO)/observations.h5:
	$(BIN)/probe collect procgen:coinrun --for $(DEMO) --samples 2560 --out $(DEMO)/observations.h5

# Every test, two at a time with one thread each.
test: $(VENV)/.developing
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2

# Tests that train for minutes.
test-slow: $(VENV)/.developing
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow

# Ratios of speed and memory, each measured in one run.
bench: $(VENV)/.developing
	$(BIN)/python -m tests.benchmarks

# The diagnosis on networks whose state is known: faults found, false alarms.
validity: $(VENV)/.developing
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.validity

check: $(VENV)/.developing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p probe -p docs

dev: $(VENV)/.developing

# Writes docs/probes.md from the docstrings of the probes.
docs: $(VENV)/.installed
	$(BIN)/python -m docs.page

# Draws the pictures of docs/probes.md from the run of `make demo`, a run with tanh, and a set of each of the demo's tasks.
docs-pictures: $(VENV)/.installed $(foreach task,0 1 2,$(DEMO)-tasks/task$(task).h5)
	$(BIN)/probe train demo --method tanh --out $(DEMO)-tanh --resume
	OMP_NUM_THREADS=1 $(BIN)/python -m docs.draw $(DEMO)

$(DEMO)-tasks/task%.h5:
	mkdir -p $(@D)
	$(BIN)/probe collect procgen:coinrun --for $(DEMO) --samples 640 --set task=$* --out $@

clean:
	rm -rf $(VENV) build dist *.egg-info

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable '.[procgen,fast]'
	touch $@

$(VENV)/.developing: $(VENV)/.installed
	$(PIP) --editable '.[procgen,fast,dev]'
	touch $@
