"""The Open Inference Protocol with NVIDIA's tritonclient and with Ultralytics."""

import json
import os
import tempfile
import urllib.request

import numpy as np
import tritonclient.grpc as tgrpc
import tritonclient.http as thttp
from tritonclient.utils import InferenceServerException

import lazyolo

os.environ.setdefault("YOLO_CONFIG_DIR", tempfile.mkdtemp())
PICTURE = next((lazyolo.ROOT / "test/e2e/testdata/pictures").glob("444.jpg"))
rng = np.random.default_rng(1)
TENSOR = rng.random((1, 3, 320, 320), dtype=np.float32)


def clients(server):
    yield "http", thttp, thttp.InferenceServerClient(server.http)
    yield "grpc", tgrpc, tgrpc.InferenceServerClient(server.rpc)


def as_dict(answer):
    if isinstance(answer, (dict, list)):
        return answer
    from google.protobuf.json_format import MessageToDict

    return MessageToDict(answer, preserving_proto_field_name=True)


def server_and_model_tell_what_they_are(server):
    for name, _, c in clients(server):
        assert c.is_server_live() and c.is_server_ready(), name
        assert c.is_model_ready("model_0") and c.is_model_ready("model_0", "1.0.0"), name
        meta = as_dict(c.get_server_metadata())
        assert meta["name"] == "lazyolo" and "model_repository" in meta["extensions"], meta
        model = as_dict(c.get_model_metadata("model_0"))
        assert model["inputs"][0]["name"] == "images" and model["inputs"][0]["datatype"] == "FP32", model
        assert [int(d) for d in model["inputs"][0]["shape"]] == [1, 3, 320, 320], model
        config = as_dict(c.get_model_config("model_0"))
        config = config.get("config", config)
        assert config["input"][0]["data_type"] == "TYPE_FP32", config
        assert "circle" in config["parameters"]["metadata"]["string_value"], config


def raw_tensors_give_the_same_over_both(server):
    got = []
    for name, lib, c in clients(server):
        x = lib.InferInput("images", TENSOR.shape, "FP32")
        x.set_data_from_numpy(TENSOR)
        for outputs in (None, [lib.InferRequestedOutput("output0")]):
            r = c.infer("model_0", [x], outputs=outputs, request_id="seven")
            out = r.as_numpy("output0")
            assert out.shape == (1, 9, 2100) and out.dtype == np.float32, (name, out.shape)
            got.append(out)
        answer = as_dict(r.get_response())
        assert answer["id"] == "seven" and answer["model_version"] == "1.0.0", answer
    for other in got[1:]:
        assert np.array_equal(got[0], other)


def json_and_compressed_bodies_give_the_same(server):
    c = thttp.InferenceServerClient(server.http)
    want = None
    for binary_in, binary_out, how in ((True, True, None), (False, True, None), (True, False, None), (False, False, None),
                                       (True, True, "gzip"), (True, True, "deflate")):
        x = thttp.InferInput("images", TENSOR.shape, "FP32")
        x.set_data_from_numpy(TENSOR, binary_data=binary_in)
        o = thttp.InferRequestedOutput("output0", binary_data=binary_out)
        out = c.infer("model_0", [x], outputs=[o], request_compression_algorithm=how).as_numpy("output0")
        want = out if want is None else want
        assert np.array_equal(want, out), (binary_in, binary_out, how)
    g = tgrpc.InferenceServerClient(server.rpc)
    x = tgrpc.InferInput("images", TENSOR.shape, "FP32")
    x.set_data_from_numpy(TENSOR)
    assert np.array_equal(want, g.infer("model_0", [x]).as_numpy("output0"))
    try:  # a few bytes could become all of the memory for bodies
        g.infer("model_0", [x], compression_algorithm="gzip")
        assert False, "a compressed message was taken"
    except InferenceServerException as e:
        assert "gzip" in e.message(), e


