# Forebay's commands; `make help` lists them. Every target that needs the environment sets it up first.

SHELL := /bin/bash
PYTHON ?= $(shell for python in python3 python3.11 python3.12 python3.13 python3.14; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
VARIANT ?=
CORPUS ?=
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup lock demo serve dagster test test-weaviate check bench-quality bench-fusion bench-retrieval bench-rerank bench-push bench-embed bench-vectors bench-embed-scaling bench-generate bench-ingest bench-incremental bench-kills bench-weaviate-kills bench-kafka bench-canary sizing quantize clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 24

setup: ## Set up .venv and the models (VARIANT=gpu: vLLM for GPUs); a second time it does nothing
	$(if $(PYTHON),,$(error Forebay needs Python 3.11 or newer on the PATH; with another name: make PYTHON=/path/to/python))
	@$(PYTHON) scripts/setup.py $(if $(VARIANT),--variant $(VARIANT))

lock: setup ## Pin what pyproject.toml asks for in locks/ (UPGRADE=1: take newer versions)
	@$(BIN)/python scripts/lock.py $(if $(UPGRADE),--upgrade)

demo: setup ## From documents to cited answers (CORPUS=/some/folder: over your own files)
	@$(BIN)/forebay demo $(if $(CORPUS),"$(CORPUS)")

serve: setup ## Serve the current release until Ctrl-C
	@$(BIN)/forebay serve

dagster: setup ## Dagster's web page at http://127.0.0.1:3000
	@$(BIN)/forebay dagster

test: setup ## All tests: unit, contract, integration, e2e (WORKERS=1: one after the other)
	@$(BIN)/python -m pytest --numprocesses $(or $(WORKERS),2) --max-worker-restart 0 --dist loadscope --no-loadscope-reorder --durations 25

test-weaviate: setup ## The suites of every store against a real Weaviate server (WEAVIATE_URL=http://127.0.0.1:8080)
	@$(if $(WEAVIATE_URL),,$(error Say where the server is: make test-weaviate WEAVIATE_URL=http://127.0.0.1:8080))
	@WEAVIATE_URL=$(WEAVIATE_URL) $(BIN)/python -m pytest -k weaviate $(wildcard tests/contract/test_vector_store*.py tests/contract/test_weaviate_*.py)

check: setup ## Lint, types, import rules, Dagster definitions
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright
	@$(BIN)/lint-imports
	@$(BIN)/dagster definitions validate

bench-quality: setup ## nDCG@10 and recall@100 on the sample corpus
	@$(BIN)/python benchmarks/retrieval_quality.py

bench-fusion: setup ## Fusion of the legs, tuned on half of the sample's questions and reported on the others
	@$(BIN)/python benchmarks/fusion_tuning.py

bench-retrieval: setup ## Latency and throughput of retrieval (SIZE=1000000: of the index alone, with that many chunks, in SHARDS=2)
	@$(BIN)/python $(if $(SIZE),benchmarks/retrieval_scale.py --size $(SIZE) $(if $(SHARDS),--shards $(SHARDS)),benchmarks/retrieval_latency.py)

bench-rerank: setup ## Milliseconds that a cross-encoder takes for a question's candidates
	@$(BIN)/python benchmarks/reranking.py

bench-push: setup ## Bytes of a second release push after 1% of changes
	@$(BIN)/python benchmarks/push.py

bench-embed: setup ## Texts/s of the embedding engine, bare and through Spark (5 minutes)
	@$(BIN)/python benchmarks/embedding_speed.py

bench-embed-scaling: setup ## Workers against threads, and what more executors would bring (3 minutes)
	@$(BIN)/python benchmarks/embedding_scaling.py

bench-generate: setup ## Tokens/s and time to first token of the generator, as published and as AWQ (5 minutes)
	@$(BIN)/python benchmarks/generation.py

bench-vectors: setup ## Recall, size and speed of smaller vectors on 100,000 real chunks (25 minutes, later 8)
	@$(BIN)/python benchmarks/vectors.py

bench-ingest: setup ## Parse, chunk and check 20,000 and 200,000 documents (about 10 minutes)
	@$(BIN)/python benchmarks/ingest.py

bench-incremental: setup ## What 1% of changes, and 1,000 deletions, cost against a full run (about 20 minutes)
	@$(BIN)/python benchmarks/incremental.py

bench-kills: setup ## SIGKILL at 20 random moments, then resume (about 40 minutes)
	@$(BIN)/python benchmarks/kill_resume.py

bench-weaviate-kills: setup ## SIGKILL a load into Weaviate's double at 10 random moments (100,000 chunks, 10 minutes)
	@$(BIN)/python benchmarks/weaviate_kills.py

bench-kafka: setup ## 50,000 messages while broker and consumer are killed
	@$(BIN)/python benchmarks/kafka_exactly_once.py

bench-canary: setup ## How often the canary's rule rolls back good and bad releases (simulated, 1 minute)
	@$(BIN)/python benchmarks/canary_rule.py

sizing: setup ## What 100 million documents need, from measured rates
	@$(BIN)/python benchmarks/sizing.py

quantize: setup ## Make and check the AWQ checkpoint of the generation model (minutes)
	@$(PYTHON) scripts/setup.py --quantize
	@$(BIN)/forebay quantize

clean: ## Remove environments, data and caches of this folder (not the model cache)
	rm -rf .venv .venv-quantize .forebay .pytest_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info
