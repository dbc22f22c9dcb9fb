"""Writes this folder's goldens: tiny pictures in every format with what OpenCV
decodes them to, letterbox geometry with hashes of the pixels, scaled boxes.

    python make.py        (opencv-python-headless 5.0, pillow, numpy, torch, ultralytics 8.4)

Only tools are run to record what they answer. Outputs are the same on every run
with the same versions.
"""

import hashlib
import io
import json
import os
import shutil
import struct

import cv2
import numpy as np
import torch
from PIL import Image, TiffImagePlugin
from ultralytics.data.augment import LetterBox
from ultralytics.utils import ops

HERE = os.path.dirname(os.path.abspath(__file__))
W, H = 37, 29
rng = np.random.default_rng(7)
cases = []  # one per picture: name, golden ("" = OpenCV refuses), max difference allowed


def scene(w=W, h=H):
    """Gradients, hard colour edges and some noise."""
    y, x = np.mgrid[0:h, 0:w]
    a = np.stack([x * 255 // max(w - 1, 1), y * 255 // max(h - 1, 1), (x * 7 + y * 5) % 256], 2)
    a[h // 4 : h // 2, w // 3 : w // 2] = (230, 20, 30)
    a[h // 2 : h // 2 + 5, w // 2 :] = (10, 30, 220)
    return (a + np.random.default_rng(w * 100 + h).integers(-9, 10, a.shape)).clip(0, 255).astype(np.uint8)


def blocks(bw, bh, size, w, h):
    """Flat blocks: their DCT has one coefficient, which every decoder inverts exactly."""
    a = np.kron(np.random.default_rng(3).integers(0, 256, (bh, bw, 3)), np.ones((size, size, 1)))
    return a.astype(np.uint8)[:h, :w]


def encode(picture, fmt, **options):
    f = io.BytesIO()
    Image.fromarray(picture).save(f, fmt, **options) if isinstance(picture, np.ndarray) else picture.save(f, fmt, **options)
    return f.getvalue()


def cv_encode(ext, a, *flags):
    ok, e = cv2.imencode(ext, np.ascontiguousarray(a), list(flags))
    assert ok
    return e.tobytes()


def put(name, data, max_diff=0):
    """Stores data and what OpenCV makes of it; equal results share a file."""
    with open(os.path.join(HERE, "pictures", name), "wb") as f:
        f.write(data)
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    golden = ""
    if bgr is not None:
        assert bgr.dtype == np.uint8
        png = encode(np.ascontiguousarray(bgr[..., ::-1]), "PNG", optimize=True)
        golden = hashlib.sha256(bgr.tobytes() + repr(bgr.shape).encode()).hexdigest()[:12] + ".png"
        with open(os.path.join(HERE, "decoded", golden), "wb") as f:
            f.write(png)
    cases.append({"file": name, "golden": golden, "max": max_diff})


def jpegs():
    im = scene()
    for name, sub in (("444", 0), ("422", 1), ("420", 2)):
        put(f"q85-{name}.jpg", encode(im, "JPEG", quality=85, subsampling=sub), 3)
        put(f"blocks-{name}.jpg", encode(blocks(4, 3, 16, 61, 45), "JPEG", quality=90, subsampling=sub))
        put(f"even-{name}.jpg", encode(blocks(2, 2, 16, 32, 32), "JPEG", quality=90, subsampling=sub))
        put(f"flat-{name}-5x3.jpg", encode(blocks(1, 1, 16, 5, 3), "JPEG", subsampling=sub))
    put("progressive.jpg", encode(im, "JPEG", quality=85, progressive=True), 3)
    put("restart.jpg", encode(im, "JPEG", quality=85, restart_marker_blocks=2), 3)
    flag = cv2.IMWRITE_JPEG_SAMPLING_FACTOR
    for name, factor in (("440", cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440), ("411", cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411)):
        put(f"blocks-{name}.jpg", cv_encode(".jpg", blocks(3, 3, 32, 85, 77), flag, factor))
    for w, h in ((1, 1), (2, 2), (3, 1), (4, 2), (5, 5), (1, 9)):
        put(f"tiny-{w}x{h}.jpg", encode(scene(w, h), "JPEG", subsampling=2), 3)
    put("grey.jpg", encode(Image.fromarray(im).convert("L"), "JPEG"), 1)
    put("rgb.jpg", encode(im, "JPEG", keep_rgb=True), 1)
    cmyk = encode(Image.fromarray(im).convert("CMYK"), "JPEG")
    put("cmyk.jpg", cmyk, 1)
    i = cmyk.find(b"\xff\xee")
    put("cmyk-no-adobe.jpg", cmyk[:i] + cmyk[i + 2 + int.from_bytes(cmyk[i + 2 : i + 4], "big") :], 1)
    ycck = bytearray(cmyk)
    ycck[cmyk.find(b"Adobe") + 11] = 2
    put("ycck.jpg", bytes(ycck), 4)  # image/jpeg converts these itself
    whole = encode(im, "JPEG", quality=85)
    put("trailing.jpg", whole + b"trailing bytes", 3)
    put("truncated.jpg", whole[: len(whole) * 2 // 3])


def orientations():
    im = scene(11, 6)
    for o in (0, *range(1, 10)):
        exif = Image.Exif()
        exif[0x0112] = o
        flat = blocks(2, 1, 8, 16, 8)
        put(f"orientation-{o}.jpg", encode(flat, "JPEG", subsampling=0, exif=exif))
        if o in (3, 5, 6):
            put(f"orientation-{o}.png", encode(im, "PNG", exif=exif))
            put(f"orientation-{o}.webp", encode(im, "WEBP", lossless=True, exif=exif))
            put(f"orientation-{o}-lossy.webp", encode(im, "WEBP", exif=exif))
            put(f"orientation-{o}.tiff", encode(im, "TIFF", exif=exif))


def modes(im):
    """The same scene as Pillow's modes; alpha has every value."""
    rgba = np.dstack([im, np.arange(W * H).reshape(H, W) % 256]).astype(np.uint8)
    p = Image.fromarray(im)
    return rgba, {"rgb": p, "rgba": Image.fromarray(rgba), "grey": p.convert("L"), "palette": p.quantize(60), "bits": p.convert("1")}


def deep(im):
    a = im.astype(np.int64) * 257 + rng.integers(-128, 128, im.shape)
    return a.clip(0, 65535).astype(np.uint16)


def raw_tiff(a, extra, order):
    """Uncompressed TIFF with an ExtraSamples tag, which no library at hand writes for 16 bits."""
    h, w, c = a.shape
    bits, data = a.dtype.itemsize * 8, a.astype(a.dtype.newbyteorder(order)).tobytes()
    values = 8 + 2 + 12 * 10 + 4
    tags = [(256, w), (257, h), (258, values), (259, 1), (262, 2), (273, values + 2 * c), (277, c), (278, h), (279, len(data)), (338, extra)]
    out = (b"MM\0*" if order == ">" else b"II*\0") + struct.pack(order + "IH", 8, len(tags))
    for tag, v in tags:
        short = tag in (259, 262, 277, 338)
        n = c if tag == 258 else 1
        out += struct.pack(order + "HHI", tag, 3 if short or tag == 258 else 4, n)
        out += struct.pack(order + "HH", v, 0) if short else struct.pack(order + "I", v)
    return out + struct.pack(order + "I", 0) + struct.pack(order + f"{c}H", *[bits] * c) + data


def fax():
    """One bit by CCITT's compressions: 0 is white, 0 is black, and a palette."""
    bits = Image.fromarray((scene(19, 13)[..., 2] > 120).astype(np.uint8) * 255).convert("1")
    colours = (65535, 0, 7680, 10240, 12800, 65535)
    for group in (3, 4):
        for kind, name in ((0, "white"), (1, "black"), (3, "palette")):
            tags = TiffImagePlugin.ImageFileDirectory_v2()
            tags[262] = kind
            if kind == 3:
                tags[320] = colours
            put(f"fax{group}-{name}.tiff", encode(bits, "TIFF", compression=f"group{group}", tiffinfo=tags))


def lossless():
    im = scene()
    rgba, kinds = modes(im)
    for name, p in kinds.items():
        put(f"{name}.png", encode(p, "PNG"))
        put(f"{name}.bmp", encode(p, "BMP"))
        put(f"{name}-lzw.tiff", encode(p, "TIFF", compression="tiff_lzw"))
        put(f"{name}.gif", encode(p, "GIF"))
    put("grey-alpha.png", encode(kinds["rgba"].convert("LA"), "PNG"))
    put("palette-transparent.png", encode(kinds["palette"], "PNG", transparency=bytes(range(60))))
    put("rgb-transparent.png", encode(im, "PNG", transparency=tuple(int(v) for v in im[0, 0])))
    put("grey-transparent.png", encode(kinds["grey"], "PNG", transparency=int(np.asarray(kinds["grey"])[3, 3])))
    small = deep(scene(19, 13))
    put("rgb16.png", cv_encode(".png", small[..., ::-1]))
    put("grey16.png", cv_encode(".png", small[..., 0]))
    put("rgba16.png", cv_encode(".png", np.dstack([small[..., ::-1], small[..., :1]])))
    put("rgb16.tiff", cv_encode(".tiff", small[..., ::-1]))
    put("grey16.tiff", cv_encode(".tiff", small[..., 0]))
    deflated = encode(scene(19, 13), "TIFF", compression="tiff_adobe_deflate")
    put("deflate.tiff", deflated)
    put("packbits.tiff", encode(scene(19, 13), "TIFF", compression="packbits"))
    four8, four16 = rgba[:13, :19], np.dstack([small, np.arange(13 * 19, dtype=np.uint16).reshape(13, 19, 1) * 263])
    for order, name in (("<", "little"), (">", "big")):
        put(f"unassociated8-{name}.tiff", raw_tiff(four8, 2, order))
        put(f"unassociated16-{name}.tiff", raw_tiff(four16, 2, order))
        put(f"associated16-{name}.tiff", raw_tiff(four16, 1, order))
    bmp = bytearray(encode(scene(19, 13), "BMP"))
    bmp[22:26] = struct.pack("<i", -13)
    put("top-down.bmp", bytes(bmp))
    png = encode(scene(19, 13), "PNG")
    put("truncated.png", png[: len(png) // 2])
    put("no-end.png", png[:-12])
    put("truncated.bmp", encode(scene(19, 13), "BMP")[:-10])
    put("truncated.tiff", encode(scene(19, 13), "TIFF")[:500])
    put("interlaced.png", interlaced())


def interlaced():
    """An Adam7 PNG, written by hand: no library at hand writes one."""
    import zlib

    a = scene(19, 13)
    raw = b""
    for x0, y0, dx, dy in ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)):
        raw += b"".join(b"\0" + row.tobytes() for row in a[y0::dy, x0::dx])
    chunk = lambda t, d: struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d))
    head = struct.pack(">IIBBBBB", 19, 13, 8, 2, 0, 0, 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def gifs():
    p = Image.fromarray(scene()).quantize(60)
    t = int(np.asarray(p)[5, 5])
    put("transparent.gif", encode(p, "GIF", transparency=t, optimize=False, background=7))
    put("interlaced.gif", encode(p, "GIF", interlace=1))
    g = bytearray(encode(p, "GIF", interlace=0))
    g[6:10] = struct.pack("<HH", W + 9, H + 5)  # a canvas larger than its frame
    i = g.find(b"\x2c", 13 + 3 * (2 << (g[10] & 7)))
    g[i + 1], g[i + 3], g[11] = 4, 2, 5
    put("canvas.gif", bytes(g))
    g[6:10] = struct.pack("<HH", W - 9, H)
    put("frame-outside.gif", bytes(g))
    put("animated.gif", encode(scene(19, 13), "GIF", save_all=True, append_images=[Image.fromarray(scene(19, 13)[::-1].copy())]))


def webps():
    im = scene()
    rgba, _ = modes(im)
    for q in (10, 80):
        put(f"lossy-{q}.webp", encode(im, "WEBP", quality=q))
    put("lossy-alpha.webp", encode(rgba, "WEBP", quality=80))
    put("lossless.webp", encode(im, "WEBP", lossless=True))
    put("lossless-alpha.webp", encode(rgba, "WEBP", lossless=True, exact=True))
    for w, h in ((1, 1), (2, 3), (3, 2), (32, 18)):
        put(f"tiny-{w}x{h}.webp", encode(scene(w, h), "WEBP"))
    other = [Image.fromarray(im[::-1].copy())]
    put("animated.webp", encode(im, "WEBP", save_all=True, append_images=other, quality=60))
    put("animated-lossless.webp", encode(im, "WEBP", save_all=True, append_images=other, lossless=True))
    whole = encode(im, "WEBP")
    put("truncated.webp", whole[:-30])
    put("trailing.webp", whole + b"trailing bytes")


def noise(w, h):
    """Pixels that Go can make as well: byte i is the top of i*2654435761 mod 2**32."""
    i = np.arange(w * h * 3, dtype=np.uint64)
    return ((i * np.uint64(2654435761) % np.uint64(1 << 32)) >> np.uint64(24)).astype(np.uint8).reshape(h, w, 3)


def letterboxes():
    out = []
    sources = [(1, 1), (2, 1), (1, 2), (3, 5), (1, 1000), (1000, 1), (10000, 3), (37, 29), (320, 320), (640, 640), (640, 480), (480, 640),
               (321, 240), (500, 375), (639, 641), (641, 639), (810, 1080), (1080, 810), (1279, 719), (1280, 1280), (1333, 777), (63, 1), (250, 410)]
    inputs = [(640, 640, 0), (320, 320, 0), (160, 160, 0), (416, 256, 0), (255, 353, 0), (640, 640, 32), (320, 320, 32), (320, 320, 64)]
    for sw, sh in sources:
        for iw, ih, stride in inputs:
            box = LetterBox((ih, iw), auto=stride > 0, stride=max(stride, 1))
            p = box.get_params({"img": np.empty((sh, sw, 3), np.uint8)})
            pixels = box(image=noise(sw, sh))
            h, w = pixels.shape[:2]
            (nw, nh) = p["new_unpad"]
            out.append({"src": [sw, sh], "input": [iw, ih], "stride": stride, "size": [w, h], "new": [nw, nh], "at": [p["left"], p["top"]],
                        "sha256": hashlib.sha256(pixels.tobytes()).hexdigest()})
    write("letterbox.json", out)


def boxes():
    out = []
    for sw, sh in ((1, 1), (810, 1080), (1080, 810), (1279, 719), (37, 29), (4032, 3024), (1000, 3), (641, 479), (999, 751)):
        for w, h in ((640, 640), (320, 320), (640, 480), (480, 640), (416, 256)):
            b = rng.uniform(-20, max(w, h) + 20, (4, 4)).astype(np.float32)
            b[3] = (0, 0, w, h)
            got = ops.scale_boxes((h, w), torch.from_numpy(b.copy()), (sh, sw)).numpy()
            out.append({"src": [sw, sh], "input": [w, h], "boxes": b.astype(float).tolist(), "want": got.astype(float).tolist()})
    write("boxes.json", out)


def write(name, rows):
    with open(os.path.join(HERE, name), "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(r) for r in rows) + "\n]\n")


def main():
    for folder in ("pictures", "decoded"):
        shutil.rmtree(os.path.join(HERE, folder), ignore_errors=True)
        os.makedirs(os.path.join(HERE, folder))
    jpegs()
    orientations()
    lossless()
    fax()
    gifs()
    webps()
    write("decoded.json", cases)
    letterboxes()
    boxes()


if __name__ == "__main__":
    main()
