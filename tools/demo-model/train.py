# SPDX-License-Identifier: Apache-2.0
"""Train the demo model on synthetic shapes, measure it on held-out ones, write a checkpoint.

    python train.py --out demo.pt                       # the demo model (2 cores: about half an hour)
    python train.py --out narrow.pt --narrow --size 160 # the tiny one that variants.py exports
"""
import argparse
import math
import time
from concurrent.futures import ProcessPoolExecutor

import cv2
import numpy as np
import torch
import torch.nn.functional as F

import metrics
import shapes
from net import Detector, loss

WIDE = dict(channels=(16, 24, 48, 80, 112), neck=64)
NARROW = dict(channels=(8, 12, 16, 16, 16), neck=12)


def draw(job):
    cv2.setNumThreads(1)
    split, index, size, seed = job
    return shapes.sample(shapes.seed_of(split, index, seed), size)


def draw_all(split, count, size, seed, workers):
    with ProcessPoolExecutor(workers) as pool:
        got = list(pool.map(draw, [(split, i, size, seed) for i in range(count)], chunksize=64))
    return np.stack([g[0] for g in got]), [g[1] for g in got]


def batch_of(images, truth, picks, size, rng):
    """A batch: each picture turned by a multiple of 90 degrees, perhaps mirrored, its colours swapped."""
    xs, ys = [], []
    full = images.shape[1]
    for i in picks:
        x, y = images[i], truth[i].copy()
        turn, flip, order = int(rng.integers(4)), rng.random() < 0.5, rng.permutation(3)
        for _ in range(turn):
            y[:, 1:] = y[:, [2, 1, 4, 3]]
            y[:, [2, 4]] = full - y[:, [4, 2]]
        x = np.rot90(x, turn)
        if flip:
            x = x[:, ::-1]
            y[:, [1, 3]] = full - y[:, [3, 1]]
        xs.append(np.ascontiguousarray(x[..., order]))
        ys.append(y)
    x = torch.from_numpy(np.stack(xs)).permute(0, 3, 1, 2).float() / 255
    x = x.contiguous(memory_format=torch.channels_last)
    if size != full:
        x = F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False, antialias=True)
        x = x.contiguous(memory_format=torch.channels_last)
    n = max(1, max(len(y) for y in ys))
    cls, box, valid = np.zeros((len(ys), n), np.int64), np.zeros((len(ys), n, 4), np.float32), np.zeros((len(ys), n), bool)
    for b, y in enumerate(ys):
        cls[b, :len(y)], box[b, :len(y)], valid[b, :len(y)] = y[:, 0], y[:, 1:] * size / full, True
    return x, torch.from_numpy(cls), torch.from_numpy(box), torch.from_numpy(valid)


@torch.no_grad()
def evaluate(model, images, truth):
    model.eval()
    found = []
    for i in range(0, len(images), 25):
        x = torch.from_numpy(images[i:i + 25]).permute(0, 3, 1, 2).float() / 255
        boxes, logits, _, _ = model(x.contiguous(memory_format=torch.channels_last))
        for b, s in zip(boxes.numpy(), logits.sigmoid().numpy()):
            found.append(metrics.nms(b, s, conf=0.001, thr=0.6, most=100))
    return metrics.average_precision(found, truth, model.nc, np.arange(0.5, 1, 0.05))


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--out", required=True)
    p.add_argument("--narrow", action="store_true")
    p.add_argument("--size", type=int, default=320)
    p.add_argument("--pictures", type=int, default=6000)
    p.add_argument("--steps", type=int, default=3500)
    p.add_argument("--batch", type=int, default=16)
    p.add_argument("--lr", type=float, default=3e-3)
    p.add_argument("--heldout", type=int, default=500)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--bf16", action="store_true", help="faster where the CPU has AVX512-BF16 or AMX")
    p.add_argument("--seed", type=int, default=0)
    a = p.parse_args()

    torch.manual_seed(a.seed)
    torch.set_num_threads(a.threads)
    rng = np.random.default_rng(a.seed)
    began = time.time()
    images, truth = draw_all("train", a.pictures, a.size, a.seed, a.threads)
    held_images, held_truth = draw_all("heldout", a.heldout, a.size, a.seed, a.threads)
    print(f"drew {len(images)} + {len(held_images)} pictures in {time.time() - began:.0f} s", flush=True)

    shape = NARROW if a.narrow else WIDE
    model = Detector(len(shapes.NAMES), **shape).to(memory_format=torch.channels_last)
    ema = Detector(len(shapes.NAMES), **shape).to(memory_format=torch.channels_last)
    ema.load_state_dict(model.state_dict())
    averaged, live = ([v for v in m.state_dict().values() if v.is_floating_point()] for m in (ema, model))
    model.bf16 = a.bf16
    print(f"{sum(q.numel() for q in model.parameters())} parameters", flush=True)
    decay = [q for q in model.parameters() if q.dim() > 1]
    rest = [q for q in model.parameters() if q.dim() <= 1]
    opt = torch.optim.AdamW([{"params": decay, "weight_decay": 0.02}, {"params": rest, "weight_decay": 0.0}], lr=a.lr, foreach=True)

    def rate(step):  # a short warm-up, then a cosine down to 1%
        if step < 100:
            return (step + 1) / 100
        return 0.01 + 0.99 * (1 + math.cos(math.pi * (step - 100) / max(1, a.steps - 100))) / 2

    order, sums, began = [], [0.0, 0.0], time.time()
    for step in range(a.steps):
        model.train()
        if len(order) < a.batch:
            order = list(rng.permutation(len(images)))
        picks, order = order[:a.batch], order[a.batch:]
        # Smaller inputs at first: faster, and the shapes look the same.
        part = step / a.steps
        size = a.size if part > 0.55 else int(rng.choice([0.7, 0.8, 1.0]) * a.size / 32) * 32
        x, cls, box, valid = batch_of(images, truth, picks, size, rng)
        for g in opt.param_groups:
            g["lr"] = a.lr * rate(step)
        total, c, b = loss(model(x), cls, box, valid)
        opt.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        opt.step()
        keep = min(0.998, (step + 1) / (step + 20))
        with torch.no_grad():
            torch._foreach_lerp_(averaged, live, 1 - keep)
        sums[0] += float(c)
        sums[1] += float(b)
        if (step + 1) % 50 == 0:
            print(f"{step + 1}/{a.steps} cls {sums[0] / 50:.3f} box {sums[1] / 50:.3f} {time.time() - began:.0f} s", flush=True)
            sums = [0.0, 0.0]
        last = step + 1 == a.steps
        if (step + 1) % 500 == 0 or last:
            count = len(held_images) if last else 100
            ap = evaluate(ema, held_images[:count], held_truth[:count])
            m50, m = float(np.nanmean(ap[:, 0])), float(np.nanmean(ap))
            print(f"mAP50 {m50:.4f} mAP50-95 {m:.4f} on {count}; AP50 "
                  + " ".join(f"{n} {v:.3f}" for n, v in zip(shapes.NAMES, ap[:, 0])), flush=True)
            torch.save({"state": ema.state_dict(), "shape": shape, "map50": m50, "map": m, "size": a.size, "heldout": count}, a.out)
    print(f"trained in {(time.time() - began) / 60:.1f} min", flush=True)


if __name__ == "__main__":
    main()
