# Two commands do everything: `make course` and `make test`. Each needs Python 3.11 or newer, and reaches the Python package index.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PORT ?= 8000
SERVE ?= 1
CONSTRAINTS ?= constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: course test site lint bench clean run

$(VENV)/course: constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit(f"pets_learn needs Python 3.11 or newer; this is {sys.version.split()[0]}. Try: make $(MAKECMDGOALS) PYTHON=python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --progress-bar on -c $(CONSTRAINTS) -e '.[course]'
	@touch $@

$(VENV)/dev: $(VENV)/course
	$(BIN)/python -m pip install --progress-bar on -c $(CONSTRAINTS) -e '.[course,dev]'
	@touch $@

# Train the classifier of the first hour, print a report, build the site and serve it (SERVE=0: only build it).
course: $(VENV)/course
	@$(BIN)/pets-learn course
	@$(BIN)/python book/build.py
	@if [ "$(SERVE)" != 0 ]; then $(BIN)/python book/serve.py --port $(PORT); fi

# Everything that must hold: style, types, exported code in step with the notebooks, notebooks at smoke scale, site, tests.
# Two processes, each with whole files of tests; what is timed runs alone (tests/conftest.py).
test: $(VENV)/dev lint
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

lint: $(VENV)/dev
	@$(BIN)/ruff check .
	@$(BIN)/mypy

site: $(VENV)/course
	@$(BIN)/python book/build.py

bench: $(VENV)/dev
	@for file in bench/*.py; do $(BIN)/python $$file || exit 1; done

# Run one chapter on the data of PETS_LEARN_HOME and keep its outputs: make run NB=pets/02_cnn
run: $(VENV)/dev
	cd nbs/$(dir $(NB)) && $(CURDIR)/$(BIN)/jupyter nbconvert --log-level WARN --to notebook --execute --inplace $(notdir $(NB)).ipynb
	$(BIN)/python -c "from pets_learn.show import copy_alt_text; copy_alt_text('nbs/$(NB).ipynb')"
	$(BIN)/python -c "from pets_learn.widgets import keep_stills; keep_stills('nbs/$(NB).ipynb')"
	$(BIN)/nbdev_clean --fname nbs/$(NB).ipynb
	$(BIN)/nbdev_export

clean:
	rm -rf $(VENV) book/_build build dist *.egg-info .course .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
