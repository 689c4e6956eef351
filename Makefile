# What each target does is beside it; "make help" prints that. The recipes call
# scripts/, which can be run without make too.

GO ?= go
FUZZTIME ?= 10s
BENCHDIR ?= bin
# Builds the agent and the sandbox program to where the main binary embeds them.
EMBED_BUILD ?= $(GO) run ./internal/embedded/build

export GO FUZZTIME EMBED_BUILD
export CGO_ENABLED = 0
# As in the program that is released: what a step compiles serves the next one, and other clones.
export GOFLAGS := $(GOFLAGS) -trimpath

.DEFAULT_GOAL := help
.PHONY: help setup build demo test lint unit cross e2e rootless race soak crash swap browser busy microvm images recipes compatibility conformance generate fuzz bench bench-compare clean

help: ## Print this list.
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what a fresh Debian or Ubuntu lacks (silent if nothing is missing).
	@scripts/setup

build: ## Build bin/rundlet with the agent and the sandbox program in it.
	@scripts/build

demo: setup build ## Build everything and run code in a sandbox.
	@scripts/demo

test: setup ## All checks: lint, cross builds, Go tests, unmodified SDKs. Under 30 minutes.
	@scripts/test

lint: ## gofmt and golangci-lint (.golangci.yml), for Linux and a Mac.
	@scripts/lint

unit: ## The Go tests alone, with the race detector, conformance suites included.
	@scripts/unit

cross: ## Build for linux/amd64, linux/arm64 and darwin/arm64.
	@scripts/cross

e2e: setup build ## The unmodified E2B SDKs against a real server.
	@e2e/run

rootless: setup build ## SDKs, network and templates against the servers of an ordinary user.
	@scripts/rootless

race: setup ## Random operations against a daemon with the race detector.
	@scripts/race

soak: build ## Crashes at every step, pauses, random operations, sessions, at length (SOAK="--duration 24h").
	@scripts/soak $(SOAK)

crash: build ## Cut the power at every write of every operation; nothing acknowledged may be lost.
	@scripts/soak --only PowerCut --out crash.json $(CRASH)

browser: setup build ## Open a page and a WebSocket of a sandbox in Chromium, which it installs.
	@scripts/browser

microvm: setup build ## The conformance suite and a node on virtual machines of QEMU and Firecracker, and SDK suites on those of QEMU; it takes long.
	@scripts/microvm

images: build ## Templates from images of real size, Debian and 1 GiB in 50,000 files, beside tar; figures in images.json.
	@scripts/images

recipes: setup build ## Build the ready recipes from downloaded packages, and use them by unmodified clients (RECIPE=Desktop).
	@scripts/recipes -run '^TestRecipe$(RECIPE)'

swap: setup ## Page sandboxes out to swap in compressed memory, which is on for the whole host meanwhile.
	@scripts/swap

busy: ## make test five times, beside another daemon with 20 sandboxes and a load on every processor.
	@scripts/busy

compatibility: build ## Test suites of other projects, on the host and in a sandbox; prints the differences (SUITES="os pty").
	@scripts/compatibility $(SUITES)

conformance: setup build ## The gVisor driver in a virtual machine that has control groups version 2 alone; an hour or more (RUN=TestName).
	@scripts/conformance $(RUN)

generate: ## Write the generated code again (it is committed).
	$(GO) generate ./...

fuzz: ## Run every fuzz target for FUZZTIME (default 10s).
	@scripts/fuzz

bench: build ## What a sandbox's life costs, beside the bare mechanism; bench.html and bench.json go to BENCHDIR (default bin).
	@mkdir -p $(BENCHDIR)
	@bin/rundlet bench --html $(BENCHDIR)/bench.html --json-file $(BENCHDIR)/bench.json $(BENCHFLAGS)

bench-compare: ## Compare this tree with a commit, in turn: BASE=main (COMPAREFLAGS="--rounds 40").
	@scripts/bench-compare "$(BASE)" $(COMPAREFLAGS)

clean: ## Remove what a build made.
	rm -rf bin
	find agent/embedded/bin vm/gvisor/engine/bin vm/microvm/program/bin -type f ! -name README -delete 2>/dev/null || true
