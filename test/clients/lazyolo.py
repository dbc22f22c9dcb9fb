"""A lazyolo server of one's own, and a list of checks, for the *_test.py beside this file."""

import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEMO = ROOT / "cmd/lazyolo/demo"
BINARY = os.environ.get("LAZYOLO", str(ROOT / "bin/lazyolo"))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """Serves the demo model, as model_0 and second, until the end of a with block."""

    def __init__(self, **settings):
        self.settings = settings

    def __enter__(self):
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="lazyolo-clients-"))
        for folder in ("model_0", "second"):
            shutil.copytree(DEMO / "models/model_0", self.home / "models" / folder)
        self.port, self.grpc = free_port(), free_port()
        env = dict(
            os.environ, MODELS_PATH=str(self.home / "models"), CACHE_DIR=str(self.home / "cache"), STATE_DIR=str(self.home / "state"),
            HOST="127.0.0.1", PORT=str(self.port), GRPC_PORT=str(self.grpc), SAVE_ANNOTATED="off", **self.settings,
        )
        self.log = open(self.home / "log", "w+")
        self.process = subprocess.Popen([BINARY, "serve"], env=env, cwd=self.home, stdout=self.log, stderr=self.log)
        self.url, self.http, self.rpc = f"http://127.0.0.1:{self.port}", f"127.0.0.1:{self.port}", f"127.0.0.1:{self.grpc}"
        for _ in range(300):
            if self.process.poll() is not None:
                raise RuntimeError((self.home / "log").read_text())
            try:
                socket.create_connection(("127.0.0.1", self.grpc)).close()
                return self
            except OSError:
                time.sleep(0.05)
        raise RuntimeError("the server does not listen")

    def __exit__(self, *_):
        self.process.terminate()
        code = self.process.wait(60)
        self.log.close()
        if code != 0:
            print((self.home / "log").read_text(), file=sys.stderr)
        shutil.rmtree(self.home)
        assert code == 0, f"the server ended with {code}"


def run(checks, *args):
    """Runs functions, says how each ended, and ends the program."""
    failed = 0
    for check in checks:
        try:
            check(*args)
            print("ok  ", check.__name__.replace("_", " "))
        except Exception:
            failed += 1
            print("FAIL", check.__name__.replace("_", " "))
            traceback.print_exc()
    print(f"{len(checks) - failed} of {len(checks)} checks passed")
    sys.exit(failed > 0)
