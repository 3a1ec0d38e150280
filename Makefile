# Metanode. `make help` lists the targets. Everything built goes to build/, but for the cage's supervisor and tracer,
# which Go embeds from cage/native/bin/.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# Tools, pinned here and nowhere else.
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.7.0
# What consensus is measured beside; bench/consensus/comet-kv/go.mod names the same version.
COMETBFT    := v1.0.1
# The IPFS node that blobs are exchanged with; e2e/kubo/go.mod names the same version.
KUBO        := v0.43.0

GO      ?= go
CC      ?= gcc
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
CFLAGS  := -O2 -static -Wall -Wextra -Werror

# blst, the arithmetic of BLS12-381, is C and assembler. Portable: it asks the processor at run time what it can, where it
# would else need one with ADX. Exported, so that everything is compiled once.
export CGO_CFLAGS := -O2 -g -D__BLST_PORTABLE__
# Programs that leave this machine are one static file all the same: no resolver, no accounts and no zstd of the C library.
PROGRAM := CGO_ENABLED=1 $(GO) build -trimpath -tags netgo,osusergo,pebblegozstd
STATIC  := -linkmode external -extldflags -static

FUZZTIME  ?= 3s
FUZZTOTAL ?= 240s
# Of make sim: seeds of each timed network, scenarios of Twins, and views of the model and of its replay on the code.
SEEDS        ?= 200
SCENARIOS    ?= 100000
MODEL_VIEWS  ?= 7
REPLAY_VIEWS ?= 3