def pictures_answer_as_the_old_door(server):
    data = PICTURE.read_bytes()
    boundary = "xxxx"
    body = (f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="p.jpg"\r\n\r\n').encode() + data + f"\r\n--{boundary}--\r\n".encode()
    request = urllib.request.Request(server.url + "/api/v2/detect?model=model_0", body, {"Content-Type": f"multipart/form-data; boundary={boundary}"})
    want = urllib.request.urlopen(request).read()
    assert len(json.loads(want)["predictions"]) > 0
    for name, lib, c in clients(server):
        for shape in ([1], [1, 1], [2], [2, 1]):
            x = lib.InferInput("image", shape, "BYTES")
            x.set_data_from_numpy(np.array([data] * shape[0], dtype=np.object_).reshape(shape))
            r = c.infer("model_0", [x])
            results = r.as_numpy("result")
            assert len(results) == shape[0] and all(one == want for one in results), (name, results, want)
            n = len(json.loads(want)["predictions"]) * shape[0]
            assert r.as_numpy("boxes").shape == (n, 4) and r.as_numpy("scores").shape == (n,), name
            assert r.as_numpy("classes").dtype == np.int64 and r.as_numpy("counts").sum() == n, name
            for p, box, label in zip(json.loads(want)["predictions"], r.as_numpy("boxes"), r.as_numpy("labels")):
                assert [int(v) for v in box] == [p["x1"], p["y1"], p["x2"], p["y2"]] and label.decode() == p["class_name"], name
        none = c.infer("model_0", [x], parameters={"conf": 0.9999})
        assert none.as_numpy("boxes").shape == (0, 4) and none.as_numpy("counts").sum() == 0, name
        one = c.infer("model_0", [x], parameters={"max_det": 1}, outputs=[lib.InferRequestedOutput("scores")])
        assert one.as_numpy("scores").shape == (2,) and one.as_numpy("boxes") is None, name


def the_repository_loads_and_unloads(server):
    for name, _, c in clients(server):
        index = as_dict(c.get_model_repository_index())
        index = {m["name"]: m for m in index.get("models", index) if isinstance(m, dict)} if isinstance(index, dict) else {m["name"]: m for m in index}
        assert set(index) == {"model_0", "second"}, (name, index)
        c.load_model("second")
        state = as_dict(c.get_model_repository_index())
        state = state["models"] if isinstance(state, dict) else state
        assert {m["name"]: m["state"] for m in state}["second"] == "READY", (name, state)
        c.unload_model("second")
        state = as_dict(c.get_model_repository_index())
        state = state["models"] if isinstance(state, dict) else state
        assert {m["name"]: m["state"] for m in state}["second"] == "UNAVAILABLE", (name, state)
        assert c.is_model_ready("second"), "a known model is ready"
        try:
            c.load_model("nothing")
            raise AssertionError("loaded nothing")
        except InferenceServerException as e:
            assert "nothing" in str(e), e
        try:
            c.load_model("second", config="{}")
            raise AssertionError("took a config")
        except InferenceServerException as e:
            assert "config" in str(e), e


def statistics_count(server):
    for name, lib, c in clients(server):
        x = lib.InferInput("images", TENSOR.shape, "FP32")
        x.set_data_from_numpy(TENSOR)
        before = as_dict(c.get_inference_statistics("model_0"))["model_stats"][0]
        c.infer("model_0", [x])
        after = as_dict(c.get_inference_statistics("model_0"))["model_stats"][0]
        assert int(after["inference_count"]) == int(before["inference_count"]) + 1, (name, after)
        assert int(after["inference_stats"]["compute_infer"]["ns"]) > 0 and int(after["memory_usage"][0]["byte_size"]) > 0, (name, after)


def wrong_requests_are_refused(server):
    for name, lib, c in clients(server):
        def refuse(*words, model="model_0", x=None, **more):
            if x is None:
                x = lib.InferInput("images", TENSOR.shape, "FP32")
                x.set_data_from_numpy(TENSOR)
            try:
                c.infer(model, [x], **more)
            except InferenceServerException as e:
                assert all(w in str(e) for w in words), (name, words, e)
                return
            raise AssertionError((name, words))

        refuse("nothing", model="nothing")
        refuse("version", model_version="9")
        refuse("output9", outputs=[lib.InferRequestedOutput("output9")])
        half = lib.InferInput("images", TENSOR.shape, "FP16")
        half.set_data_from_numpy(TENSOR.astype(np.float16))
        refuse("FP16", "FP32", x=half)
        other = lib.InferInput("pixels", TENSOR.shape, "FP32")
        other.set_data_from_numpy(TENSOR)
        refuse("images", x=other)
        small = lib.InferInput("images", (1, 3, 32, 32), "FP32")
        small.set_data_from_numpy(TENSOR[:, :, :32, :32])
        refuse("[1 3 320 320]", x=small)
        text = lib.InferInput("image", [1], "BYTES")
        text.set_data_from_numpy(np.array([b"no picture"], dtype=np.object_))
        refuse("picture", x=text)
        refuse("classification", outputs=[lib.InferRequestedOutput("output0", class_count=3)])


def ultralytics_predicts_through_the_server(server):
    from ultralytics import YOLO

    local = lazyolo.DEMO / "models/model_0/best.onnx"
    want = YOLO(str(local), task="detect").predict(str(PICTURE), verbose=False, rect=False, imgsz=320)[0]
    assert len(want.boxes) > 0
    for url in (server.url + "/model_0", f"grpc://{server.rpc}/model_0"):
        got = YOLO(url, task="detect").predict(str(PICTURE), verbose=False, imgsz=320)[0]
        assert got.names[0] == "circle 圆", got.names
        assert np.allclose(want.boxes.data.cpu().numpy(), got.boxes.data.cpu().numpy(), atol=1e-2), (url, want.boxes.data, got.boxes.data)


if __name__ == "__main__":
    with lazyolo.Server() as server:
        checks = [server_and_model_tell_what_they_are, raw_tensors_give_the_same_over_both, json_and_compressed_bodies_give_the_same,
                  pictures_answer_as_the_old_door, the_repository_loads_and_unloads, statistics_count, wrong_requests_are_refused,
                  ultralytics_predicts_through_the_server]
        lazyolo.run(checks, server)
