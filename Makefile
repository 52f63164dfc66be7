# Everything a developer or CI types. Each target sets up what it needs; nothing is installed twice.
PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 3000
BASE_PORT ?= 3001
REFINER_PORT ?= 3002
VENV := .venv
BIN := $(VENV)/bin
# A .venv works with the Python that made it, so the mark of what is installed in it names that.
PYTHON_VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
VENV_VERSION := $(shell sed -nE 's/^version(_info)? = ([0-9]+\.[0-9]+).*/\2/p' $(VENV)/pyvenv.cfg 2>/dev/null)
INSTALLED := $(VENV)/installed-$(PYTHON_VERSION)
INSTALLED_DEV := $(INSTALLED)-dev
PIP := $(BIN)/python -m pip install --disable-pip-version-check
BENCHMARKS := $(or $(ONLY),request tick_overhead threads company guidance_end load network chaos replicas soak backends)
export BENTOML_DO_NOT_TRACK := 1
export SDXL_BACKEND_CACHE ?= $(abspath $(VENV))/converted

.PHONY: serve serve-split test test-full check format docs bench build

serve: $(INSTALLED)
	@exec $(BIN)/python -m entry.preflight $(HOST) $(PORT) $(BIN)/bentoml serve . --host $(HOST) --port $(PORT)

# The three services each by itself, as on three hosts. One that ends, and Ctrl-C, end all.
serve-split: $(INSTALLED)
	@exec $(BIN)/python -m entry.split $(HOST) $(PORT) $(BASE_PORT) $(REFINER_PORT)

test: $(INSTALLED_DEV)
	$(BIN)/pytest --numprocesses 2 --dist loadfile

test-full: $(INSTALLED_DEV)
	$(BIN)/pytest -m "full or not full" --remake --timeout 3600

check: $(INSTALLED_DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(INSTALLED_DEV)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(INSTALLED_DEV)
	$(BIN)/python -m docs.reference_pages
	$(BIN)/zensical build --clean --strict

bench: $(INSTALLED_DEV)
	for name in $(BENCHMARKS); do $(BIN)/python -m benchmarks.$$name || exit 1; done

build: $(INSTALLED)
	$(BIN)/bentoml build

$(INSTALLED): requirements.txt
	@[ -n "$(PYTHON_VERSION)" ] || { echo "sdxl-relay: $(PYTHON) is not there; install Python 3.11 or newer" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "sdxl-relay: Python 3.11 or newer is needed, and \
	$(PYTHON) is $(PYTHON_VERSION); name another, as in PYTHON=python3.12 make serve")'
	@echo "Installing PyTorch, diffusers and BentoML into $(VENV), once: 0.3 GB to download, and PyTorch's 0.2 GB"
	@echo "(for CPUs) to 2.7 GB (for GPUs of NVIDIA, what PyPI has for Linux)."
	@command -v nvidia-smi >/dev/null || echo "This machine has no NVIDIA driver. To get the small PyTorch on Linux, stop here and" \
	"type: PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make $(MAKECMDGOALS)"
	$(PYTHON) -m venv $(if $(filter $(PYTHON_VERSION),$(VENV_VERSION)),,--clear) $(VENV)
	$(PIP) -r requirements.txt
	@touch $@

$(INSTALLED_DEV): requirements-dev.txt requirements-docs.txt requirements-openvino.txt requirements-onnxruntime.txt $(INSTALLED)
	@echo "Installing what tests and checks need besides, 0.4 GB to download."
	$(PIP) -r requirements-dev.txt
	@touch $@
