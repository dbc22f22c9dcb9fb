"""A small FastAPI + Ultralytics server with the old server's ways, to measure against.

Written for the bench from the description of the contract. PEER_LOADING=eager
loads every model before it listens; lazy loads one at its first request and, over
MAX_MEMORY_MB, unloads the least recently used. Annotated pictures are not drawn.
"""

import collections
import os
import pathlib

import cv2
import numpy as np
import psutil
import uvicorn
import yaml
from fastapi import FastAPI, File, Form, UploadFile
from ultralytics import YOLO

CONF, IOU, SIZE = 0.25, 0.45, 640
EAGER = os.environ.get("PEER_LOADING", "lazy") == "eager"
MAX_MEMORY_MB = float(os.environ.get("MAX_MEMORY_MB", "4096"))
CHECK_INTERVAL = 10  # requests between two looks at the memory


class Models:
    """The model folders and those of them that are loaded, least recently used first."""

    def __init__(self, root: str):
        self.folders = []
        for labels in sorted(pathlib.Path(root).glob("*/labels.yaml")):
            self.folders.append((labels.parent, yaml.safe_load(labels.read_text(encoding="utf-8"))))
        self.loaded = collections.OrderedDict()
        self.requests = 0
        if EAGER:
            for i in range(len(self.folders)):
                self.load(i)

    def load(self, i: int) -> YOLO:
        folder, labels = self.folders[i]
        self.loaded[i] = YOLO(str(folder / labels["model_path"]), task="detect")
        return self.loaded[i]

    def model(self, i: int) -> YOLO:
        self.requests += 1
        if not EAGER and self.requests % CHECK_INTERVAL == 0:
            while len(self.loaded) > 1 and psutil.Process().memory_info().rss > MAX_MEMORY_MB * 2**20:
                self.loaded.popitem(last=False)
        found = self.loaded.get(i) or self.load(i)
        self.loaded.move_to_end(i)
        return found


models = Models(os.environ["MODELS_PATH"])
app = FastAPI()


@app.get("/api/v1/health")
async def health():
    return {"inference_ok": True, "device": "cpu"}


@app.post("/api/v2/detect")
async def detect(file: UploadFile = File(...), model_id: int = Form(0)):
    picture = cv2.imdecode(np.frombuffer(await file.read(), np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        return {"error": "Failed to decode image"}
    if not 0 <= model_id < len(models.folders):
        return {"error": f"Model ID {model_id} not found"}
    names = models.folders[model_id][1]["names"]
    result = models.model(model_id).predict(picture, conf=CONF, iou=IOU, imgsz=SIZE, verbose=False)[0]
    predictions = []
    for box in result.boxes:
        x1, y1, x2, y2 = map(int, box.xyxy[0].tolist())
        k = int(box.cls[0])
        predictions.append({"class_id": k, "class_name": names.get(k, str(k)), "confidence": float(box.conf[0]),
                            "x1": x1, "y1": y1, "x2": x2, "y2": y2})
    return {"predictions": predictions}


uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), log_level="warning")
