#!/bin/sh
# Makes the throw-away Python environment that the bench measures against, in the
# folder given: several GB, most of it torch. Run again it does nothing.
set -eu
venv=${1:?usage: setup.sh FOLDER}
if [ -e "$venv/.complete" ]; then exit 0; fi
python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check \
  ultralytics fastapi uvicorn python-multipart onnx onnxruntime==1.32.0
touch "$venv/.complete"
