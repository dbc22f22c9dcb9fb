"""Compares lazyolo's conversion with Ultralytics itself for every architecture that the
installed release describes: random weights, saved as a checkpoint in half precision,
converted by lazyolo, run by ONNX Runtime, against the model's own forward pass.

    python bench/peers/architectures.py bin/lazyolo [part of a name ...]

One line each: the worst difference of an output relative to its scale, for the one-to-one
head the worst difference of the ranked scores, for semantic segmentation the share of
pixels of another class; or why it was refused.
"""
import copy
import glob
import os
import re
import subprocess
import sys
import tempfile

import numpy
import onnxruntime
import torch
import ultralytics

LIMIT = 1e-3


def build(path):
    """The smallest scale of an architecture, with norms that differ from identity."""
    stem = os.path.basename(path)[:-5]
    scaled = re.match(r"(yolov?(?:5|6|8|11|12|26))(-.*)?$", stem)
    name = scaled.group(1) + "n" + (scaled.group(2) or "") + ".yaml" if scaled else path
    model = (ultralytics.RTDETR if "rtdetr" in stem else ultralytics.YOLO)(name).model.float().eval()
    random = torch.Generator().manual_seed(1)
    for m in model.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            m.running_mean.normal_(0, 0.1, generator=random)
            m.running_var.uniform_(0.5, 1.5, generator=random)
            m.weight.data.uniform_(0.8, 1.2, generator=random)
            m.bias.data.normal_(0, 0.1, generator=random)
    return model.half()


def tensors(v):
    """All tensors in nested lists."""
    if torch.is_tensor(v):
        return [v.float().numpy()]
    return [t for e in v for t in tensors(e)] if isinstance(v, (list, tuple)) else []


def worst(got, all_of_theirs, ranked):
    if got.dtype == numpy.uint8:  # the class of each pixel: the share of others
        scores = torch.nn.functional.interpolate(torch.from_numpy(all_of_theirs[0]), got.shape[1:], mode="bilinear")
        return (scores.argmax(1).numpy() != got).mean()
    same = [t for t in all_of_theirs if t.shape == got.shape]
    if not same:
        return float("inf")
    if ranked:
        return min(abs(numpy.sort(t[..., 4]) - numpy.sort(got[..., 4])).max() for t in same)
    return min(abs(t - got).max() / max(abs(t).max(), 1e-9) for t in same)


def compare(lazyolo, model, folder, one_to_one, square):
    checkpoint, graph = os.path.join(folder, "m.pt"), os.path.join(folder, "m.onnx")
    torch.save({"epoch": -1, "model": model, "ema": None, "train_args": {"imgsz": 256}, "version": ultralytics.__version__}, checkpoint)
    command = [lazyolo, "convert", checkpoint, "-o", graph, "--dynamic"] + ["--one2one"] * one_to_one
    made = subprocess.run(command, capture_output=True, text=True)
    if made.returncode:
        return "refused: " + made.stderr.splitlines()[0].partition("m.pt: ")[2][:100], True
    size = (256, 256) if square else (256, 320)
    x = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(2))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    got = onnxruntime.InferenceSession(graph, options).run(None, {"images": x.numpy()})
    own = copy.deepcopy(model).float().eval()
    if one_to_one:
        own.model[-1].end2end = True
    with torch.no_grad():
        theirs = tensors(own(x))
    ranked = one_to_one or "RTDETR" in type(own.model[-1]).__name__
    d = [worst(g, theirs, ranked and i == 0) for i, g in enumerate(got)]
    return " ".join("%.1e" % v for v in d), max(d) <= LIMIT


def main(lazyolo, wanted):
    torch.set_num_threads(1)
    ultralytics.utils.LOGGER.setLevel("ERROR")
    bad = 0
    for path in sorted(glob.glob(os.path.join(os.path.dirname(ultralytics.__file__), "cfg/models/**/*.yaml"), recursive=True)):
        name = os.path.basename(path)[:-5]
        if wanted and not any(w in name for w in wanted):
            continue
        try:
            model = build(path)
        except Exception as e:  # such as one that wants to fetch weights
            print("%-24s not built: %s" % (name, str(e).splitlines()[0][:80]), flush=True)
            continue
        square = "rtdetr" in name or "cls" in name
        with tempfile.TemporaryDirectory() as folder:
            for one_to_one in [False] + [True] * (getattr(model.model[-1], "one2one_cv2", None) is not None):
                says, well = compare(lazyolo, model, folder, one_to_one, square)
                bad += not well
                print("%-24s %-10s %s" % (name, "one2one" if one_to_one else "", says), flush=True)
    print("%d differ by more than %g" % (bad, LIMIT))
    return bad > 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
