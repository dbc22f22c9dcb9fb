"""Record what a Python server answers for the demo model, over many kinds of pictures.

    pip install fastapi uvicorn python-multipart requests ultralytics onnxruntime pillow
    python test/e2e/testdata/record.py

A minimal FastAPI + Ultralytics server, written for this from the contract, is started and asked; its
answers go to recorded.json beside this file and the pictures it was asked about to pictures/. Run it
again after a change of cmd/lazyolo/demo and commit both.
"""

import io
import json
import os
import pathlib
import shutil
import socket
import sys
import threading
import time
import warnings

os.environ.setdefault("YOLO_CONFIG_DIR", "/tmp/lazyolo-record")  # Ultralytics writes its settings there
warnings.simplefilter("ignore")

import cv2
import numpy as np
import requests
import uvicorn
import yaml
from fastapi import FastAPI, File, Form, UploadFile
from fastapi.middleware.cors import CORSMiddleware
from PIL import Image
from ultralytics import YOLO

HERE = pathlib.Path(__file__).resolve().parent
DEMO = HERE.parents[2] / "cmd" / "lazyolo" / "demo"
PICTURES = HERE / "pictures"
MOST = 400_000  # bytes of all pictures together: they are in git


def app() -> FastAPI:
    folder = DEMO / "models" / "model_0"
    labels = yaml.safe_load((folder / "labels.yaml").read_text(encoding="utf-8"))
    model = YOLO(str(folder / labels["model_path"]), task="detect")
    api = FastAPI()
    api.add_middleware(CORSMiddleware, allow_origins=["*"], allow_credentials=True, allow_methods=["*"], allow_headers=["*"])

    @api.get("/api/v1/health")
    async def health():
        return {"inference_ok": True, "device": "cpu", "fs": {"tmp_writable": True, "output_writable": True}}

    @api.get("/api/v2/models")
    async def models():
        return {"0": {k: labels[k] for k in ("model_name", "version", "task", "description")}}

    @api.post("/api/v2/detect")
    async def detect(file: UploadFile = File(...), model_id: int = Form(0)):
        data = np.frombuffer(await file.read(), np.uint8)
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
        if picture is None:
            return {"error": "Failed to decode image"}
        if model_id != 0:
            return {"error": f"Model ID {model_id} not found"}
        found = model.predict(picture, conf=0.25, iou=0.45, device="cpu", verbose=False)[0].boxes
        predictions = []
        for box, conf, cls in zip(found.xyxy.tolist(), found.conf.tolist(), found.cls.int().tolist()):
            x1, y1, x2, y2 = (int(v) for v in box)
            predictions.append({"class_id": cls, "class_name": labels["names"][cls], "confidence": conf,
                                "x1": x1, "y1": y1, "x2": x2, "y2": y2})
        return {"predictions": predictions}

    return api


