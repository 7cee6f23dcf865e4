# Everything a contributor or CI runs. Needs Go, make, git and a POSIX shell; the linter is built from
# internal/tools, pinned there. `make help` lists the targets.

SHELL := /bin/sh
.DEFAULT_GOAL := help

# Each module must build on its own, whatever workspace lies around it. No VCS stamp: a checkout owned by
# another user, as CI often has it, would make the build fail.
export GOWORK := off
export GOFLAGS := $(strip $(shell go env GOFLAGS) -buildvcs=false)

TOOLS   := internal/tools
LINTER  := $(CURDIR)/.bin/golangci-lint
# All modules but those that only pin programs, and those whose dependencies take minutes to build.
MODULES := $(filter-out ./$(TOOLS) ./e2e/backends/% ./bench/peers,$(patsubst %/go.mod,%,$(sort $(shell \
	find . \( -name '.?*' -o -name testdata -o -name node_modules \) -prune -o -name go.mod -print))))

# What the end-to-end tests run against, each pinned by a module of its own in e2e/backends.
BACKENDS := collector prometheus jaeger loki

# Flags for `make unit`, and arguments for the demos and the benchmark (as in `make demo ARGS=--serve`).
TESTFLAGS ?= -shuffle=on -timeout=15m
ARGS      ?=

# What `make test` runs, in this order; each is a target of its own.
CHECKS := imports vet build unit bounded hostile budgets lint generate-check tidy-check

# The race detector needs cgo, a C compiler with its headers, and a platform that has it: try.
has_race = go build -race runtime/cgo >/dev/null 2>&1

# $(call each,command): the command in every module, the first failure ends it.
define each
@for m in $(MODULES); do \
	echo "  $$m: $(1)"; \
	(cd "$$m" && $(1)) || { echo "failed in module $$m: $(1)" >&2; exit 1; }; \
done
endef

.PHONY: help
help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-15s %s\n", $$1, $$2 }' Makefile

.PHONY: demo
demo: ## Run the quickstart: a server, a client and a receiver in one process (ARGS=--serve keeps it up).
	@cd examples/quickstart && go run . $(ARGS)

.PHONY: demo-agent
demo-agent: ## Run the agent example: one trace through four processes.
	@cd examples/agent && go run . $(ARGS)

.PHONY: demo-oauth
demo-oauth: ## Run the OAuth example: what a protected server decides, recorded (ARGS=--serve keeps it up).
	@cd examples/oauth && go run . $(ARGS)

.PHONY: test
test: ## Run every check, as CI does.
	@begin=$$(date +%s); n=0; \
	echo "checking modules: $(MODULES)"; \
	for check in $(CHECKS); do \
		n=$$((n + 1)); start=$$(date +%s); \
		echo "==> $$check"; \
		$(MAKE) --no-print-directory "$$check" || { echo "FAIL: $$check. Run it alone with: make $$check" >&2; exit 1; }; \
		echo "    $$check passed in $$(($$(date +%s) - start)) s"; \
	done; \
	race=on; $(has_race) || race="OFF, no working C compiler"; \
	echo "PASS: $$n checks, $(words $(MODULES)) modules, $$(($$(date +%s) - begin)) s, race detector $$race"

.PHONY: imports
imports: ## Check who may import whom, through every dependency.
	@go test -count=1 ./internal/repocheck

.PHONY: vet
vet: ## Run go vet on every module.
	$(call each,go vet ./...)

.PHONY: build
build: ## Compile every module.
	$(call each,go build -o /dev/null ./...)

.PHONY: unit
unit: ## Run the tests of every module but e2e, with the race detector where there is one.
	@race=-race; $(has_race) || { race=; \
		echo "  race detector: OFF. It needs cgo and a C compiler, and none works here; data races go unseen."; }; \
	for m in $(filter-out ./e2e,$(MODULES)); do \
		echo "  $$m: go test $$race $(TESTFLAGS) ./..."; \
		(cd "$$m" && go test $$race $(TESTFLAGS) ./...) || { echo "failed in module $$m: go test" >&2; exit 1; }; \
	done

# The race detector makes it ten times as slow, so under make unit it is smaller.
.PHONY: bounded
bounded: ## Flood what is kept with more than it takes, and measure it, without the race detector.
	@go test -count=1 -timeout=10m -run='^(TestLimits|Test.*(Is|Are)Bounded)$$' ./otelmcp

.PHONY: hostile
hostile: ## Attack the books with 100,000 messages of hostile peers, without the race detector.
	@go test -count=1 -timeout=10m ./internal/hostile

# How long it all takes: about MESSAGES/2000 seconds, and SOAKTIME. Go writes what fuzzing finds to testdata.
MESSAGES ?= 1000000
SOAKTIME ?= 30m
SEED     ?= 0

.PHONY: soak
soak: ## Attack the books for long: a million hostile messages, then every fuzz target (MESSAGES=, SEED=, SOAKTIME=30m, ARGS=-only=Parse).
	@go build -o .bin/soak ./internal/hostile/soak
	@exec .bin/soak -messages=$(MESSAGES) -seed=$(SEED) -time=$(SOAKTIME) $(ARGS) $(MODULES)

# The race detector changes what is allocated, so these run without it.
BUDGETS := Budget|CostDoesNotGrow|HeapStaysFlat|SessionMemory

.PHONY: budgets
budgets: ## Check that the instrumentation allocates no more than its budgets, whatever there was before.
	@cd bench && out=$$(go test -count=1 -timeout=20m -run='$(BUDGETS)' -v .) || { echo "$$out"; exit 1; }; echo "$$out" | grep -v '^ *=== '

