# make run: the dashboard.  make test: the tests.  make thorough: what they leave out.  make wheel: the package, installed and tried.  make bench: what it costs.
PYTHON ?= python3
PORT ?= 8501
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test lint unit e2e thorough browser wheel bench train zoo screenshots clean

run: $(VENV)/run.stamp
	$(BIN)/streamlit run app.py --server.port $(PORT)

# A browser mostly waits: beside it the others get the processor that it leaves, of which what reads files gets a share.
test: browser
	$(MAKE) -j3 $(if $(filter output-sync,$(.FEATURES)),--output-sync=target) lint unit e2e

lint: $(VENV)/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	nice -n 19 $(BIN)/mypy
	$(BIN)/lint-imports

unit: $(VENV)/test.stamp
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 nice -n 10 $(BIN)/python -m pytest tests/unit tests/app -n 2 --dist worksteal

e2e: browser
	$(BIN)/python -m pytest tests/e2e

thorough: browser
	THOROUGH=1 $(BIN)/python -m pytest tests/e2e tests/unit/test_models.py tests/unit/test_repairs.py

browser: $(VENV)/test.stamp
	$(BIN)/python -m tests.e2e.setup_browser

wheel: $(VENV)/test.stamp
	$(BIN)/python -m tests.installed

bench: $(VENV)/test.stamp
	$(BIN)/python -m tests.benchmarks

train: $(VENV)/run.stamp
	for name in resnet20-digits resnet20-digits-longtail mobilenet-digits resnext-digits vgg-digits convnext-digits \
			vit-digits; do \
		$(BIN)/python -m reflow_core train $$name || exit 1; done

zoo: $(VENV)/run.stamp
	$(BIN)/python -c 'from reflow_core.networks import zoo; zoo.write()'

screenshots: $(VENV)/test.stamp
	$(BIN)/python -m tests.e2e.screenshots

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache test-artifacts

$(VENV)/run.stamp: requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make run PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -r requirements.txt
	touch $@

$(VENV)/test.stamp: $(VENV)/run.stamp tests/requirements.txt
	$(BIN)/python -m pip install -q -r tests/requirements.txt
	touch $@