def make_pictures() -> None:
    """The demo picture in every format and mode; the lossless ones are small, for the sake of the repository."""
    shutil.rmtree(PICTURES, ignore_errors=True)
    PICTURES.mkdir()
    whole = Image.open(DEMO / "pictures" / "shapes.jpg").convert("RGB")
    small = whole.resize((208, 156), Image.Resampling.LANCZOS)
    tiny = whole.resize((160, 120), Image.Resampling.LANCZOS)
    save = lambda picture, name, **kw: picture.save(PICTURES / name, **kw)

    shutil.copy(DEMO / "pictures" / "shapes.jpg", PICTURES / "shapes.jpg")
    save(small, "progressive.jpg", quality=85, progressive=True)
    save(small, "444.jpg", quality=85, subsampling=0)
    save(small, "422.jpg", quality=85, subsampling=1)
    save(small.crop((0, 0, 207, 155)), "odd.jpg", quality=85)
    save(small.convert("L"), "grey.jpg", quality=85)
    save(small.convert("CMYK"), "cmyk.jpg", quality=85)
    # A camera held upright says so in EXIF; orientation n is undone by the matching turn.
    turns = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270, 5: Image.Transpose.TRANSPOSE}
    for n, turn in turns.items():
        exif = Image.Exif()
        exif[0x0112] = n
        save(small.transpose(turn), f"exif{n}.jpg", quality=85, exif=exif)
    save(small, "lossy.webp", quality=80)
    save(small, "lossless.webp", lossless=True)
    save(small, "rgb.png", optimize=True)
    save(small.convert("L"), "grey.png", optimize=True)
    save(small.quantize(64), "palette.png", optimize=True)
    save(small.convert("1"), "bits.png", optimize=True)
    faded = small.convert("RGBA")
    faded.putalpha(Image.linear_gradient("L").resize(small.size))
    save(faded, "rgba.png", optimize=True)
    save(small.convert("LA"), "grey-alpha.png", optimize=True)
    deep = np.asarray(tiny).astype(np.uint16)[..., ::-1] * 257
    cv2.imwrite(str(PICTURES / "deep.png"), deep, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    save(tiny, "rgb.bmp")
    save(small.quantize(16), "palette.bmp")
    save(small.quantize(64), "palette.gif")
    save(small, "lzw.tiff", compression="tiff_lzw")
    whole_jpeg = (PICTURES / "progressive.jpg").read_bytes()
    (PICTURES / "truncated.jpg").write_bytes(whole_jpeg[:len(whole_jpeg) // 2])
    (PICTURES / "empty.jpg").write_bytes(b"")
    (PICTURES / "text.jpg").write_bytes(b"no picture\n")
    total = sum(p.stat().st_size for p in PICTURES.iterdir())
    if total > MOST:
        sys.exit(f"the pictures have {total} bytes together, more than {MOST}")


def cases():
    """What is asked, in the form of recorded.json."""
    def detect(name, image=None, fields=None, field="file", **more):
        request = {"method": "POST", "path": "/api/v2/detect", "fields": fields or {}, **more}
        if image:
            request |= {"image": image, "file_field": field, "filename": image}
        return {"name": name, "request": request}

    def ask(name, method, path, **headers):
        return {"name": name, "request": {"method": method, "path": path, "headers": headers}}

    yield ask("health", "GET", "/api/v1/health")
    yield ask("models", "GET", "/api/v2/models")
    for p in sorted(PICTURES.iterdir()):
        yield detect(p.name, p.name, {"model_id": "0"})
    for i in ("", " 0", "00", "0.0", "7", "-1", "x", "0.5", "1e0"):
        yield detect(f"model_id {i!r}", "444.jpg", {"model_id": i})
    yield detect("default model", "444.jpg")
    yield detect("no file", fields={"model_id": "0"})
    yield detect("other field", "444.jpg", field="image")
    yield detect("with an origin", "444.jpg", headers={"Origin": "http://example.test"})
    yield ask("not found", "GET", "/api/v3/detect")
    yield ask("wrong method", "DELETE", "/api/v2/models")
    yield ask("preflight", "OPTIONS", "/api/v2/detect", Origin="http://example.test", **{"Access-Control-Request-Method": "POST"})


# The headers that a client may look at; the others are the HTTP library's.
KEPT = ("content-type", "allow", "access-control-allow-origin", "access-control-allow-credentials",
        "access-control-allow-methods", "access-control-max-age")


def send(url: str, request: dict) -> dict:
    files = None
    if request["method"] == "POST":
        files = [(k, (None, v)) for k, v in request["fields"].items()]
        if "image" in request:
            files.append((request["file_field"], (request["filename"], io.BytesIO((PICTURES / request["image"]).read_bytes()))))
    r = requests.request(request["method"], url + request["path"], files=files, headers=request.get("headers"),
                         allow_redirects=False, timeout=60)
    answer = {"status": r.status_code, "headers": {k: r.headers[k] for k in KEPT if k in r.headers}}
    try:
        answer["json"] = r.json()
    except ValueError:
        answer["text"] = r.text
    return answer


def main() -> None:
    make_pictures()
    door = socket.socket()
    door.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app(), log_level="error"))
    threading.Thread(target=server.run, kwargs={"sockets": [door]}, daemon=True).start()
    while not server.started:
        time.sleep(0.05)
    url = f"http://127.0.0.1:{door.getsockname()[1]}"
    lines = [json.dumps(c | {"response": send(url, c["request"])}, ensure_ascii=False) for c in cases()]
    (HERE / "recorded.json").write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")
    print(f"{len(lines)} exchanges in recorded.json")


if __name__ == "__main__":
    main()
