# Every target installs what it needs into .venv first, or, with PYTHON=..., runs in that interpreter and installs nothing.
VENV ?= .venv
TOOLS ?= sample:
INDEX ?= index
HOST ?= 127.0.0.1
PORT ?= 8000
RESULTS ?= results
PYTEST_ARGS ?=

ifdef PYTHON
  PY := $(PYTHON)
  SERVE_ENV :=
  FULL_ENV :=
else
  PY := $(VENV)/bin/python
  SERVE_ENV := $(VENV)/.serve-installed
  FULL_ENV := $(VENV)/.full-installed
endif
QTA := $(PY) -m qta

MTRB := mtrb/restbench mtrb/metatool mtrb/toolbench mtrb/toolbench-standin sample
PUBLIC := $(addprefix public/,api-bank tooltalk toolalpaca seal-tools bfcl nestful toolselect mcpm-registry)
SYSTEMS := $(addprefix --system ,random bm25-paper minilm bm25 dense dense-float32 hybrid completed clauses rewritten)
TAUGHT := $(addprefix --system ,constant-suffix usage-prior minilm-ft qta-no-rewrite)
ALIGNED := $(if $(wildcard rewriters),$(addprefix --system ,qta-paper qta-paper+raw qta))
BASELINE := --baseline qta-no-rewrite
EXPANDED := $(if $(wildcard generator),--system expanded)
SUBSET ?= restbench
SPLIT ?= $(if $(filter metatool,$(SUBSET)),train-1,train)
OUT ?= rewriter

.DEFAULT_GOAL := help
.PHONY: help install serve index test lint format eval evidence choices bench bench-serve bench-peers bench-servers bench-changes bench-overload bench-coverage bench-rewriter train-dpo rewriters rewriter encoder lock clean

help:           ## Show this help
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'
	@echo "Variables: PYTHON (an interpreter that is set up), TOOLS, INDEX, HOST, PORT, RESULTS, PYTEST_ARGS"

# An index that is there may hold tools that were put into it since, so that it is only built again when TOOLS is given.
serve: $(SERVE_ENV) ## Index TOOLS (the bundled sample unless set) and serve them on 127.0.0.1:8000
	$(QTA) index $(TOOLS) --out $(INDEX)$(if $(filter file,$(origin TOOLS)), --keep)
	$(QTA) serve --index $(INDEX) --host $(HOST) --port $(PORT)

index: $(SERVE_ENV) ## Index TOOLS into INDEX
	$(QTA) index $(TOOLS) --out $(INDEX)

install: $(FULL_ENV) ## Install everything, for training, evaluation and tests too

test: $(FULL_ENV) ## Run all tests; those on benchmark data need MTRB_HOME
	$(PY) -m pytest $(PYTEST_ARGS)

lint: $(FULL_ENV) ## Check style and types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

format: $(FULL_ENV) ## Format the code
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

eval: $(FULL_ENV) ## Measure all systems on MTRB, the sample and the public test halves, into RESULTS
	$(QTA) eval $(MTRB) $(SYSTEMS) $(EXPANDED) $(TAUGHT) $(ALIGNED) $(BASELINE) --json $(RESULTS)/eval.json --markdown $(RESULTS)/eval.md \
	  --plot $(RESULTS)/sufficiency.png
	$(QTA) eval $(PUBLIC) $(SYSTEMS) --mean --baseline minilm --json $(RESULTS)/public.json \
	  --markdown $(RESULTS)/public.md

evidence: $(FULL_ENV) ## Measure what each thing that examples teach is worth, after `make rewriters`, into RESULTS
	$(PY) -m benchmarks.evidence --out $(RESULTS)

choices: $(FULL_ENV) ## Print what the defaults were chosen by: the public validation halves, into RESULTS
	$(PY) -m benchmarks.choices --out $(RESULTS)
	$(PY) -m benchmarks.fewshot --out $(RESULTS)

bench: bench-serve bench-peers ## Measure the service, and compare it with other ways to find tools, into RESULTS

bench-serve: $(FULL_ENV) ## Measure index time, latency, throughput and memory over all AWS operations, into RESULTS
	$(PY) -m benchmarks.serve --out $(RESULTS)

bench-peers: $(FULL_ENV) ## Compare with peers over 20,000 and 46,000 real tools, about 50 minutes, into RESULTS
	$(if $(PYTHON),,$(PY) -m pip install -q -r benchmarks/peers.txt)
	$(PY) -m benchmarks.peers --out $(RESULTS)

bench-servers: $(FULL_ENV) ## Compare HTTP servers under load and under slow clients, into RESULTS
	$(PY) -m benchmarks.servers --out $(RESULTS)

train-dpo: $(FULL_ENV) ## Align a rewriter with N examples of SUBSET on top of BASE, into OUT
	$(QTA) train dpo $(if $(filter sample,$(SUBSET)),sample,mtrb/$(SUBSET)) --split $(SPLIT) --out $(OUT) \
	  $(if $(BASE),--base $(BASE)) $(if $(N),--examples $(N))

rewriters: $(FULL_ENV) ## Align the rewriters that `make eval` and `make evidence` measure, several hours on a CPU
	$(PY) -m benchmarks.rewriters

bench-changes: $(FULL_ENV) ## Measure how soon a changed tool is found, and requests while changes are merged, into RESULTS
	$(PY) -m benchmarks.changes --out $(RESULTS)

bench-overload: $(FULL_ENV) ## Measure answers at one, two and five times what the service can do, into RESULTS
	$(PY) -m benchmarks.overload --out $(RESULTS)

bench-coverage: $(FULL_ENV) ## Measure what `"k": "auto"` holds, into RESULTS
	$(PY) -m benchmarks.coverage --out $(RESULTS)

bench-rewriter: $(FULL_ENV) ## Measure how long a rewrite takes, beside transformers, into RESULTS
	$(PY) -m benchmarks.rewriter --out $(RESULTS)

rewriter: $(FULL_ENV) ## Make the served rewriter file again from its trained layers
	$(PY) -m qta.export.rewriter --out qta/weights

encoder: $(FULL_ENV) ## Make the encoder file again from the trained layers and the published weights
	$(PY) -m qta.export.encoder --out qta/weights

lock: $(FULL_ENV) ## Renew the lock files
	$(PY) -m piptools compile -q --strip-extras --no-emit-find-links --no-emit-index-url -o requirements.lock pyproject.toml
	$(PY) -m piptools compile -q --strip-extras --no-emit-find-links --no-emit-index-url --all-extras -c requirements.lock \
	  -o requirements-full.lock pyproject.toml
	sed -i 's/^\(torch==[0-9.]*\)+cpu/\1/' requirements-full.lock

clean:          ## Remove the virtual environment and the index
	rm -rf $(VENV) $(INDEX)

$(VENV)/.serve-installed: requirements.lock pyproject.toml
	test -x $(VENV)/bin/python || python3 -m venv $(VENV)
	$(VENV)/bin/python -m pip install -q -r requirements.lock
	$(VENV)/bin/python -m pip install -q --no-deps -e .
	touch $@

$(VENV)/.full-installed: requirements-full.lock $(VENV)/.serve-installed
	$(VENV)/bin/python -m pip install -q -r requirements-full.lock
	touch $@
