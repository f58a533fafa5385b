# One command each. `make help` lists them.
#
#   PYTHON=python3.12   which interpreter makes .venv (3.10 to 3.13)
#   GPU=0 or GPU=1      without or with the CUDA libraries; detected by default

PYTHON ?= python3
GPU ?= $(shell nvidia-smi -L >/dev/null 2>&1 && echo 1 || echo 0)
VENV := .venv
RUN := $(VENV)/bin/python
LOCK := $(if $(filter 1,$(GPU)),requirements-gpu.lock,requirements.lock)
STAMP := $(VENV)/installed-$(basename $(LOCK))

export TF_CPP_MIN_LOG_LEVEL ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup venv-peers demo fine-tune own-photos test test-all lint type format docs docs-models docs-recipes docs-site bench bench-peers lock clean

help:  ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 14

setup: $(STAMP)  ## create .venv and install what the lock file names

$(STAMP): $(LOCK)
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "error: $(PYTHON) is not Python 3.10 to 3.13: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	@test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check --require-hashes -r $(LOCK)
	@rm -f $(VENV)/installed-* && touch $@

demo: setup  ## train EfficientNet-Lite0 on real images on two CPU towers, evaluate, draw curves
	@$(RUN) train.py --flagfile=recipes/demo.flags
	@$(RUN) eval.py --train_dir=runs/demo --moving_average_decay=0.98
	@echo
	@echo "EfficientNet-Lite0 has learned to read handwritten digits; the last line above is its accuracy"
	@echo "on the images that it has not seen, and runs/demo/eval/eval.json holds it. Next:"
	@echo "  open runs/demo/curves.png"
	@echo "  $(VENV)/bin/tensorboard --logdir=runs/demo"
	@echo "  $(RUN) train.py --model=resnet50 --device=cpu --num_gpus=2 --batch_size=4 --num_batches=5"
	@echo "  $(RUN) train.py --help"

fine-tune: setup  ## EfficientNet-Lite0 fine-tuned on digits, next to training from scratch
	@$(RUN) train.py --flagfile=recipes/fine_tune_digits.flags --pretrained --train_dir=runs/fine_tuned
	@$(RUN) train.py --flagfile=recipes/fine_tune_digits.flags --train_dir=runs/from_scratch_2_epochs
	@$(RUN) train.py --flagfile=recipes/fine_tune_digits.flags --num_epochs=20 --eval_every_epochs=2 \
	  --train_dir=runs/from_scratch_20_epochs
	@$(RUN) -m benchmark_cnn.reporting.curves runs/fine_tuned runs/from_scratch_2_epochs \
	  runs/from_scratch_20_epochs --output=runs/fine_tuning.png

venv-peers: .venv-peers/installed  ## PyTorch, torchvision, timm and JAX in .venv-peers, for benchmarks (6 GB)

.venv-peers/installed: requirements-peers.lock
	@test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-peers.lock
	@touch $@

own-photos: setup  ## letters on photographs, fine-tuned in five variants of three seeds: a table
	@$(RUN) -m benchmarks.own_photos.table

test: setup  ## the tests, without the long ones
	$(RUN) -m pytest -q -n 2 --dist loadfile -m "not slow"

test-all: setup  ## all tests
	$(RUN) -m pytest -q -n 2 --dist loadfile

lint: setup  ## ruff: rules and formatting; import-linter: who may import whom
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(VENV)/bin/lint-imports

type: setup  ## pyright
	$(RUN) -m pyright

format: setup  ## let ruff fix what it can
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

docs: setup  ## rewrite the pages of the flags, and the tables of the families of networks
	$(RUN) -m benchmark_cnn.flags.help
	$(RUN) -m recipes.families

docs-models: setup  ## rewrite the page of the networks, which builds all of them: some minutes
	$(RUN) -m models.describe --output=docs/models.md
	$(RUN) -m recipes.families

docs-recipes: setup  ## rewrite the table and the picture of the recipes
	$(RUN) -m recipes.page

docs-site: setup  ## the documentation as a site in build/site; a broken link is an error
	@NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --quiet --strict
	@echo "open build/site/index.html"

bench: setup  ## the engine next to a bare loop and Keras fit
	$(RUN) -m benchmarks.engine

bench-peers: setup venv-peers  ## training and inference next to timm, Keras and a bare loop: an hour
	@$(RUN) -m benchmarks.peers

lock:  ## resolve the dependencies again (needs uv)
	for gpu in "" "--extra gpu"; do \
	  uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-header \
	    --no-annotate --no-emit-index-url --extra demo --extra weights --extra export --extra aws --extra loggers --extra docs --extra test $$gpu pyproject.toml \
	    -o requirements$${gpu:+-gpu}.lock; done

clean:  ## remove .venv and what the demo wrote
	rm -rf $(VENV) runs/demo data/digits
