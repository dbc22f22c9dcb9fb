#!/bin/sh
# Generates internal/pb from its .proto. protoc comes from grpcio-tools of PyPI, in an
# environment of its own in the user's cache folder.
set -eu
cache=${XDG_CACHE_HOME:-$HOME/.cache}/lazyolo-pb
[ -x "$cache/bin/python" ] || python3 -m venv "$cache"
"$cache/bin/pip" install -q grpcio-tools==1.81.1
GOBIN="$cache/bin" go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
"$cache/bin/python" -m grpc_tools.protoc --plugin="$cache/bin/protoc-gen-go" -I internal/pb \
	--go_out=internal/pb --go_opt=paths=source_relative inference.proto
