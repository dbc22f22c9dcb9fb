"""The Roboflow dialect as the unmodified inference_sdk speaks it.

Starts a server of its own with the demo model and, where they are, models of the
other tasks from ../shared/fixtures. Or it checks a running one, named in the environment:

    LAZYOLO_URL       http://127.0.0.1:8000
    LAZYOLO_DETECT    folder of a detection model
    LAZYOLO_PICTURE   a picture file in which it finds something
    LAZYOLO_SEGMENT, LAZYOLO_POSE, LAZYOLO_CLASSIFY   of other tasks; what is not set is not tested
    LAZYOLO_PICTURE_SEGMENT, …   pictures for them, else the one above
    LAZYOLO_LEGACY=1  if the server runs with ROBOFLOW_LEGACY=on
"""

import base64
import math
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.request

from inference_sdk import InferenceConfiguration, InferenceHTTPClient
from inference_sdk.http.errors import HTTPCallErrorError

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEMO = ROOT / "cmd/lazyolo/demo"
SHARED = ROOT.parent / "shared/fixtures/families"

CONFIDENCE = 0.25


def picture(task="DETECT"):
    return os.environ.get("LAZYOLO_PICTURE_" + task, os.environ["LAZYOLO_PICTURE"])


def client():
    return InferenceHTTPClient(api_url=os.environ["LAZYOLO_URL"], api_key=os.environ.get("LAZYOLO_API_KEY", "unused"))


def infer(task, **options):
    """Answers of the model of a task, or None where there is none."""
    folder = os.environ.get("LAZYOLO_" + task)
    if not folder:
        return None
    c = client()
    c.configure(InferenceConfiguration(confidence_threshold=CONFIDENCE, **options))
    return c.infer(picture(task), model_id=folder)


def check_box(p, image):
    for key in ("x", "y", "width", "height", "confidence"):
        assert math.isfinite(p[key]), p
    assert p["width"] >= 0 and p["height"] >= 0, p
    # x and y are the centre: half the box lies on each side, within the picture.
    assert -1 <= p["x"] - p["width"] / 2 and p["x"] + p["width"] / 2 <= image["width"] + 1, (p, image)
    assert -1 <= p["y"] - p["height"] / 2 and p["y"] + p["height"] / 2 <= image["height"] + 1, (p, image)
    assert len(p["detection_id"]) == 36 and isinstance(p["class"], str) and isinstance(p["class_id"], int), p


def check_image(r):
    assert len(r["inference_id"]) == 36 and r["time"] > 0, r
    assert r["image"]["width"] > 0 and r["image"]["height"] > 0, r


def test_server_info():
    info = client().get_server_info()
    assert info.name == "lazyolo" and info.version and len(info.uuid) == 36


def test_detection():
    r = infer("DETECT")
    check_image(r)
    assert r["predictions"]
    for p in r["predictions"]:
        check_box(p, r["image"])
        assert p["confidence"] >= CONFIDENCE


def test_detection_with_version_number_and_visualisation():
    c = client()
    c.configure(InferenceConfiguration(confidence_threshold=CONFIDENCE, visualize_predictions=True, max_detections=1))
    r = c.infer(picture(), model_id=os.environ["LAZYOLO_DETECT"] + "/1")
    assert len(r["predictions"]) == 1
    assert base64.b64decode(r["visualization"])[:2] == b"\xff\xd8"  # a JPEG


def test_detection_of_several_pictures():
    c = client()
    for size in (1, 2):
        c.configure(InferenceConfiguration(confidence_threshold=CONFIDENCE, max_batch_size=size))
        all = c.infer([picture(), picture(), picture()], model_id=os.environ["LAZYOLO_DETECT"])
        assert len(all) == 3
        boxes = [[(p["x"], p["y"], p["width"], p["height"]) for p in r["predictions"]] for r in all]
        assert boxes[0] and boxes[0] == boxes[1] == boxes[2]


def test_class_filter():
    everything = infer("DETECT")["predictions"]
    one = everything[0]["class"]
    some = infer("DETECT", class_filter=[one])["predictions"]
    assert some and {p["class"] for p in some} == {one}


def test_segmentation():
    r = infer("SEGMENT")
    if r is None:
        return
    check_image(r)
    assert r["predictions"]
    for p in r["predictions"]:
        check_box(p, r["image"])
        assert p["mask_format"] == "polygon"
        for at in p["points"]:
            assert 0 <= at["x"] <= r["image"]["width"] and 0 <= at["y"] <= r["image"]["height"]


def test_segmentation_as_rle():
    r = infer("SEGMENT", response_mask_format="rle")
    if r is None:
        return
    assert r["predictions"]
    for p in r["predictions"]:
        assert p["mask_format"] == "rle" and "points" not in p
        assert p["rle"]["size"] == [r["image"]["height"], r["image"]["width"]]
        try:
            from pycocotools import mask
        except ImportError:
            continue
        pixels = mask.decode({"size": p["rle"]["size"], "counts": p["rle"]["counts"].encode()})
        assert list(pixels.shape) == p["rle"]["size"]


