# SPDX-License-Identifier: Apache-2.0
"""Non-maximum suppression and average precision, in NumPy."""
import numpy as np


def iou(a, b):
    """IoU of each box of a [n, 4] with each of b [m, 4], corners."""
    lt, rb = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = np.prod(np.clip(rb - lt, 0, None), 2)
    area = lambda x: np.prod(x[:, 2:] - x[:, :2], 1)
    return inter / (area(a)[:, None] + area(b)[None] - inter + 1e-9)


def nms(boxes, scores, conf=0.25, thr=0.45, most=300):
    """[k, 6] detections (x1, y1, x2, y2, score, class), best first, from corners [A, 4] and scores [A, nc]."""
    cls, best = scores.argmax(1), scores.max(1)
    keep = best > conf
    boxes, cls, best = boxes[keep], cls[keep], best[keep]
    order = np.argsort(-best, kind="stable")[:1000]
    boxes, cls, best = boxes[order], cls[order], best[order]
    overlap = (iou(boxes, boxes) > thr) & (cls[:, None] == cls[None])
    dead, out = np.zeros(len(boxes), bool), []
    for i in range(len(boxes)):
        if not dead[i]:
            out.append(i)
            dead |= overlap[i]
    out = out[:most]
    return np.concatenate([boxes[out], best[out, None], cls[out, None]], 1)


def average_precision(found, truth, nc, thresholds=(0.5,)):
    """AP [nc, thresholds] as in COCO (101 recall points). found: [k, 6] a picture; truth: [n, 5] a picture
    (class, corners)."""
    ap = np.full((nc, len(thresholds)), np.nan)
    for c in range(nc):
        total = sum(int((t[:, 0] == c).sum()) for t in truth)
        if not total:
            continue
        for k, thr in enumerate(thresholds):
            scores, hits = [], []
            for f, t in zip(found, truth):
                f, t = f[f[:, 5] == c], t[t[:, 0] == c, 1:]
                taken = np.zeros(len(t), bool)
                overlap = iou(f[:, :4], t)
                for i in np.argsort(-f[:, 4], kind="stable"):
                    o = np.where(taken, -1, overlap[i]) if len(t) else np.zeros(0)
                    j = o.argmax() if len(o) else -1
                    hit = j >= 0 and o[j] >= thr
                    if hit:
                        taken[j] = True
                    scores.append(f[i, 4])
                    hits.append(hit)
            order = np.argsort(-np.array(scores), kind="stable")
            tp = np.cumsum(np.array(hits, float)[order])
            recall, precision = tp / total, tp / np.arange(1, len(tp) + 1)
            precision = np.maximum.accumulate(precision[::-1])[::-1]
            at = np.searchsorted(recall, np.linspace(0, 1, 101))
            ap[c, k] = np.where(at < len(precision), np.append(precision, 0)[np.minimum(at, len(precision))], 0).mean()
    return ap
