"""Makes the models that the bench runs, in the folder given.

Shapes are Ultralytics' own configurations, built by its API when this runs;
weights are random with fixed seeds, as initialised: the class biases stand so low
that no score comes near a threshold, so an answer has no objects and what is
measured after the network is the search through its output. Files that exist stay.
"""

import os
import sys

import torch
from ultralytics import YOLO

MODELS = {"yolov8n": ("yolov8n.yaml", 1), "yolov8m-a": ("yolov8m.yaml", 2), "yolov8m-b": ("yolov8m.yaml", 3),
          "yolov8n-dynamic": ("yolov8n.yaml", 1)}


def make(name: str, config: str, seed: int) -> None:
    """Leaves NAME.pt and NAME.onnx (640, opset 17, static unless its name says dynamic) in the current folder."""
    if os.path.exists(name + ".onnx") and os.path.exists(name + ".pt"):
        return
    torch.manual_seed(seed)
    built = YOLO(config, task="detect")
    built.ckpt = built.ckpt or {}
    built.save("part.pt")
    YOLO("part.pt").export(format="onnx", imgsz=640, opset=17, dynamic="dynamic" in name, simplify=False, verbose=False)
    os.replace("part.onnx", name + ".onnx")
    os.replace("part.pt", name + ".pt")


os.makedirs(sys.argv[1], exist_ok=True)
os.chdir(sys.argv[1])
for name, (config, seed) in MODELS.items():
    make(name, config, seed)