def test_keypoints():
    r = infer("POSE")
    if r is None:
        return
    check_image(r)
    assert r["predictions"]
    for p in r["predictions"]:
        check_box(p, r["image"])
        assert p["keypoints"]
        assert {"x", "y", "confidence", "class_id", "class"} == set(p["keypoints"][0])


def test_classification():
    folder = os.environ.get("LAZYOLO_CLASSIFY")
    if not folder:
        return
    r = client().infer(picture("CLASSIFY"), model_id=folder)
    check_image(r)
    assert r["predictions"][0]["class"] == r["top"]
    assert r["predictions"][0]["confidence"] == r["confidence"]
    assert [p["confidence"] for p in r["predictions"]] == sorted((p["confidence"] for p in r["predictions"]), reverse=True)


def test_models_are_loaded_and_unloaded():
    c = client()
    folder = os.environ["LAZYOLO_DETECT"]
    assert folder in {m.model_id for m in c.load_model(folder).models}
    assert folder in {m.model_id for m in c.list_loaded_models().models}
    assert c.get_model_description(folder).task_type == "object-detection"
    c.unload_model(folder)
    c.unload_all_models()
    assert infer("DETECT")["predictions"]  # it comes back when it is asked for


def test_unknown_model():
    for model in ("nobody", os.environ["LAZYOLO_DETECT"] + "/77"):
        try:
            client().infer(picture(), model_id=model)
        except HTTPCallErrorError as e:
            assert e.status_code == 404, e
            assert e.api_message, e
        else:
            raise AssertionError(model + " was served")


def test_legacy():
    if os.environ.get("LAZYOLO_LEGACY") != "1":
        return
    new = infer("DETECT")["predictions"]
    c = client()
    c.select_api_v0()
    c.configure(InferenceConfiguration(confidence_threshold=CONFIDENCE))
    old = c.infer(picture(), model_id=os.environ["LAZYOLO_DETECT"] + "/1")
    keep = ("x", "y", "width", "height", "confidence", "class")
    assert [[p[k] for k in keep] for p in old["predictions"]] == [[p[k] for k in keep] for p in new]


FAMILIES = {"SEGMENT": ("segment", "v8-seg"), "POSE": ("pose", "v8-pose"), "CLASSIFY": ("classify", "v8-cls")}


def add_families(models):
    """Adds models of the other tasks; their weights are random, which a client does not mind."""
    for task, (name, family) in FAMILIES.items():
        if not (SHARED / family).is_dir():
            continue
        (models / name).mkdir()
        shutil.copy(SHARED / family / "model.pt", models / name / "best.pt")
        (models / name / "labels.yaml").write_text(
            f"model_name: {name}\nversion: 1.0.0\nmodel_path: ./best.pt\ntask: {name}\nnames: {{0: a, 1: b, 2: c, 3: d, 4: e}}\n"
        )
        os.environ["LAZYOLO_" + task] = name
        os.environ["LAZYOLO_PICTURE_" + task] = str(SHARED / "images/b.png")


def start(home):
    """Starts a server of one's own and names it in the environment."""
    shutil.copytree(DEMO / "models/model_0", home / "models/model_0")
    add_families(home / "models")
    env = dict(
        os.environ, MODELS_PATH=str(home / "models"), CACHE_DIR=str(home / "cache"), STATE_DIR=str(home / "state"),
        HOST="127.0.0.1", SAVE_ANNOTATED="off", ROBOFLOW_LEGACY="on", GRPC_PORT="0",
    )
    binary = os.environ.get("LAZYOLO", str(ROOT / "bin/lazyolo"))
    out = open(home / "out", "w")
    process = subprocess.Popen([binary, "serve", "--port", "0"], env=env, cwd=home, stdout=out, stderr=subprocess.STDOUT)
    for _ in range(600):
        found = [w for w in (home / "out").read_text().split() if w.startswith("http://127.0.0.1:") and w.endswith("/api/v2/detect")]
        if found or process.poll() is not None:
            break
        time.sleep(0.05)
    if not found:
        raise RuntimeError((home / "out").read_text())
    url = found[0].removesuffix("/api/v2/detect")
    urllib.request.urlopen(url + "/readiness").close()
    os.environ.update(LAZYOLO_URL=url, LAZYOLO_LEGACY="1", LAZYOLO_DETECT="model_0", LAZYOLO_PICTURE=str(DEMO / "pictures/shapes.jpg"))
    return process


def run():
    checks = [f for name, f in list(globals().items()) if name.startswith("test_")]
    failed = 0
    for check in checks:
        try:
            check()
            print("ok  ", check.__name__)
        except Exception:
            failed += 1
            print("FAIL", check.__name__)
            traceback.print_exc()
    print(f"{len(checks) - failed} of {len(checks)} checks passed")
    return failed > 0


if __name__ == "__main__":
    if os.environ.get("LAZYOLO_URL"):
        sys.exit(run())
    with tempfile.TemporaryDirectory(prefix="lazyolo-clients-") as home:
        server = start(pathlib.Path(home))
        try:
            failed = run()
        finally:
            server.terminate()
            code = server.wait(60)
        sys.exit(failed or code)
