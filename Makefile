GO ?= go
CACHE := $(or $(TELLTALE_CACHE),$(HOME)/.cache/telltale)
VERSION := $(or $(shell git describe --tags --always --dirty --abbrev=12 2>/dev/null),unknown)
LDFLAGS := -s -w -X github.com/telltale-iot/telltale/internal/command.version=$(VERSION)
BUILD := CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)'
# What is given to others is compiled by one release of Go, whatever is installed.
TOOLCHAIN := $(shell sed -n 's/^toolchain //p' go.mod)
GOLANGCI_VERSION := v2.15.0
NFPM_VERSION := v2.45.2
FUZZTIME ?= 10s
# The race detector is linked by a C compiler. Where there is none, the tests
# run without it and say so.
RACE := $(if $(shell command -v "$$($(GO) env CC)"),-race)

.PHONY: help build demo test scenario oracle lint fuzz pi deb images licences vulncheck alerts dashboards dashboard-pictures secrets validate compose-test kubernetes-rules kubernetes-test integration hil hil-pi hil-all quadlet bench bench-agent bench-windows clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

build: ## the three programs, in bin/
	$(BUILD) -o bin/ ./agent/cmd/telltale-agent ./ingest/cmd/telltale-ingest ./simulator/cmd/telltale-simulator

demo: build ## the whole system on this machine; flags by ARGS="--sensors 8 --for 60s"
	bin/telltale-simulator lab $(ARGS)

test: ## everything that needs only Go, with the race detector
	@$(if $(RACE),:,echo "no C compiler: testing without the race detector" >&2)
	$(GO) test $(RACE) -timeout 20m ./...

scenario: ## FILE=mine.yaml in virtual time, where a day takes seconds; without, those of the program, one by ARGS="-run TestShipped/drift"
	TELLTALE_TEST_SCENARIO="$(and $(FILE),$(abspath $(FILE)))" \
	  $(GO) test -count 1 -v -run '^$(if $(FILE),TestFile,TestShipped)$$' $(ARGS) ./simulator/scenario

CHECKS ?= 3000
SEED ?= $(shell od -An -N4 -tu4 /dev/urandom | tr -d ' ')

oracle: ## windows against a naive batch, CHECKS random histories of crashes and zombies; SEED=N repeats a run
	@echo "SEED=$(SEED)"
	$(GO) test -count 1 -v -run 'TestWindowsEqualTheNaiveBatch|TestReconcileIsUnion|TestEngineCountsEachFrameOnce' \
	  ./ingest/internal/window ./ingest/internal/aggregate -rapid.checks=$(CHECKS) -rapid.seed=$(SEED)

lint: $(CACHE)/bin/golangci-lint-$(GOLANGCI_VERSION) ## format, import directions, common mistakes
	$< run ./...
	cd deploy/validate && $< run --config $(CURDIR)/.golangci.yml ./...
	cd deploy/grafana/generate && $< run --config $(CURDIR)/.golangci.yml ./...

$(CACHE)/bin/golangci-lint-$(GOLANGCI_VERSION):
	GOBIN=$(CACHE)/bin $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	mv $(CACHE)/bin/golangci-lint $@

