#!/bin/sh
# Formatting, vet, staticcheck, gosec and the audit of dependencies over the whole
# module; run from its root. Nothing but the first download of the tools needs a network.
set -eu
unformatted=$(gofmt -l .)
if [ -n "$unformatted" ]; then
	echo "gofmt -w these:" "$unformatted" >&2
	exit 1
fi
go vet ./...
go run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...
go run -C tools/gosec . ../.. ../../cmd/... ../../internal/... ../../yolo/... ../../web/...

# Dependencies: what is built is what go.sum says, and go.mod names nothing else.
go mod verify
go mod tidy -diff
go run ./tools/audit
# Known weaknesses need Go's database: over the network, or a copy (GOVULNDB=file:///DIR).
db=${GOVULNDB:-https://vuln.go.dev}
case $db in
file://*) reachable=true ;;
*) reachable=false; curl -fsS -m 5 -o /dev/null "$db/index/db.json" 2>/dev/null && reachable=true ;;
esac
if $reachable; then
	go run golang.org/x/vuln/cmd/govulncheck@v1.6.0 -db "$db" ./...
else
	echo "note: $db cannot be reached: known weaknesses were not looked up (GOVULNDB=file:///DIR names a copy)"
fi