.PHONY: budgets-lower
budgets-lower: ## Write bench/budgets.json anew where less is needed now.
	@cd bench && go test -count=1 -run='^TestBudget$$' . -lower && git --no-pager diff --stat budgets.json

.PHONY: tools
tools: ## Build the pinned linter into .bin.
	@mkdir -p .bin
	@[ -x "$(LINTER)" ] || echo "  building the linter from $(TOOLS); the first time takes minutes"
	@cd $(TOOLS) && go build -o "$(CURDIR)/.bin/" tool

.PHONY: lint
lint: tools ## Run golangci-lint on every module.
	$(call each,'$(LINTER)' run ./...)

.PHONY: fmt
fmt: tools ## Format every module.
	$(call each,'$(LINTER)' fmt ./...)

.PHONY: generate
generate: ## Write every generated file anew.
	$(call each,go generate ./...)

# Compares the tree before and after, not with HEAD, so that it works with uncommitted and untracked files.
# The two snapshots live in a throwaway repository; the real one is not touched.
.PHONY: generate-check
generate-check: ## Check that the generated files are current.
	@set -e; store=$$(mktemp -d); trap 'rm -rf "$$store"' EXIT; trap 'exit 1' INT TERM; \
	unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_OBJECT_DIRECTORY GIT_COMMON_DIR || :; \
	git init -q --bare "$$store"; \
	g() { git --git-dir="$$store" --work-tree=. -c core.safecrlf=false "$$@"; }; \
	g add -A; before=$$(g write-tree); \
	$(MAKE) --no-print-directory generate; \
	g add -A; after=$$(g write-tree); \
	if [ "$$before" != "$$after" ]; then \
		g --no-pager diff --stat "$$before" "$$after"; \
		echo "generated files were not current; they are now: look at them and commit them" >&2; exit 1; \
	fi

# go mod tidy wants the modules of its dependencies' tests too. Where those cannot be had the check says so
# and passes: vet and build already fail on a go.mod that lacks something.
.PHONY: tidy-check
tidy-check: ## Check that every go.mod and go.sum is tidy.
	@set -e; err=$$(mktemp); trap 'rm -f "$$err"' EXIT; trap 'exit 1' INT TERM; \
	for m in $(MODULES); do \
		echo "  $$m: go mod tidy -diff"; \
		if diff=$$(cd "$$m" && go mod tidy -diff 2>"$$err"); then continue; fi; \
		if [ -n "$$diff" ]; then \
			printf '%s\n' "$$diff"; echo "not tidy: run go mod tidy in $$m" >&2; exit 1; \
		fi; \
		if grep -Eq 'dial tcp|no such host|lookup disabled|i/o timeout|connection refused|unreachable' "$$err"; then \
			echo "  $$m: NOT checked, modules could not be downloaded: $$(tail -n 1 "$$err")"; \
		else \
			cat "$$err" >&2; echo "go mod tidy failed in $$m" >&2; exit 1; \
		fi; \
	done

# A build that is interrupted goes on where it was: Go caches each package. The tag leaves out Prometheus's
# service discovery, most of its dependencies, since nothing here is scraped.
.PHONY: backends
backends: ## Build the Collector, Prometheus, Jaeger and Loki into .bin; the first time takes a quarter of an hour.
	@mkdir -p .bin; n=0; \
	for b in $(BACKENDS); do \
		n=$$((n + 1)); start=$$(date +%s); what=tool; [ "$$b" != collector ] || what=.; \
		echo "  $$n of $(words $(BACKENDS)): $$b"; \
		(cd e2e/backends/$$b && go build -tags=remove_all_sd -ldflags='-s -w' -o "$(CURDIR)/.bin/" $$what) || exit 1; \
		echo "    built in $$(($$(date +%s) - start)) s"; \
	done

E2EFLAGS ?= -timeout=20m

# Written by npm, so as new as what is installed. Without npm the tests of those clients are skipped, or fail in CI.
CLIENTS := e2e/clients/node_modules/.package-lock.json

$(CLIENTS): e2e/clients/package-lock.json
	@if command -v node >/dev/null && command -v npm >/dev/null; then \
		echo "  installing MCP clients with npm"; \
		cd e2e/clients && npm ci --loglevel=error --no-audit --no-fund >/dev/null; \
	else \
		echo "  MCP clients for Node.js: NOT installed, node or npm is missing" >&2; \
	fi

.PHONY: clients
clients: $(CLIENTS) ## Install the foreign MCP clients that the end-to-end tests use.

.PHONY: e2e
e2e: backends clients ## Run the end-to-end tests against real backends, with foreign clients and a foreign server.
	cd e2e && go test -count=1 $(E2EFLAGS) ./...
	cd internal/interop && go test -count=1 $(E2EFLAGS) -run='^TestMCPGrafana' . -heavy

.PHONY: stack
stack: backends ## Run the Collector, Jaeger, Prometheus and Loki on loopback until Ctrl-C, without a container engine.
	@cd e2e && go build -o "$(CURDIR)/.bin/stack" ./cmd/stack
	@.bin/stack $(ARGS)

.PHONY: bench
bench: ## Measure what instrumentation costs, side by side with others, and write docs/performance.md (ARGS=-quick to try).
	@echo "  building the contenders; the first time takes minutes"
	@cd bench/peers && go run . -doc "$(CURDIR)/docs/performance.md" $(ARGS)

.PHONY: clean
clean: ## Remove what make builds and fetches, the backends too.
	rm -rf .bin coverage e2e/clients/node_modules
