# SPDX-License-Identifier: Apache-2.0
"""Turn a checkpoint of train.py into the demo model: ONNX, labels.yaml and two demo pictures.

    python export.py demo.pt ../../cmd/lazyolo/demo
"""
import argparse
import datetime
import pathlib
import warnings

import cv2
import onnx
import torch
from torch import nn

import shapes
from net import Detector

VERSION = "1.0.0"
OPSET = 17


def load(checkpoint):
    c = torch.load(checkpoint, map_location="cpu", weights_only=True)
    model = Detector(len(shapes.NAMES), **c["shape"])
    model.load_state_dict(c["state"])
    return model.eval().requires_grad_(False).fold(), c


class Head(nn.Module):
    """The network with its output in the usual YOLO layout."""

    def __init__(self, model, end2end=False, most=300):
        super().__init__()
        self.model, self.end2end, self.most = model, end2end, most

    def forward(self, x):
        boxes, logits, _, _ = self.model(x)
        scores = logits.sigmoid()
        if self.end2end:  # [B, 300, 6]: corners, score, class; best first, no suppression
            best, cls = scores.max(2)
            best, at = best.topk(self.most, 1)
            boxes = boxes.gather(1, at[..., None].expand(-1, -1, 4))
            return torch.cat([boxes, best[..., None], cls.gather(1, at)[..., None].to(boxes.dtype)], 2)
        a, b = boxes.split(2, 2)  # [B, 4 + nc, A]: centre, size, scores
        return torch.cat([(a + b) / 2, b - a, scores], 2).transpose(1, 2)


def metadata(size, nms=False, half=False, dynamic=False, end2end=False):
    m = {
        "description": "lazyolo demo model: simple shapes",
        "author": "lazyolo",
        "license": "Apache-2.0",
        "version": VERSION,
        "stride": "32",
        "task": "detect",
        "batch": "1",
        "imgsz": str([size, size]),
        "names": str(dict(enumerate(shapes.NAMES))),
        "channels": "3",
        "args": str({"batch": 1, "half": half, "dynamic": dynamic, "nms": nms}),
    }
    if end2end:
        m["end2end"] = "True"
    return m


def shorten(graph):
    """Give nodes and tensors short names: the exporter's are longer than the weights of a small model."""
    names = {"": "", **{v.name: v.name for v in [*graph.input, *graph.output]}}
    del graph.value_info[:]
    for i, t in enumerate(graph.initializer):
        t.name = names.setdefault(t.name, f"w{i}")
    for i, n in enumerate(graph.node):
        n.name, n.doc_string = f"{n.op_type}{i}", ""
        n.input[:] = [names[x] for x in n.input]
        n.output[:] = [names.setdefault(x, f"t{i}" if k == 0 else f"t{i}_{k}") for k, x in enumerate(n.output)]


def save(proto, path, meta):
    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, meta)
    proto.producer_name, proto.producer_version = "lazyolo", VERSION
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, path)
    print(f"{path} {pathlib.Path(path).stat().st_size} bytes")


def to_onnx(model, path, size, half=False, dynamic=False, end2end=False):
    if not dynamic:
        model.fix(size)
    head, x = Head(model, end2end).eval(), torch.zeros(1, 3, size, size)
    if half:
        head, x = head.half(), x.half()
    axes = {"images": {0: "batch", 2: "height", 3: "width"}, "output0": {0: "batch", 2: "anchors"}} if dynamic else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(head, (x,), path, opset_version=OPSET, dynamo=False, do_constant_folding=True,
                          input_names=["images"], output_names=["output0"], dynamic_axes=axes)
    proto = onnx.load(path)
    if dynamic:
        proto.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 4 + model.nc
    shorten(proto.graph)
    save(proto, path, metadata(size, half=half, dynamic=dynamic, end2end=end2end))
    return proto


LABELS_YAML = """\
model_name: lazyolo-demo
model_family: lazyolo
version: {version}
model_path: ./best.onnx
task: detection
input_size: {size}x{size}
description: Demo model that finds simple shapes. 识别简单形状的演示模型。
metadata:
  training_data: synthetic shapes, tools/demo-model
  date_trained: '{date}'
  maintainers: lazyolo
  note: mAP50 {map50:.3f} on {heldout} held-out synthetic pictures
names:
"""


def write_jpeg(path, img, quality=90):
    cv2.imwrite(str(path), img[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    print(f"{path} {path.stat().st_size} bytes")


def demo_pictures(folder):
    img, _ = shapes.scene(shapes.seed_of("demo", 6), (640, 480), count=8, big=True, tidy=True)
    write_jpeg(folder / "shapes.jpg", img)
    img, _ = shapes.scene(shapes.seed_of("demo", 6), (810, 1080), count=9, street=True, big=True, tidy=True)
    write_jpeg(folder / "street.jpg", img)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("checkpoint")
    p.add_argument("folder", type=pathlib.Path)
    p.add_argument("--date", default=str(datetime.date.today()), help="the training date that labels.yaml gives")
    a = p.parse_args()
    model, c = load(a.checkpoint)
    out, pictures = a.folder / "models" / "model_0", a.folder / "pictures"
    out.mkdir(parents=True, exist_ok=True)
    pictures.mkdir(parents=True, exist_ok=True)
    to_onnx(model, str(out / "best.onnx"), c["size"])
    text = LABELS_YAML.format(version=VERSION, size=c["size"], date=a.date, map50=c["map50"], heldout=c["heldout"])
    text += "".join(f"  {i}: {n}\n" for i, n in enumerate(shapes.LABELS))
    (out / "labels.yaml").write_text(text, encoding="utf-8")
    demo_pictures(pictures)


if __name__ == "__main__":
    main()
