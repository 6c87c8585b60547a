# virtsmith. `make` alone lists the targets.
GO       := $(or $(shell command -v go),/usr/local/go/bin/go)
PREFIX   ?= /usr/local
DESTDIR  ?=
FUZZTIME ?= 10s
BUILD     = $(GO) build -trimpath -buildvcs=false -ldflags='-s -w' -o bin/

# Commands that run containers link liblxc where it can be: package liblxc says how. Looked for
# when a recipe needs it, as setup may just have installed it.
LINKED   := $(wildcard ./cmd/pct)
LINK      = CGO_ENABLED=1 $(BUILD) -tags liblxc,netgo,osusergo $(LINKED)
LIBLXC    = $(shell pkg-config --exists lxc 2>/dev/null && command -v "$$($(GO) env CC)" >/dev/null && echo liblxc)
TESTS     = GOFLAGS='$(strip $(shell $(GO) env GOFLAGS) $(addprefix -tags=,$(LIBLXC)))'

export PATH := $(patsubst %/,%,$(dir $(GO))):$(PATH)

.PHONY: help setup build test test-storage lint generate spec bench fuzz demo install clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

setup: ## install the Debian packages that tests and demo use, if missing
	@contrib/dev/setup

build: ## build every command into bin/
	CGO_ENABLED=0 $(BUILD) $(filter-out $(if $(LIBLXC),$(LINKED)) ./cmd/internal,$(wildcard ./cmd/*))
	$(if $(LIBLXC),$(LINK),@echo 'without lxc-dev and a compiler: pct asks the programs of LXC, which takes longer')

# Most tests run here, then those that want Debian's kernel in a virtual machine.
test: setup ## run every test that takes seconds
	$(TESTS) timeout -k 10 25m $(GO) test -p 2 -timeout 15m -skip '^TestInNode$$' ./...
	timeout -k 10 15m $(GO) test -timeout 14m -v -run '^TestInNode$$' ./pkg/internal/testnode -node.time 6m

test-storage: export VIRTSMITH_TEST_ALL := 1
test-storage: setup ## run every test of storage there is, with ZFS: two hours or more
	timeout -k 10 60m $(GO) test -p 2 -timeout 50m -skip '^TestInNode$$' ./pkg/storage/... ./pkg/internal/... \
	    $(addsuffix /...,$(wildcard ./cmd/pvesm ./pkg/cli/pvesm ./pkg/host))
	timeout -k 10 30m $(GO) test -timeout 28m -run '^TestChain' ./pkg/cli/qm
	timeout -k 10 245m $(GO) test -timeout 240m -v -run '^TestInNode$$' ./pkg/internal/testnode

lint: ## vet, staticcheck, and golangci-lint where it is installed
	$(GO) vet ./...
	$(if $(LIBLXC),$(GO) vet -tags liblxc $(addsuffix /...,./pkg/lxc $(LINKED)))
	$(GO) tool staticcheck -checks inherit,-ST1005 ./... # errors that scripts match on begin as upstream's do
	@if command -v golangci-lint >/dev/null; then golangci-lint run; else echo 'golangci-lint is not installed: skipped'; fi

generate: ## rewrite man/ and completions/ from what is declared
	$(GO) run ./pkg/internal/gendocs

spec: ## write what is declared to build/spec/api.json and cli.json
	$(GO) run ./pkg/internal/gendocs -spec build/spec

bench: build ## time commands with up to 10,000 guests, and storages beside bare tools
	contrib/dev/bench

fuzz: ## fuzz each parser for FUZZTIME (10s)
	contrib/dev/fuzz $(FUZZTIME)

demo: setup build ## create, boot, snapshot and destroy a real VM, and a container beside it
	contrib/dev/demo

install: build ## install binaries, man pages and completions under DESTDIR and PREFIX
	contrib/dev/install '$(DESTDIR)$(PREFIX)'

clean: ## remove what was built
	rm -rf bin build
