# Each target is one line; what it needs comes before it.
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.buildVersion=$(VERSION)

.PHONY: build runtime run test lint faults fuzz storms bench

build: ; go build -trimpath -ldflags '$(LDFLAGS)' -o bin/lazyolo ./cmd/lazyolo
runtime: build ; @bin/lazyolo doctor --fix --models-path cmd/lazyolo/demo/models
run: runtime ; bin/lazyolo serve
test: runtime lint ; go test -race ./...
faults: ; go run ./tools/faults
lint: ; sh tools/lint.sh
fuzz: ; sh tools/fuzz.sh 60
storms: ; POOL_STORMS=1000000 go test -timeout 90m -run TestStorms ./internal/pool
bench: runtime ; go run ./bench
