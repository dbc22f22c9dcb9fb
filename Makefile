# Each target is one line; what it needs comes before it.
VERSION := $(shell git describe --tags --always --dirty --abbrev=12 2>/dev/null || echo dev)
COMMIT := $(shell git rev-parse HEAD 2>/dev/null)
LDFLAGS := -s -w -X main.buildVersion=$(VERSION) -X main.buildCommit=$(COMMIT)

.PHONY: build runtime run demo demo-picture test lint faults fuzz storms soak bench test-clients test-browser screenshots pb dist test-dist

build: ; go build -trimpath -ldflags '$(LDFLAGS)' -o bin/lazyolo ./cmd/lazyolo
runtime: build ; @bin/lazyolo doctor --fix --models-path cmd/lazyolo/demo/models
run: runtime ; bin/lazyolo serve
demo: runtime ; bin/lazyolo demo
# -count=1: go does not see that test/e2e depends on the binary it builds.
test: runtime lint ; go test -race -count=1 ./...
faults: ; go run ./tools/faults
lint: ; sh tools/lint.sh
fuzz: ; sh tools/fuzz.sh 60
storms: ; POOL_STORMS=1000000 go test -timeout 90m -run TestStorms ./internal/pool
soak: runtime ; go run ./tools/soak -for $${SOAK:-10m}
bench: runtime ; go run ./bench
# The dashboard in a real Chromium; SCREENSHOTS names a folder for pictures of it.
test-browser: runtime ; REQUIRE_CHROMIUM=1 go test -count=1 -timeout 20m ./test/browser
# The pictures in docs/images.
screenshots: runtime ; REQUIRE_CHROMIUM=1 IMAGES=$(CURDIR)/docs/images go test -count=1 -run TestImages ./test/browser
# The memory picture in docs/images, from a run of the demo here and now.
demo-picture: runtime ; bin/lazyolo demo --out bin/demo && cp bin/demo/memory.svg docs/images/memory.svg
test-clients: runtime ; sh test/clients/run.sh
pb: ; sh tools/pb.sh
# Archives, Debian packages and lists of parts in dist/; DIST_ARCH names the architectures.
dist: ; go run ./tools/dist
# Builds a release, installs it and serves from it; DIST_DEBIAN names a Debian to install in.
test-dist: ; REQUIRE_DIST=1 go test -count=1 -timeout 20m -v ./test/dist
