# Two commands are promised: `make demo` and `make test`, on a Debian machine with Go and nothing else.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# The same flags for everything, so that everything is compiled once; the race detector alone needs cgo, and a second time.
export GOFLAGS := -buildvcs=false -trimpath
export CGO_ENABLED := 0

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
GO := go
TOOL := $(GO) tool -modfile=tools/go.mod
ENGINES := /tmp/slipway-engines.$(shell id -u)
RACE := CGO_ENABLED=1 $(GO) test -race

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: demo
demo: engines bin/slipway bin/demo ## the whole story on this machine; ONCE=1 runs it unattended and prints a JSON summary
	@exec bin/demo --slipway bin/slipway $(if $(ONCE),--once) $(DEMO)

.PHONY: test
test: engines lint test-fast test-engines test-story ## everything that must pass

.PHONY: engines
engines: ## install and compile BuildKit, Kubernetes and the registry, cached by version
	@$(GO) -C engines run . install

.PHONY: build
build: bin/slipway ## the server's binary, bin/slipway

.PHONY: bin/slipway
bin/slipway:
	@$(GO) build -ldflags "-s -w -X main.version=$(VERSION)" -o $@ ./cmd/app

.PHONY: bin/demo
bin/demo:
	@$(GO) build -o $@ ./cmd/demo

.PHONY: lint
lint: ## gofmt, go vet and the linters of .golangci.yml
	@unformatted=$$(git ls-files '*.go' | xargs gofmt -l); test -z "$$unformatted" || { echo "not gofmt-ed: $$unformatted"; exit 1; }
	@$(GO) vet -tags engines,browser ./... && $(GO) -C engines vet ./...
	@$(TOOL) golangci-lint run ./...

.PHONY: test-fast
test-fast: ## all that needs no engine, with the race detector
	@$(RACE) -timeout 20m $$($(GO) list ./... | grep -v /cmd/app$$)
	@$(RACE) -timeout 20m -parallel 5 ./cmd/app # whose scripts mostly wait

.PHONY: test-engines
test-engines: engines ## on a real BuildKit, registry, Kubernetes and Chromium; then the engines' own tests
	@engines=$$($(GO) -C engines run . path); \
	if test -e $(ENGINES); then $$engines stop --dir $(ENGINES) && rm -rf $(ENGINES); fi; \
	trap '$$engines stop --dir $(ENGINES)' EXIT; \
	$$engines start --purge --dir $(ENGINES) >/dev/null; \
	SLIPWAY_ENGINES_DIR=$(ENGINES) $(GO) test -p 2 -timeout 60m -tags engines,browser -run '^Test(Engine|Browser)' \
		./deploy ./jobs/build ./web ./cmd/app
	@$(GO) -C engines test -timeout 20m ./...

.PHONY: test-story
test-story: engines bin/slipway bin/demo ## the demo's story, unattended
	@exec bin/demo --slipway bin/slipway --once

.PHONY: fuzz
FUZZTIME ?= 30s
fuzz: ## every fuzz target for FUZZTIME (30s)
	@for file in $$(git grep -lE '^func Fuzz' -- '*_test.go' ':!engines'); do \
		for target in $$(grep -oE '^func Fuzz[A-Za-z0-9_]+' $$file | sed 's/func //'); do \
			echo "$$(dirname $$file) $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) ./$$(dirname $$file); \
		done; \
	done

.PHONY: bench
COUNT ?= 6
bench: ## the hot paths; compare two runs with `go tool -modfile=tools/go.mod benchstat old new`
	@$(GO) test -run '^$$' -bench . -benchmem -count $(COUNT) ./webhook ./queue ./jobs ./pipeline ./githubapp ./web

.PHONY: generate
generate: ## renew what is generated: GitHub's pruned OpenAPI description, the pipeline's JSON Schema
	@$(GO) generate ./...
	@$(GO) test ./pipeline -run TestSchema -update

.PHONY: clean
clean: ## remove what was built here; cached engines stay
	@rm -rf bin