SUPERVISOR_C := $(wildcard cage/native/supervisor/*.c)
SUPERVISOR_H := $(wildcard cage/native/supervisor/*.h cage/native/zygote/*.[ch])
SUPERVISOR   := cage/native/bin/docklock-supervisor
TRACER_C     := $(wildcard cage/native/tracer/*.c)
TRACER_H     := $(wildcard cage/native/tracer/*.h)
TRACER       := cage/native/bin/docklock-tracer
VDSO_SRC     := $(wildcard cage/native/tracer/vdso/*)
VDSO         := build/docklock-vdso.so
VDSOFLAGS    := -O2 -fPIC -ffreestanding -fno-builtin -fno-stack-protector -fcf-protection=none -fno-asynchronous-unwind-tables \
  -mgeneral-regs-only -Wall -Wextra -Werror -shared -nostdlib -s -Wl,-soname,linux-vdso.so.1 -Wl,--hash-style=both \
  -Wl,-Bsymbolic -Wl,--build-id=none -Wl,-z,max-page-size=4096 -Wl,-z,noexecstack -Wl,-T,cage/native/tracer/vdso/vdso.lds
WORKER_SRC   := $(wildcard analytics/worker/*.* analytics/worker/*/*.* cage/native/zygote/*.[ch])
WORKER       := build/sql-worker

# Native programs, where their sources are.
EMBEDDED := $(if $(SUPERVISOR_C),$(SUPERVISOR)) $(if $(TRACER_C),$(TRACER))
NATIVE   := $(EMBEDDED) $(if $(wildcard analytics/worker/build.sh),$(WORKER))

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: native bpi ## compile the cage's supervisor and tracer, the SQL worker and build/bpi

.PHONY: native
native: $(NATIVE)

$(SUPERVISOR): $(SUPERVISOR_C) $(SUPERVISOR_H)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -o $@ $(SUPERVISOR_C)

# What caged programs have in place of the kernel's vDSO; the tracer carries it.
$(VDSO): $(VDSO_SRC)
	@mkdir -p $(@D)
	$(CC) $(VDSOFLAGS) -o $@ cage/native/tracer/vdso/clock.c

$(TRACER): $(TRACER_C) $(TRACER_H) $(VDSO)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -DVDSO_IMAGE='"$(CURDIR)/$(VDSO)"' -o $@ $(TRACER_C) cage/native/tracer/vdso/image.S

$(WORKER): $(WORKER_SRC)
	@mkdir -p $(@D)
	analytics/worker/build.sh $@

# Go keeps track of its own sources, so bpi is built every time; with nothing changed that takes a second.
.PHONY: bpi
bpi: $(EMBEDDED)
	@mkdir -p build
	$(PROGRAM) -ldflags "-s -w $(STATIC) -X main.version=$(VERSION)" -o build/bpi ./cmd/bpi

.PHONY: test
test: build ## every test, the multi-process ones, and every fuzz target for some seconds
	$(GO) test $$($(GO) list ./... | grep -v '/e2e\b')
	$(MAKE) --no-print-directory e2e
	FUZZTIME=$(FUZZTIME) FUZZTOTAL=$(FUZZTOTAL) scripts/fuzz.sh

.PHONY: race
race: build ## every test but the multi-process ones under the race detector
	$(GO) test -race $$($(GO) list ./... | grep -v '/e2e\b')

.PHONY: lint
lint: native ## gofmt, go vet, staticcheck, and warnings of the C compiler as errors
	@scripts/gofmt.sh
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	$(if $(SUPERVISOR_C),$(CC) $(CFLAGS) -fsyntax-only $(SUPERVISOR_C))
	$(if $(TRACER_C),$(CC) $(CFLAGS) -fsyntax-only $(TRACER_C))
	@for f in .ci/run $$(find . -name '*.sh' -not -path './.git/*'); do bash -n "$$f"; done

.PHONY: fuzz
fuzz: native ## every fuzz target for FUZZTIME each (default 60s here)
	FUZZTIME=$(if $(filter command line environment,$(origin FUZZTIME)),$(FUZZTIME),60s) FUZZTOTAL=0 scripts/fuzz.sh

.PHONY: sim
sim: ## consensus from seeds: SEEDS networks under faults, SCENARIOS of Twins, the model; counts are printed
	BPI_SIM_SEEDS=$(SEEDS) BPI_TWINS=$(SCENARIOS) BPI_MODEL_VIEWS=$(MODEL_VIEWS) BPI_MODEL_REPLAY=$(REPLAY_VIEWS) \
	  $(GO) test -count=1 -v -timeout 180m ./consensus/sim/...

.PHONY: sim-mesh
sim-mesh: ## the service registry of NODES simulated nodes (default 64) on links of 25 ms; times are printed
	BPI_SIM_NODES=$(if $(filter command line environment,$(origin NODES)),$(NODES),64) $(GO) test -count=1 -timeout 30m -v -run InSimulation ./p2p

.PHONY: e2e
e2e: build ## networks of real processes: faults, late joiners, tampered receipts
	@if [ -n "$$($(GO) list ./e2e/... 2>/dev/null)" ]; then \
	  BPI_BIN=$(CURDIR)/build/bpi BPI_ENGINE=$(CURDIR)/$(WORKER) BPI_KUBO=$(KUBO_CACHE)/ipfs $(GO) test -count=1 -timeout 25m ./e2e/...; fi

.PHONY: bench
bench: build ## the figures of four peers and of the cage on this machine, with those that fall short marked
	BPI_BIN=$(CURDIR)/build/bpi BPI_ENGINE=$(CURDIR)/$(WORKER) BPI_BENCH=1 \
	  $(GO) test -p 1 -count=1 -timeout 60m -v -run '^TestBench' ./e2e/... ./analytics/bench ./cage/bench
	$(GO) test -run '^$$' -bench . ./consensus ./consensus/light ./internal/sign ./internal/bls

# CometBFT takes minutes to compile, so it survives `make clean`.
COMETBFT_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/metanode/cometbft-$(COMETBFT)
BENCH_BIN      := build/bench

$(COMETBFT_CACHE)/cometbft:
	GOBIN=$(@D) $(GO) install github.com/cometbft/cometbft/cmd/cometbft@$(COMETBFT)

# kubo as well. Its module is beside the tests that start it, so that nothing of it enters the main one.
KUBO_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/metanode/kubo-$(KUBO)

$(KUBO_CACHE)/ipfs: e2e/kubo/go.mod
	@mkdir -p $(@D)
	cd e2e/kubo && CGO_ENABLED=0 $(GO) build -trimpath -o $@ github.com/ipfs/kubo/cmd/ipfs
	@touch $@

.PHONY: interop
interop: build $(KUBO_CACHE)/ipfs ## blobs to and from kubo, 64 MiB each way, in the open and sealed; the rates are printed
	BPI_BIN=$(CURDIR)/build/bpi BPI_ENGINE=$(CURDIR)/$(WORKER) BPI_KUBO=$(KUBO_CACHE)/ipfs BPI_INTEROP=1 \
	  $(GO) test -count=1 -timeout 20m -v -run '^TestKubo' ./e2e

.PHONY: bench-consensus
bench-consensus: native $(COMETBFT_CACHE)/cometbft ## consensus beside CometBFT, the same load in one run; BENCH_QUICK=1 takes 3 minutes
	@mkdir -p $(BENCH_BIN)
	cp $(COMETBFT_CACHE)/cometbft $(BENCH_BIN)/cometbft
	cd bench/consensus/comet-kv && $(GO) build -trimpath -o $(CURDIR)/$(BENCH_BIN)/comet-kv .
	$(PROGRAM) -ldflags "$(STATIC)" -o $(BENCH_BIN)/ ./bench/consensus ./bench/consensus/bpi-kv
	$(BENCH_BIN)/consensus -bin $(BENCH_BIN) -dir $(BENCH_BIN)/run

# Without kubo, which takes minutes and a network to compile, the rest is measured all the same.
.PHONY: bench-p2p
bench-p2p: build ## what the mesh costs, and blobs beside kubo, with what falls short marked; BENCH_QUICK=1 takes 2 minutes
	@mkdir -p $(BENCH_BIN)
	@$(MAKE) --no-print-directory $(KUBO_CACHE)/ipfs || echo "kubo could not be built; the rest is measured"
	$(GO) build -trimpath -o $(BENCH_BIN)/p2p ./bench/p2p
	$(GO) test -c -o $(BENCH_BIN)/p2p.test ./p2p
	$(BENCH_BIN)/p2p -bpi build/bpi -engine $(WORKER) -kubo $(KUBO_CACHE)/ipfs -sim $(BENCH_BIN)/p2p.test -dir $(BENCH_BIN)/p2p-run

.PHONY: demo
demo: build ## four peers, a data set, a job, and its receipt verified with the network down
	scripts/demo.sh

.PHONY: clean
clean: ## remove what was built
	rm -rf build $(SUPERVISOR) $(TRACER)
