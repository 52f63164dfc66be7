# Everything a developer or CI types. Each target sets up what it needs; nothing is installed twice.
PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 3000
VENV := .venv
BIN := $(VENV)/bin
BENCHMARKS := $(or $(ONLY),request tick_overhead threads company guidance_end load network chaos replicas soak backends)
export BENTOML_DO_NOT_TRACK := 1
export TRANSFORMERS_VERBOSITY := error

.PHONY: serve serve-split test test-full check format bench build

serve: $(VENV)/installed
	@$(BIN)/python -m entry.preflight $(HOST) $(PORT)
	@exec $(BIN)/bentoml serve . --host $(HOST) --port $(PORT)

# The three services each by itself, as on three hosts. One that ends, and Ctrl-C, end all.
serve-split: $(VENV)/installed
	@$(BIN)/python -m entry.preflight $(HOST) $(PORT)
	@exec bash -c 'trap "kill \$$(jobs -p); wait" EXIT; \
	$(BIN)/bentoml serve runners.base:BaseRunner --host 127.0.0.1 --port 3001 & \
	$(BIN)/bentoml serve runners.refiner:RefinerRunner --host 127.0.0.1 --port 3002 & \
	SDXL_BASE_URL=http://127.0.0.1:3001 SDXL_REFINER_URL=http://127.0.0.1:3002 \
	$(BIN)/bentoml serve . --host $(HOST) --port $(PORT) & \
	wait -n'

test: $(VENV)/installed-dev
	$(BIN)/pytest

test-full: $(VENV)/installed-dev
	$(BIN)/pytest -m "full or not full"

check: $(VENV)/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/installed-dev
	for name in $(BENCHMARKS); do $(BIN)/python -m benchmarks.$$name || exit 1; done

build: $(VENV)/installed
	$(BIN)/bentoml build

$(VENV)/installed: requirements.txt requirements-ui.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-ui.txt
	touch $@

$(VENV)/installed-dev: requirements-dev.txt requirements-openvino.txt requirements-onnxruntime.txt $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@
