# Commands of the project. `make` alone lists them.
# Settings of `make run`: PORT=8080 (the gateway's), USER=2 and RULE=3 (replicas), ADMINS=ada,bob (names of admins).

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PORT ?= 8080
RULE ?= 3
ADMINS ?=
# The environment's USER is the name of whoever is signed in.
ifneq ($(origin USER),command line)
USER := 2
endif

PY := .venv/bin/python
PYTEST := $(PY) -m pytest
# Unit, contract and integration tests use all cores; e2e tests start a dozen processes each and come one by one.
PARALLEL := -n auto --dist worksteal
# Each of these processes starts servers of its own: five at a time, most of which wait for somebody.
SERVERS_EACH := -n 2 --dist worksteal

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

.PHONY: run
run: installed ## start the whole system here: PORT=8080 USER=2 RULE=3 ADMINS=
	@exec $(PY) -m tools.embedded --port '$(PORT)' --user '$(USER)' --rule '$(RULE)' --admins '$(ADMINS)'

.PHONY: test
test: installed-test ## everything below up to e2e; sets itself up
	@$(MAKE) lint
	@$(MAKE) types
	@$(MAKE) contracts
	$(PYTEST) $(PARALLEL) tests/unit tests/contract tests/integration
	$(PYTEST) tests/e2e

.PHONY: lint
lint: installed-test ## ruff: rules and format
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

.PHONY: types
types: installed-test ## mypy --strict on samebase
	$(PY) -m mypy

.PHONY: contracts
contracts: installed-test ## which package may import which
	.venv/bin/lint-imports

.PHONY: unit
unit: installed-test ## unit tests
	$(PYTEST) $(PARALLEL) tests/unit

.PHONY: contract
contract: installed-test ## each port's suite, on its fake and on the real thing
	$(PYTEST) $(PARALLEL) tests/contract

.PHONY: integration
integration: installed-test ## services and the sync process, each by itself
	$(PYTEST) $(PARALLEL) tests/integration

.PHONY: e2e
e2e: installed-test ## real processes, real HTTP
	$(PYTEST) tests/e2e

.PHONY: real
real: installed-test ## the same on real MySQL and Kafka servers, and their faults (needs Docker; not part of test)
	$(PYTEST) -m docker $(SERVERS_EACH) tests/contract tests/integration

.PHONY: mutants
mutants: installed-test ## remove each rule of the core, and see that the tests notice
	$(PY) -m tools.mutants

.PHONY: soak
soak: installed-test ## the core's random schedules for an hour
	$(PY) bench/soak.py --minutes 60

.PHONY: bench
bench: installed ## how fast everything is, on real servers: writes docs/performance.md (needs Docker; 15 minutes)
	$(PY) -m bench.real --write docs/performance.md

.PHONY: bench-core
bench-core: installed ## how fast the core is
	$(PY) bench/core.py

.PHONY: bench-quick
bench-quick: installed ## every figure of bench, with small counts: that it works (needs Docker)
	$(PY) -m bench.real --quick

ROLES := user rule gateway sync
TAG ?= dev

.PHONY: images
images: ## container images samebase-user, -rule, -gateway, -sync: TAG=dev
	@for role in $(ROLES) secrets; do \
		DOCKER_BUILDKIT=1 docker build --quiet --target $$role --tag samebase-$$role:$(TAG) --build-arg VERSION=$(TAG) \
			--build-arg REVISION=$$(git rev-parse --short HEAD 2>/dev/null || echo unknown) . >/dev/null || exit 1; \
		docker image inspect --format 'samebase-'$$role':$(TAG)  {{.Size}} bytes' samebase-$$role:$(TAG); \
	done

# Any Python will do: nothing has to be installed.
COMPOSE = $(shell test -x $(PY) && echo $(PY) || echo python3) -m tools.compose --port '$(PORT)'
from_command_line = $(if $(filter command,$(firstword $(origin $1))),--$2 '$($1)')

.PHONY: up
up: images ## the whole system in containers, with MySQL and Kafka (needs Docker): PORT=8080 ADMINS=
	@$(COMPOSE) up --admins '$(ADMINS)'

.PHONY: scale
scale: ## more replicas, or fewer, of the system in containers: RULE=5 USER=2
	@$(COMPOSE) scale $(call from_command_line,RULE,rule) $(call from_command_line,USER,user) --admins '$(ADMINS)'

.PHONY: down
down: ## stop the system in containers; its data stays
	@$(COMPOSE) down

# kubectl's cluster, whichever that is. K8S_LOAD is a command that gives it images of this machine.
K8S := $(PY) -m tools.kubernetes

.PHONY: k8s-render
k8s-render: installed ## the manifests of every overlay in k8s/, as YAML (needs kubectl)
	@$(K8S) render

.PHONY: k8s-up
k8s-up: installed images ## the system on your Kubernetes cluster, in the namespace samebase
	@$(K8S) up

.PHONY: k8s-down
k8s-down: installed ## remove it from there, data included
	@$(K8S) down

.PHONY: k8s-test
k8s-test: installed-test images ## the tests on your Kubernetes cluster, in namespaces of their own (needs Go, too)
	$(PYTEST) -m kubernetes tests/k8s

.PHONY: compose-test
compose-test: installed-test ## the tests on the system in containers, beside one that runs (needs Docker; not part of test)
	$(PYTEST) -m docker -s tests/e2e/compose

UV_VERSION := 0.13.9

.PHONY: lock
lock: installed ## locks/*.txt from pyproject.toml and constraints.txt: what each image installs, with hashes
	@$(PY) -m pip install --quiet uv==$(UV_VERSION)
	@for role in $(ROLES); do \
		.venv/bin/uv pip compile --quiet pyproject.toml --extra $$(test $$role = sync && echo mysql || echo $$role) \
			--constraints constraints.txt --python-platform linux --python-version 3.13 --generate-hashes \
			--no-annotate --no-emit-index-url --custom-compile-command 'make lock' --output-file locks/$$role.txt || exit 1; \
	done

.PHONY: clean
clean: ## remove .venv, caches, and the system in containers with its data; the data of make run stays
	@if docker compose version >/dev/null 2>&1; then $(COMPOSE) remove; fi
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
	find samebase services tools tests bench -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: installed
installed:
	@tools/venv.sh all

.PHONY: installed-test
installed-test:
	@tools/venv.sh test