# Go before 1.27 may end a run by its own deadline and call that a failure
# (golang/go#75804). A true failure is kept as a test case, and fails again.
fuzz: ## every fuzz target for FUZZTIME each
	@set -e; $(GO) list -f '{{.Dir}}' ./... | while read -r dir; do \
	  grep -hos '^func Fuzz[A-Za-z0-9_]*' $$dir/*_test.go | sed 's/func //' | while read -r target; do \
	    fuzz() { (cd $$dir && $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) .); }; \
	    echo "$$target in $$dir"; \
	    tries=1; \
	    until fuzz; do \
	      [ $$tries -lt 6 ] || exit 1; \
	      tries=$$((tries + 1)); \
	      echo "$$target once more"; \
	    done; \
	  done; \
	done

pi: ## static agents for the Raspberry Pi: arm64, armv7, armv6
	GOTOOLCHAIN=$(TOOLCHAIN) GOOS=linux GOARCH=arm64 $(BUILD) -o bin/telltale-agent-linux-arm64 ./agent/cmd/telltale-agent
	GOTOOLCHAIN=$(TOOLCHAIN) GOOS=linux GOARCH=arm GOARM=7 $(BUILD) -o bin/telltale-agent-linux-armv7 ./agent/cmd/telltale-agent
	GOTOOLCHAIN=$(TOOLCHAIN) GOOS=linux GOARCH=arm GOARM=6 $(BUILD) -o bin/telltale-agent-linux-armv6 ./agent/cmd/telltale-agent

# A Raspberry Pi Zero or 1 calls its system armhf, as Debian does, but has an
# ARMv6 processor, where Debian's armhf means ARMv7: an agent for ARMv6 runs on
# both. Debian's armel is ARMv5 without floating point.
deb: $(CACHE)/bin/nfpm-$(NFPM_VERSION) ## Debian packages of the agent: amd64, arm64, armhf, armel
	rm -rf bin/deb bin/telltale-agent_*.deb
	mkdir -p bin/deb
	GO="$(GO)" deploy/deb/copyright >bin/deb/copyright
	GOTOOLCHAIN=$(TOOLCHAIN) GOOS=linux GOARCH=amd64 $(BUILD) -o bin/deb/amd64 ./agent/cmd/telltale-agent
	GOTOOLCHAIN=$(TOOLCHAIN) GOOS=linux GOARCH=arm64 $(BUILD) -o bin/deb/arm64 ./agent/cmd/telltale-agent
	GOTOOLCHAIN=$(TOOLCHAIN) GOOS=linux GOARCH=arm GOARM=6 $(BUILD) -o bin/deb/armhf ./agent/cmd/telltale-agent
	GOTOOLCHAIN=$(TOOLCHAIN) GOOS=linux GOARCH=arm GOARM=5 $(BUILD) -o bin/deb/armel ./agent/cmd/telltale-agent
	deploy/deb/package $< amd64 arm64 armhf armel

$(CACHE)/bin/nfpm-$(NFPM_VERSION):
	GOBIN=$(CACHE)/bin $(GO) install github.com/goreleaser/nfpm/v2/cmd/nfpm@$(NFPM_VERSION)
	mv $(CACHE)/bin/nfpm $@

# What the environment could change in a binary is set.
IMAGES_GO := GOTOOLCHAIN=$(TOOLCHAIN) GOFLAGS=-buildvcs=false GOEXPERIMENT= \
  GOOS=linux GOAMD64=v1 GOARM64=v8.0
IMAGES_EDGE := ./agent/cmd/telltale-agent ./ingest/cmd/telltale-ingest

images: ## container images of the programs for amd64, arm64, armv7, armv6, in bin/images: deploy/images/README.md
	rm -rf bin/images
	$(IMAGES_GO) GOARCH=amd64 $(BUILD) -o bin/images/binaries/amd64/ $(IMAGES_EDGE) ./simulator/cmd/telltale-simulator
	$(IMAGES_GO) GOARCH=arm64 $(BUILD) -o bin/images/binaries/arm64/ $(IMAGES_EDGE) ./simulator/cmd/telltale-simulator
	$(IMAGES_GO) GOARCH=arm GOARM=7 $(BUILD) -o bin/images/binaries/armv7/ $(IMAGES_EDGE)
	$(IMAGES_GO) GOARCH=arm GOARM=6 $(BUILD) -o bin/images/binaries/armv6/ $(IMAGES_EDGE)
	GO="$(GO)" deploy/images/build "$(VERSION)"

secrets: ## certificates and passwords for deploy/compose, in deploy/compose/secrets; what is there is kept
	deploy/compose/make-secrets

validate: ## deploy/compose without a Docker daemon, deploy/kubernetes without a cluster: pinned images, limits, rights, networks, secrets
	deploy/local/install prometheus
	$(GO) -C deploy/validate test -count 1 ./...

compose-test: ## deploy/compose on podman, as root: its services and a fleet, of which no reading may be missing; after make images
	GO="$(GO)" deploy/compose/test/run

kubernetes-rules: ## the rules of deploy/prometheus as objects of prometheus-operator, in deploy/kubernetes
	deploy/kubernetes/rules >deploy/kubernetes/components/prometheus-operator/rules.yaml

kubernetes-test: ## the agent's pod on podman, as root: rights, health, its readings at a broker and over a restart; after make images
	GO="$(GO)" deploy/kubernetes/test/run

licences: ## that what the programs are linked from is under licences that fit
	GO="$(GO)" deploy/licences/check

vulncheck: ## known vulnerabilities in what the code calls; VULNDB=latest asks the newest database, VULNDB=https://vuln.go.dev that one
	GO="$(GO)" deploy/vulncheck/check $(VULNDB)

alerts: ## Prometheus' configuration, rules and alerts, by promtool
	deploy/local/install prometheus
	deploy/prometheus/check

dashboards: ## Grafana's dashboards, written and held to rules; PICTURES=1 runs the pipeline and draws what they show
	$(GO) -C deploy/grafana/generate run . ../dashboards
	$(GO) -C deploy/grafana/generate vet ./...
	$(GO) -C deploy/grafana/generate test -count 1 ./...
	$(if $(PICTURES),$(MAKE) dashboard-pictures)

ANSWERS := $(CURDIR)/bin/dashboard-answers.json

dashboard-pictures: build
	deploy/local/install mosquitto kafka mongo prometheus exporters
	TELLTALE_DASHBOARD_ANSWERS=$(ANSWERS) $(GO) test -tags integration -count 1 -timeout 20m -v -run '^TestDashboards$$' ./simulator/e2e
	$(GO) -C deploy/grafana/generate run ./draw ../dashboards $(ANSWERS) ../pictures

integration: build ## on real Mosquitto, Kafka, Prometheus and a MongoDB server
	deploy/local/install mosquitto kafka mongo mongosh prometheus exporters
	$(GO) test -tags integration -count 1 -timeout 20m -v -run 'TestDisk' ./agent
	$(GO) test -tags integration -count 1 -timeout 20m -v ./ingest/internal/mongo
	$(GO) test -tags integration -count 1 -timeout 20m -v ./deploy/pki ./deploy/kafka
	$(GO) test -tags integration -count 1 -timeout 65m -v ./simulator/e2e

HIL := $(GO) test -tags hil -count 1 -timeout 20m -p 1 -v ./simulator/disk/... ./simulator/hil/...

hil: build pi ## the release binaries on ARM kernels in QEMU: emulated chips, power cuts; one test by ARGS="-run TestLoop/arm64"
	simulator/hil/install
	$(HIL) -skip TestBoards $(ARGS)

hil-pi: pi ## the loop on a real Raspberry Pi with its own chips, over ssh: HOST=pi@raspberrypi
	@test -n "$(HOST)" || { echo "want HOST=USER@ADDRESS of a Raspberry Pi" >&2; exit 2; }
	TELLTALE_HIL_HOST=$(HOST) $(GO) test -tags hil -count 1 -timeout 20m -v -run '^TestPi$$' ./simulator/hil

hil-all: build pi ## that, and on emulated Raspberry Pis, which are slow
	simulator/hil/install arm64 armmp rpi
	$(HIL) $(ARGS)

quadlet: ## a Pi as a container host, in QEMU with podman: updates, and bad ones that are rolled back
	deploy/quadlet/install
	$(GO) test -tags quadlet -count 1 -timeout 60m -v ./deploy/quadlet $(ARGS)

bench: build ## the figures: the bridge on real servers, the demonstration
	deploy/local/install
	$(GO) test -tags integration -count 1 -timeout 20m -run '^$$' -bench '^Benchmark(Bridge|Demo)$$' -benchtime 1x ./simulator/e2e

bench-agent: build ## the agent beside Telegraf, in an outage and at rest; TELEGRAF=off leaves Telegraf out
	deploy/local/install mosquitto kafka
	telegraf=$${TELEGRAF:-$$(deploy/local/telegraf)} && \
	TELLTALE_TEST_TELEGRAF=$$telegraf $(GO) test -tags integration -count 1 -timeout 20m -run '^$$' -bench '^BenchmarkAgent' -benchtime 1x ./simulator/e2e $(ARGS)

bench-windows: build ## windows beside Kafka Streams, on real Kafka; STREAMS=off leaves Kafka Streams out
	deploy/local/install kafka mongo
	streams=$${STREAMS:-$$(deploy/local/streams/build)} && \
	TELLTALE_TEST_STREAMS=$$streams $(GO) test -tags integration -count 1 -timeout 20m -run '^$$' -bench '^BenchmarkWindows' -benchtime 1x ./simulator/e2e $(ARGS)

clean: ## what the targets above made
	rm -rf bin .cache
