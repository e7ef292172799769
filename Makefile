# Every target sets up what it needs: Python >= 3.11 with venv is enough.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
UV_VERSION := 0.13.8
UV := .tools/bin/uv
RUN := .venv/bin
export UV_PYTHON_DOWNLOADS := never

.PHONY: help install fmt lint generate test conformance messages e2e demo coverage clean

help: ## show this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

install: .venv/.installed ## make .venv with everything, from the lock file

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo 'Cannot install: Seamark needs Python >= 3.11; name one with make PYTHON=python3.12' >&2; exit 2; }
	@$(PYTHON) -m venv .tools \
	  || { echo 'Cannot install: this Python has no venv; on Debian and Ubuntu: apt-get install python3-venv' >&2; exit 2; }
	@.tools/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

.venv/.installed: $(UV) uv.lock pyproject.toml $(wildcard services/*/pyproject.toml operators/*/pyproject.toml)
	@echo 'Installing from uv.lock (about a minute, once)'
	@$(UV) sync --quiet --frozen --all-packages --all-extras --python $$(.tools/bin/python -c 'import sys; print(sys.executable)')
	@touch $@

fmt: install ## format the code
	$(RUN)/ruff check --fix --quiet .
	$(RUN)/ruff format --quiet .

lint: install ## formatting, lint, types, import layers
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy
	$(RUN)/lint-imports

generate: install ## remake generated pages, tables, schema and dashboards
	$(RUN)/python docs/generate.py
	$(RUN)/python charts/generate.py
	$(RUN)/python charts/dashboards

# What reads the alert rules as Prometheus does: this machine's, else that of Debian's package, which is not installed.
PROMTOOL ?= $(or $(shell command -v promtool),.tools/promtool)
export PROMTOOL

.tools/promtool:
	@tests/rules/fetch_promtool.sh $@

test: install $(PROMTOOL) ## all tests; no cluster, no internet
	$(RUN)/pytest -q -n auto --dist loadfile tests/unit tests/services tests/operators tests/charts tests/manifests tests/rules tests/benchmarks
	$(RUN)/pytest -v tests/local

E2E := $(RUN)/pytest -v --durations=0 --durations-min=1 tests/e2e

# Two at a time what shares the platform in peace; then, one by one, what stops it or measures it.
e2e: export SEAMARK_E2E_TAG = $(TAG)
e2e: install ## the scenarios on your kubeconfig's cluster; needs KServe, Envoy Gateway, helm and the images of make images
	@status=0; \
	$(E2E) -n 2 --dist loadgroup -m 'not alone' || status=$$?; \
	$(E2E) -m alone || status=$$?; \
	exit $$status

.venv-conformance/.installed: $(UV) tests/conformance/uv.lock
	@UV_PROJECT_ENVIRONMENT=$(CURDIR)/.venv-conformance $(UV) sync --quiet --frozen --project tests/conformance \
	  --python $$(.tools/bin/python -c 'import sys; print(sys.executable)')
	@touch $@

conformance: install .venv-conformance/.installed ## the predictor, asked by clients that others wrote
	@# Their messages have the same names, so each client has a process of its own.
	@for client in kserve triton mlserver; do \
	  .venv-conformance/bin/pytest -q tests/conformance/test_$$client.py || exit; done

messages: $(UV) # remake the gRPC messages; not a part of generate, for it needs the package index
	@services/predictor/seamark_predictor/oip/generate.sh $(CURDIR)/$(UV)

coverage: install ## line and branch coverage of the core
	$(RUN)/pytest tests/unit --cov --cov-report=term-missing --cov-fail-under=100

demo: install ## the main job, live, on this machine (under 5 minutes)
	@$(RUN)/seamark demo

# --- containers and clusters

TAG ?= dev
IMAGES := operator predictor monitor collector analyzer trainer
IMAGE_BUILD ?= docker build
HELM_ARGS ?=
.PHONY: images image-tools kind kind-down deploy undeploy

images: ## build the images with Docker; others: IMAGE_BUILD="podman build"
	@TAG='$(TAG)' IMAGE_BUILD='$(IMAGE_BUILD)' docker/build.sh $(IMAGES)

kind: ## a local cluster in Docker, with KServe and Envoy Gateway
	@docker/kind/kind.sh up

kind-down: ## delete the cluster of make kind
	@docker/kind/kind.sh down

deploy: ## install or upgrade Seamark in your kubeconfig's cluster
	@values=; \
	if [ "$$(kubectl config current-context)" = kind-seamark ]; then \
	  docker/kind/kind.sh load $(IMAGES:%=seamark/%:$(TAG)); values='-f charts/seamark/values-kind.yaml'; fi; \
	helm upgrade --install seamark charts/seamark -n seamark-system --create-namespace $$values \
	  --set image.tag=$(TAG) --wait --timeout 5m $(HELM_ARGS)
	@# Helm does not bring up to date what an uninstalled release has left behind on purpose.
	@helm get manifest seamark -n seamark-system | kubectl apply --server-side --force-conflicts -f - >/dev/null
	@# A tag that stays the same does not tell the cluster that its images are new.
	@if [ '$(TAG)' = dev ]; then \
	  kubectl -n seamark-system rollout restart deployment -l app.kubernetes.io/instance=seamark; \
	  kubectl -n seamark-system rollout status deployment -l app.kubernetes.io/instance=seamark --timeout=5m; fi

undeploy: ## remove it; models, their history and the log stay
	helm uninstall seamark -n seamark-system --wait

image-tools: $(UV) # remake docker/tools.txt, the lock of what the image build runs
	@$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --upgrade \
	  docker/tools.in -o docker/tools.txt

clean: ## remove what make and the demo made
	rm -rf .venv .venv-conformance .bench .tools .seamark .mypy_cache .ruff_cache .pytest_cache .hypothesis
