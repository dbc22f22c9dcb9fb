# Each target is one line; what it needs comes before it.
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.buildVersion=$(VERSION)

.PHONY: build runtime run test lint faults fuzz storms soak bench test-clients pb

build: ; go build -trimpath -ldflags '$(LDFLAGS)' -o bin/lazyolo ./cmd/lazyolo
runtime: build ; @bin/lazyolo doctor --fix --models-path cmd/lazyolo/demo/models
run: runtime ; bin/lazyolo serve
# -count=1: go does not see that test/e2e depends on the binary it builds.
test: runtime lint ; go test -race -count=1 ./...
faults: ; go run ./tools/faults
lint: ; sh tools/lint.sh
fuzz: ; sh tools/fuzz.sh 60
storms: ; POOL_STORMS=1000000 go test -timeout 90m -run TestStorms ./internal/pool
soak: runtime ; go run ./tools/soak -for $${SOAK:-10m}
bench: runtime ; go run ./bench
test-clients: runtime ; sh test/clients/run.sh
pb: ; sh tools/pb.sh
