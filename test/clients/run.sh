#!/bin/sh
# Checks the server with other people's clients, unmodified, from PyPI: makes a Python
# environment in the user's cache folder and runs every *_test.py of this folder against
# bin/lazyolo, each with a server of its own. CLIENTS_VENV names another environment,
# which is used as it is.
set -eu
cd "$(dirname "$0")"
venv=${CLIENTS_VENV:-}
if [ -z "$venv" ]; then
	venv=${XDG_CACHE_HOME:-$HOME/.cache}/lazyolo-clients
	[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
	"$venv/bin/pip" install -q -r requirements.txt
fi
failed=
for file in *_test.py; do
	echo "== $file"
	"$venv/bin/python" "$file" || failed="$failed $file"
done
if [ -n "$failed" ]; then
	echo "failed:$failed" >&2
	exit 1
fi
echo "all of these passed:" *_test.py
