"""Records contours.json and yolo/testdata/masks.json: what OpenCV and Ultralytics make of masks.

Needs ultralytics 8.4.190, opencv-python 5.0.0.93 and torch 2.15, which the recording
is of. Run in this folder: python record.py [number of random masks]
"""
import json
import sys

import cv2
import numpy as np
import torch
from ultralytics.utils import ops

rng = np.random.default_rng(5)


def shapes(h, w):
    """Draws a few filled and hollow shapes and some noise."""
    m = np.zeros((h, w), np.uint8)
    for _ in range(rng.integers(1, 5)):
        p = (int(rng.integers(0, w)), int(rng.integers(0, h)))
        r = int(rng.integers(0, max(2, min(w, h) // 2)))
        kind = rng.integers(0, 4)
        if kind == 0:
            cv2.circle(m, p, r, 1, -1)
        elif kind == 1:
            cv2.circle(m, p, r, 1, 1)
        elif kind == 2:
            q = (int(rng.integers(0, w)), int(rng.integers(0, h)))
            cv2.rectangle(m, p, q, int(rng.integers(0, 2)), int(rng.choice([1, -1])))
        else:
            q = (int(rng.integers(0, w)), int(rng.integers(0, h)))
            cv2.line(m, p, q, int(rng.integers(0, 2)), int(rng.integers(1, 3)))
    if rng.random() < 0.4:
        m ^= (rng.random((h, w)) < rng.choice([0.02, 0.1, 0.3])).astype(np.uint8)
    return m


def contours(n):
    out = []
    for i in range(n):
        h, w = (int(v) for v in rng.integers(1, 26, 2))
        m = shapes(h, w)
        found = [c.reshape(-1, 2).tolist() for c in cv2.findContours(m, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]]
        joined = ops.masks2segments(m[None])[0].astype(int).reshape(-1, 2).tolist()
        out.append({"rows": ["".join(".#"[v] for v in row) for row in m], "contours": found, "joined": joined})
    return out


def masks(n):
    """Masks enlarged to a picture as Ultralytics does to draw them."""
    out = []
    for i in range(n):
        h, w = (int(v) for v in rng.integers(6, 20, 2))
        ph, pw = (int(v) for v in rng.integers(5, 40, 2))
        m = shapes(h, w)
        big = ops.scale_masks(torch.from_numpy(m)[None, None].float(), (ph, pw))[0, 0] > 0.5
        gain = min(h / ph, w / pw)
        nw, nh = max(round(pw * gain), 1), max(round(ph * gain), 1)
        window = [round((w - nw) / 2 - 0.1), round((h - nh) / 2 - 0.1), nw, nh]
        window = [max(0, window[0]), max(0, window[1]), nw, nh]
        out.append({
            "grid": ["".join(".#"[v] for v in row) for row in m], "window": window,
            "picture": ["".join(".#"[int(v)] for v in row) for row in big.numpy()],
        })
    return out


def dump(name, rows):
    with open(name, "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(r, separators=(",", ":")) for r in rows) + "\n]\n")


count = int(sys.argv[1]) if len(sys.argv) > 1 else 60
dump("contours.json", contours(count))
dump("../../../yolo/testdata/masks.json", masks(count // 3))
