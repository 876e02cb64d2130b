# Everything a newcomer needs: `make demo` to see it work, `make test` to see that it does.
# Needs Python 3.11 or newer, git and make; uses uv where it is installed, venv and pip where not.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
    $$p -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
READY_TO_RUN := $(VENV)/.ready-to-run

.PHONY: setup demo test test-long test-slow check dist fuzz smoke smoke-cuda smoke-all gpu-evidence bench chaos examples docs lock sbom clean

setup: $(READY)

# an environment with the locks $(1), and benchsuite in it
define INSTALL
	@test -n "$(PYTHON)" || { echo "benchsuite needs Python 3.11 or newer with venv; none was found." \
	    "Try: make PYTHON=/path/to/python3.11"; exit 1; }
	@if command -v uv >/dev/null 2>&1; then \
	    echo "setting up $(VENV) with uv"; \
	    uv venv --quiet --allow-existing --python "$(PYTHON)" $(VENV) \
	    && uv pip install --quiet --python $(BIN)/python --require-hashes $(1) \
	    && uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e . ; \
	else \
	    echo "setting up $(VENV) with venv and pip"; \
	    "$(PYTHON)" -m venv $(VENV) \
	    && $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes $(1) \
	    && $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . ; \
	fi
endef

$(READY): pyproject.toml requirements.lock
	$(call INSTALL,-r requirements.lock)
	@touch $(READY) $(READY_TO_RUN)

# without what tests and checks need: what the container has, and hatchling, which installs benchsuite itself
$(READY_TO_RUN): pyproject.toml docker/requirements.lock
	@mkdir -p build && awk '/^(hatchling|pathspec|pluggy|tomlkit|trove-classifiers)==/,!/\\$$/' requirements.lock > build/hatchling.lock
	$(call INSTALL,-r docker/requirements.lock -r build/hatchling.lock)
	@touch $(READY_TO_RUN)

demo: $(READY_TO_RUN)  # compiled once for all processes, even where the environment says otherwise; so for the tests
	PYTHONDONTWRITEBYTECODE= $(BIN)/benchsuite demo || [ $$? -eq 6 ]  # 6: undecided, as one run a level often is

# most tests wait for a server or a process, so more of them than there are cores
PARALLEL ?= 4
PYTEST = PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n $(PARALLEL) --dist worksteal
test: setup
	$(PYTEST) -m "not slow and not realtime and not long"

# whole sweeps, servers, killed processes, browsers, every command of the guide: CI runs them too
test-long: setup
	$(PYTEST) -m "long and not slow and not realtime"

# what `make test` has only a sample of, and what compares measured times: on a machine with nothing else to do
test-slow: setup
	$(BIN)/python -m pytest -m "slow or realtime"

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python tests/security/audit.py

# wheel and sdist in dist/, with what they hold and say of themselves checked
dist: setup
	rm -rf dist
	$(BIN)/python -m hatchling build -d dist
	DIST=dist $(BIN)/python -m pytest tests/test_package.py

# 1,000,000 hostile inputs for every parser of foreign bytes (half an hour of CPU); FUZZ_FLAGS="--only SSE --inputs 5000"
FUZZ_FLAGS ?=
fuzz: setup
	$(BIN)/python -m tests.fuzz.run $(FUZZ_FLAGS)
	$(BIN)/python -m tests.fuzz.costs
	$(BIN)/python -m pytest -n $(PARALLEL) -m hypothesis --hypothesis-profile fuzz

# a sweep against a real vLLM on the CPU: downloads about 3 GB the first time
smoke: setup
	tests/smoke/setup_vllm_cpu.sh .venv-vllm
	$(BIN)/python tests/smoke/run_vllm.py

# a tiny model on CUDA, checked and compared with its baseline: DEVICE=cuda fails without CUDA, fake tries the checks
DEVICE ?= auto
SMOKE_FLAGS ?=
smoke-cuda: setup
	$(BIN)/python tests/smoke/run_cuda.py --device $(DEVICE) $(if $(OUTPUT),--output $(OUTPUT)) $(SMOKE_FLAGS)

# llama.cpp, vLLM (CPU) and transformers end to end, TGI and Ollama as fakes: downloads about 4 GB the first time
smoke-all: setup
	tests/smoke/setup_vllm_cpu.sh .venv-vllm
	tests/smoke/setup_transformers.sh
	$(BIN)/python tests/smoke/run_all.py $(if $(OUTPUT),--output $(OUTPUT)) $(SMOKE_FLAGS)

# on a GPU machine: NVML beside nvidia-smi, a sweep of 8 to 128 users with energy, the decision, into results/gpu-NAME/
gpu-evidence: setup
	$(BIN)/python tests/smoke/gpu_evidence.py $(if $(OUTPUT),--output $(OUTPUT)) $(SMOKE_FLAGS)

# breaks things on purpose and counts the rows: writes the table of docs/RELIABILITY.md
chaos: setup
	$(BIN)/python -m benchmarks.chaos

# the pages of docs/, README, SECURITY, CONTRIBUTING and CHANGELOG as a site, into build/docs; a broken link fails
docs: .venv-docs/.ready
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict  # with --quiet it fails at nothing
.venv-docs/.ready: docs/requirements.lock
	"$(PYTHON)" -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r docs/requirements.lock
	@touch $@

# the stored run of the demo, and what README, guide and pictures show of it: on a machine with nothing else to do
examples: setup
	$(BIN)/python docs/make_pictures.py --demo --screenshots

bench: setup
	$(BIN)/python -m benchmarks

# pin anew what pyproject.toml allows, with the hashes of all platforms (needs uv); docker/'s is what an image needs of it
COMPILE := uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --generate-hashes \
    --custom-compile-command "make lock" --extra engine --extra fast
lock:
	$(COMPILE) --extra dev -o requirements.lock pyproject.toml
	$(COMPILE) -c requirements.lock -o docker/requirements.lock pyproject.toml
	echo 'mkdocs-material>=9.5,<10' | $(filter-out --extra engine fast,$(COMPILE)) -o docs/requirements.lock -

# what the image holds, as CycloneDX
sbom: setup
	$(BIN)/python -m tests.security.sbom build/sbom.cdx.json

clean:
	rm -rf $(VENV) .venv-vllm .venv-transformers .venv-docs build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
