# SPDX-License-Identifier: Apache-2.0
"""Write the small models and pictures that the Go tests use, from a narrow checkpoint of train.py.

    python variants.py narrow.pt ../../internal/testmodels
"""
import argparse
import pathlib

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import export
import shapes

CONF, IOU, MOST = 0.25, 0.45, 300


def with_nms(proto, path, size):
    """Non-maximum suppression inside the graph: [1, 300, 6] of corners, score and class, zeros after the last."""
    g = proto.graph
    a = g.output[0].type.tensor_type.shape.dim[2].dim_value
    nc = len(shapes.NAMES)
    for n in g.node:
        n.output[:] = ["raw" if o == "output0" else o for o in n.output]

    def const(name, value):
        g.initializer.append(numpy_helper.from_array(np.asarray(value), "nms." + name))
        return "nms." + name

    def node(op, inputs, outputs, **kw):
        g.node.append(helper.make_node(op, inputs, outputs, name="nms/" + outputs[0], **kw))
        return outputs[0]

    i64 = np.int64
    node("Split", ["raw", const("sizes", np.array([4, nc], i64))], ["xywh", "scores"], axis=1)
    # Only the best class of an anchor counts.
    best = node("ReduceMax", ["scores"], ["best"], axes=[1], keepdims=1)
    node("GreaterOrEqual", ["scores", best], ["is_best"])
    node("Where", ["is_best", "scores", const("zero", np.float32(0))], ["best_scores"])
    node("Transpose", ["xywh"], ["boxes"], perm=[0, 2, 1])
    node("NonMaxSuppression", ["boxes", "best_scores", const("most", np.array([MOST], i64)),
                               const("iou", np.array([IOU], np.float32)), const("conf", np.array([CONF], np.float32))],
         ["chosen"], center_point_box=1)
    one, two = const("one", np.array(1, i64)), const("two", np.array(2, i64))
    node("Gather", ["chosen", one], ["cls"], axis=1)
    node("Gather", ["chosen", two], ["anchor"], axis=1)
    node("Mul", ["cls", const("anchors", np.array(a, i64))], ["row"])
    node("Add", ["row", "anchor"], ["at"])
    node("Reshape", ["scores", const("flat", np.array([-1], i64))], ["flat_scores"])
    node("Gather", ["flat_scores", "at"], ["conf"], axis=0)
    node("Reshape", ["boxes", const("boxes_shape", np.array([-1, 4], i64))], ["flat_boxes"])
    node("Gather", ["flat_boxes", "anchor"], ["kept"], axis=0)
    node("Split", ["kept", const("halves", np.array([2, 2], i64))], ["centre", "extent"], axis=1)
    node("Mul", ["extent", const("half", np.float32(0.5))], ["radius"])
    node("Sub", ["centre", "radius"], ["low"])
    node("Add", ["centre", "radius"], ["high"])
    last = const("last", np.array([1], i64))
    node("Unsqueeze", ["conf", last], ["conf_column"])
    node("Cast", ["cls"], ["cls_float"], to=TensorProto.FLOAT)
    node("Unsqueeze", ["cls_float", last], ["cls_column"])
    node("Concat", ["low", "high", "conf_column", "cls_column"], ["rows"], axis=1)
    # Best first, at most MOST, padded with zeros to MOST.
    node("Shape", ["conf"], ["count"])
    node("Min", ["count", const("limit", np.array([MOST], i64))], ["k"])
    node("TopK", ["conf", "k"], ["sorted_conf", "order"], axis=0)
    node("Gather", ["rows", "order"], ["sorted"], axis=0)
    node("Concat", ["sorted", const("padding", np.zeros((MOST, 6), np.float32))], ["padded"], axis=0)
    zero = const("begin", np.array([0], i64))
    node("Slice", ["padded", zero, const("end", np.array([MOST], i64)), zero], ["cut"])
    node("Reshape", ["cut", const("out_shape", np.array([1, MOST, 6], i64))], ["output0"])
    del g.output[:]
    g.output.append(helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, MOST, 6]))
    export.save(proto, path, export.metadata(size, nms=True))


def not_yolo(path):
    """A sound model that detects nothing: a linear layer."""
    w = np.random.default_rng(0).normal(0, 1, (10, 10)).astype(np.float32)
    g = helper.make_graph(
        [helper.make_node("MatMul", ["input", "w"], ["output"], name="linear")], "notyolo",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 10])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 10])],
        [numpy_helper.from_array(w, "w")])
    proto = helper.make_model(g, opset_imports=[helper.make_opsetid("", export.OPSET)], ir_version=8)
    export.save(proto, path, {"description": "a linear layer, no detector", "author": "lazyolo",
                              "license": "Apache-2.0", "version": export.VERSION})


def main():
    p = argparse.ArgumentParser()
    p.add_argument("checkpoint")
    p.add_argument("folder", type=pathlib.Path)
    a = p.parse_args()
    a.folder.mkdir(parents=True, exist_ok=True)
    path = lambda name: str(a.folder / name)
    fresh = lambda: export.load(a.checkpoint)[0]
    size = export.load(a.checkpoint)[1]["size"]
    proto = export.to_onnx(fresh(), path("static.onnx"), size)
    with_nms(proto, path("nms.onnx"), size)
    export.to_onnx(fresh(), path("dynamic.onnx"), size, dynamic=True)
    export.to_onnx(fresh(), path("half.onnx"), size, half=True)
    export.to_onnx(fresh(), path("e2e.onnx"), size, end2end=True)
    not_yolo(path("notyolo.onnx"))

    img, _ = shapes.scene(shapes.seed_of("test", 21), (240, 180), count=5, big=True, tidy=True)
    cv2.imwrite(path("shapes.png"), img[..., ::-1])
    img, _ = shapes.scene(shapes.seed_of("test", 28), (320, 200), count=5, big=True, tidy=True)
    export.write_jpeg(a.folder / "shapes.jpg", img)


if __name__ == "__main__":
    main()
