TOOL       = go tool -modfile=tools/go.mod
TESTFLAGS ?=
FUZZTIME  ?= 30s
SOAK      ?= 1
SOAKTIME  ?= 3600
STATIC     = -linkmode external -extldflags "-static"
.PHONY: help build test check fmt vet lint tidy race fuzz bench soak demo docs

help: ## this list
	@grep -E '^[a-z]+:.*## ' Makefile | sed 's/:.*## /\t/' | expand -t 8
build: ## bin/snap-to-s3, static; without a C compiler its zstd is the one written in Go
	go build -trimpath -tags osusergo,netgo -o bin/snap-to-s3 \
		-ldflags '-s -w $(if $(filter 1,$(shell go env CGO_ENABLED)),$(STATIC))' ./cmd/snap-to-s3
demo: ## a migration on the sandbox, with no AWS account
	go run ./cmd/snap-to-s3 demo

test: ## all tests, and those of the codecs as a build without cgo has them
	go test -timeout 20m -parallel 4 $(TESTFLAGS) ./...
	CGO_ENABLED=0 go test $(TESTFLAGS) ./internal/codec
race: ## all tests, watched for data races
	go test -race -timeout 30m $(TESTFLAGS) ./...
fuzz: ## each fuzz target for FUZZTIME
	scripts/fuzz.sh $(FUZZTIME)
soak: ## the whole fault matrix, or with SOAK=2/8 the second of eight parts; then all tests, shuffled and watched for races, for SOAKTIME seconds
	SNAP_TO_S3_SOAK=$(SOAK) go test -timeout 4h -run 'Matrix|Many|Killed|Stopped' ./internal/cli ./internal/archive
	@end=$$(($$(date +%s) + $(SOAKTIME))); while [ $$(date +%s) -lt $$end ]; do \
		go test -race -timeout 30m -count=1 -shuffle=on ./... || exit 1; done
bench: ## images against dd | lz4, trees against tar | lz4, gpg against gpg, bills against zcat | awk, and as root a validation
	scripts/bench-image.sh
	scripts/bench-tree.sh
	scripts/bench-gpg.sh
	scripts/bench-bill.sh
	[ "$$(id -u)" -ne 0 ] || scripts/bench-validate.sh

check: fmt vet lint tidy test ## what a change must pass; imports, manual and documents are held by tests
fmt: ## which files are not formatted
	@bad=$$($(TOOL) gofumpt -l cmd internal); [ -z "$$bad" ] || { echo "gofumpt -w" $$bad; exit 1; }
vet: ## go vet and staticcheck
	go vet ./...
	$(TOOL) staticcheck ./...
lint: ## golangci-lint, as .golangci.yml says; its first build takes minutes
	$(TOOL) golangci-lint run ./...
tidy: ## are go.mod and go.sum what the code needs?
	go mod tidy -diff
	cd tools && go mod tidy -diff
docs: ## write docs/man from the commands, and the sample in README.md
	go test ./internal/cli -run 'TestManualPages|TestReadmeSample' -update-docs
