#!/bin/sh
# Runs every fuzz target of the module for a while: tools/fuzz.sh [seconds], 60 unless told.
set -eu
seconds=${1:-60}
for pkg in $(go list ./...); do
	for target in $(go test -list '^Fuzz' "$pkg" | grep '^Fuzz' || true); do
		echo "$pkg $target"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "${seconds}s" -fuzzminimizetime 1x "$pkg"
	done
done
