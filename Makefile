PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
OUT := demo-output
# setuptools warns at length about every editable install; pip's own errors still show.
PIP := PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test test-full lint lit unit bench clean

demo: $(VENV)/demo.stamp
	$(BIN)/python examples/transcribe.py --output-dir $(OUT)

test: lint lit unit demo-test

test-full: test
	$(BIN)/python -m pytest tests -m "slow"

lint: $(VENV)/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

lit: $(VENV)/test.stamp
	$(BIN)/lit -v --order=smart lit_tests

unit: $(VENV)/test.stamp
	$(BIN)/python -m pytest tests -n 2 -m "not slow"

.PHONY: demo-test
demo-test: $(VENV)/test.stamp
	$(BIN)/python examples/transcribe.py --output-dir build/demo

bench: $(VENV)/test.stamp
	$(BIN)/python benchmarks/run.py

# Wheels first, then the package itself in place, so that a change needs no new install.
$(VENV)/python.stamp:
	$(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade pip
	touch $@

# basic-pitch carries a trained model; its own requirements would pull an old TensorFlow.
$(VENV)/demo.stamp: pyproject.toml setup.py | $(VENV)/python.stamp
	$(PIP) -e '.[demo]'
	$(PIP) --no-deps basic-pitch==0.4.0
	touch $@

$(VENV)/test.stamp: pyproject.toml setup.py $(VENV)/demo.stamp
	$(PIP) -e '.[demo,test]'
	touch $@

clean:
	rm -rf $(VENV) $(OUT) build *.egg-info
