#!/bin/sh
# Formatting, vet and staticcheck over the whole module; run from its root.
set -eu
unformatted=$(gofmt -l .)
if [ -n "$unformatted" ]; then
	echo "gofmt -w these:" "$unformatted" >&2
	exit 1
fi
go vet ./...
go run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...
