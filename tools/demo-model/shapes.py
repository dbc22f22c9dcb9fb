# SPDX-License-Identifier: Apache-2.0
"""Synthetic pictures of simple shapes, with their boxes.

scene(seed, ...) draws one picture; the same seed always gives the same picture (up to the OpenCV
version). The pictures of training, evaluation and demo come from disjoint seeds (see seed_of).
"""
import cv2
import numpy as np

NAMES = ["circle", "square", "triangle", "star", "cross"]
NAMES_ZH = ["圆", "方块", "三角形", "星形", "十字"]
LABELS = [f"{a} {b}" for a, b in zip(NAMES, NAMES_ZH)]

PAD = 114  # the grey that YOLO runtimes put around letterboxed pictures
SPLITS = {"train": 0, "heldout": 1, "demo": 2, "test": 3}


def seed_of(split, index, seed=0):
    """The seed of a picture: no two (split, index) pairs share one."""
    return [seed, SPLITS[split], index]


# ---------------------------------------------------------------- outlines

def outline(kind, rng):
    """The corners of a shape about the origin, roughly within the unit circle, as [n, 2]."""
    if kind == 0:  # circle
        t = np.linspace(0, 2 * np.pi, 64, endpoint=False)
        return np.stack([np.cos(t), np.sin(t)], 1)
    if kind == 1:  # square
        return np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * 0.85
    if kind == 2:  # triangle
        t = np.deg2rad([-90, 30, 150] + rng.uniform(-14, 14, 3))
        return np.stack([np.cos(t), np.sin(t)], 1)
    if kind == 3:  # five-pointed star
        t = np.arange(10) * np.pi / 5 - np.pi / 2
        r = np.where(np.arange(10) % 2 == 0, 1.0, rng.uniform(0.38, 0.5))
        return np.stack([np.cos(t) * r, np.sin(t) * r], 1)
    a = rng.uniform(0.24, 0.42)  # cross: half the width of an arm
    return np.array([[-a, -1], [a, -1], [a, -a], [1, -a], [1, a], [a, a],
                     [a, 1], [-a, 1], [-a, a], [-1, a], [-1, -a], [-a, -a]])


def place(kind, centre, radius, rng, upright=False):
    """A shape's corners in the picture: turned, slightly stretched, scaled and moved."""
    p = outline(kind, rng) * [1, rng.uniform(0.86, 1.0)]
    upright = upright or rng.random() < 0.35
    angle = rng.normal(0, 0.08) if upright else rng.uniform(0, 2 * np.pi)
    c, s = np.cos(angle), np.sin(angle)
    return p @ np.array([[c, s], [-s, c]]) * radius + centre


# ---------------------------------------------------------------- painting

def poly(img, pts, colour, thickness=-1):
    q = np.round(np.asarray(pts) * 16).astype(np.int32).reshape(-1, 1, 2)
    colour = [float(c) for c in np.atleast_1d(colour)]
    if thickness < 0:
        cv2.fillPoly(img, [q], colour, cv2.LINE_AA, shift=4)
    else:
        cv2.polylines(img, [q], True, colour, thickness, cv2.LINE_AA, shift=4)


def random_colour(rng):
    if rng.random() < 0.2:
        return np.repeat(rng.uniform(0, 255), 3)
    hsv = np.array([[[rng.integers(180), rng.integers(60, 256), rng.integers(50, 256)]]], np.uint8)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0].astype(float)


def gradient(h, w, rng):
    """A plane rising from 0 to 1 in a random direction, [h, w, 1]."""
    t = rng.uniform(0, 2 * np.pi)
    g = np.cos(t) * np.linspace(0, 1, w)[None, :] + np.sin(t) * np.linspace(0, 1, h)[:, None]
    g -= g.min()
    return (g / max(g.max(), 1e-6)).astype(np.float32)[..., None]


def smooth_noise(h, w, rng, cells, channels=3):
    """Blotches in 0..1, [h, w, channels]."""
    small = rng.random((cells, cells, channels), np.float32)
    return np.clip(cv2.resize(small, (w, h), interpolation=cv2.INTER_CUBIC), 0, 1).reshape(h, w, channels)


def background(h, w, rng):
    kind = rng.random()
    if kind < 0.12:
        img = np.ones((h, w, 3), np.float32) * random_colour(rng)
    elif kind < 0.5:
        g = gradient(h, w, rng)
        img = random_colour(rng) * g + random_colour(rng) * (1 - g)
    elif kind < 0.85:
        a, b = random_colour(rng), random_colour(rng)
        n = smooth_noise(h, w, rng, int(rng.integers(3, 14)), int(rng.choice([1, 3])))
        img = a * n + b * (1 - n)
    else:
        img = background_street(h, w, rng)
    img = np.ascontiguousarray(img, np.float32)
    if rng.random() < 0.5:
        img += (smooth_noise(h, w, rng, int(rng.integers(20, 90)), 1) - 0.5) * rng.uniform(10, 70)
    return np.clip(img, 0, 255)


def background_street(h, w, rng):
    """A sky, house fronts with tall windows, a pavement and a road."""
    top, bottom = random_colour(rng), random_colour(rng)
    g = np.linspace(0, 1, h, dtype=np.float32)[:, None, None]
    img = np.ascontiguousarray(np.broadcast_to(top * (1 - g) + bottom * g, (h, w, 3)), np.float32)
    ground = int(h * rng.uniform(0.6, 0.85))
    x = -rng.uniform(0, 0.2) * w
    while x < w:
        bw = rng.uniform(0.15, 0.4) * w
        roof = ground - rng.uniform(0.25, 0.9) * ground
        wall = random_colour(rng) * 0.6 + 60
        poly(img, [[x, roof], [x + bw, roof], [x + bw, ground], [x, ground]], wall)
        cols, pane = int(rng.integers(2, 5)), wall * rng.uniform(0.3, 1.5)
        ww = bw / (cols * 2 + 1)
        wh = ww * rng.uniform(1.9, 2.8)
        y = roof + wh * 0.4
        while y + wh < ground - wh * 0.3:
            for c in range(cols):
                wx = x + ww * (2 * c + 1)
                poly(img, [[wx, y], [wx + ww, y], [wx + ww, y + wh], [wx, y + wh]], pane)
            y += wh * 1.5
        x += bw * rng.uniform(1.0, 1.15)
    kerb = ground + (h - ground) * 0.2
    poly(img, [[0, ground], [w, ground], [w, h], [0, h]], np.repeat(rng.uniform(110, 190), 3))
    poly(img, [[0, kerb], [w, kerb], [w, h], [0, h]], np.repeat(rng.uniform(40, 90), 3))
    for k in range(5):  # lane marks
        mx, my = w * (0.05 + 0.22 * k), (kerb + h) / 2
        poly(img, [[mx, my], [mx + w * 0.12, my], [mx + w * 0.11, my + 0.012 * h], [mx - w * 0.01, my + 0.012 * h]],
             [220, 220, 210])
    return img


def clutter(img, rng, n):
    """Things that are none of the shapes: strokes, text, long bars, thin ellipses, bows, crescents."""
    h, w = img.shape[:2]
    s = min(h, w)
    for _ in range(n):
        p, colour = rng.uniform(0, 1, 2) * [w, h], random_colour(rng)
        col, kind = [float(c) for c in colour], rng.integers(6)
        size, t = s * rng.uniform(0.05, 0.3), rng.uniform(0, 2 * np.pi)
        if kind == 0:
            pts = p + np.cumsum(rng.normal(0, size * 0.5, (int(rng.integers(2, 5)), 2)), 0)
            q = np.round(pts).astype(np.int32).reshape(-1, 1, 2)
            cv2.polylines(img, [q], False, col, int(rng.integers(1, 5)), cv2.LINE_AA)
        elif kind == 1:
            text = "".join(rng.choice(list("ABCDEFGHKLMNPRSTUVWYZabcdefghkmnrstuz2345679"), int(rng.integers(1, 7))))
            cv2.putText(img, text, (int(p[0]), int(p[1])), int(rng.choice([0, 2, 3, 4])), size / 40, col,
                        int(rng.integers(1, 4)), cv2.LINE_AA)
        elif kind == 2:
            a, b = size, size * rng.uniform(0.08, 0.4)
            r = np.array([[np.cos(t), np.sin(t)], [-np.sin(t), np.cos(t)]])
            poly(img, np.array([[-a, -b], [a, -b], [a, b], [-a, b]]) @ r + p, colour)
        elif kind == 3:
            axes = (int(size), max(1, int(size * rng.uniform(0.15, 0.45))))
            cv2.ellipse(img, (int(p[0]), int(p[1])), axes, np.rad2deg(t), 0, 360, col, -1, cv2.LINE_AA)
        elif kind == 4:
            cv2.ellipse(img, (int(p[0]), int(p[1])), (int(size), int(size)), np.rad2deg(t), 0,
                        float(rng.uniform(60, 170)), col, int(rng.integers(1, 6)), cv2.LINE_AA)
        else:  # a crescent: two arcs
            u = np.linspace(-1.2, 1.2, 20)
            arc = np.stack([np.cos(u), np.sin(u)], 1)
            inner = arc[::-1] * [rng.uniform(0.3, 0.75), 1]
            r = np.array([[np.cos(t), np.sin(t)], [-np.sin(t), np.cos(t)]])
            poly(img, np.concatenate([arc, inner]) @ r * size + p, colour)


def paint(img, pts, rng):
    """Paint one shape into img (float RGB), in a colour that stands out from what is behind it."""
    h, w = img.shape[:2]
    x1, y1 = np.maximum(np.floor(pts.min(0)).astype(int) - 2, 0)
    x2, y2 = np.minimum(np.ceil(pts.max(0)).astype(int) + 3, [w, h])
    part, off = img[y1:y2, x1:x2], pts - [x1, y1]
    mask = np.zeros(part.shape[:2], np.uint8)
    poly(mask, off, 255)
    behind = part[mask > 0].mean(0) if (mask > 0).any() else part.mean((0, 1))
    for _ in range(12):
        colour = random_colour(rng)
        if np.abs(colour - behind).sum() > 110:
            break
    ph, pw = part.shape[:2]
    size = min(pts.max(0) - pts.min(0))
    if rng.random() < 0.15 and size > 24:  # a shadow
        d = rng.uniform(-0.08, 0.12, 2) * size
        shade = np.zeros((ph, pw), np.uint8)
        poly(shade, off + d, 255)
        part *= 1 - 0.5 * (cv2.blur(shade, (5, 5)).astype(np.float32) / 255)[..., None]
    style = rng.random()
    fill = np.ones((ph, pw, 3), np.float32) * colour
    if style < 0.25:
        g = gradient(ph, pw, rng) * rng.uniform(0.2, 0.6)
        fill = fill * (1 - g) + random_colour(rng) * g
    elif style < 0.4:
        fill += (smooth_noise(ph, pw, rng, int(rng.integers(4, 16)), 1) - 0.5) * rng.uniform(20, 90)
    elif style < 0.5:  # stripes
        g = gradient(ph, pw, rng) * rng.uniform(3, 8) % 1 > 0.5
        fill = np.where(g, fill, fill * 0.7 + random_colour(rng) * 0.3)
    alpha = mask.astype(np.float32) / 255
    if style > 0.88 and size > 28:  # an outline only
        line = np.zeros((ph, pw), np.uint8)
        poly(line, off, 255, max(2, int(size * rng.uniform(0.06, 0.12))))
        alpha = np.minimum(alpha, line.astype(np.float32) / 255)
    alpha = alpha[..., None]
    if rng.random() < 0.1:
        alpha = alpha * rng.uniform(0.75, 1)
    part[:] = part * (1 - alpha) + np.clip(fill, 0, 255) * alpha
    if rng.random() < 0.25 and size > 16:  # a rim
        rim = np.zeros((ph, pw), np.uint8)
        poly(rim, off, 255, max(1, int(size * rng.uniform(0.02, 0.06))))
        rim = np.minimum(rim, mask).astype(np.float32)[..., None] / 255
        part[:] = part * (1 - rim) + random_colour(rng) * rim


def spoil(img, rng):
    """What cameras do to pictures: blur, light, noise, JPEG."""
    if rng.random() < 0.35:
        img = cv2.GaussianBlur(img, (0, 0), rng.uniform(0.4, 1.6))
    elif rng.random() < 0.1:
        k = int(rng.integers(3, 8))
        kernel = np.zeros((k, k), np.float32)
        kernel[k // 2] = 1 / k
        img = cv2.filter2D(img, -1, kernel if rng.random() < 0.5 else kernel.T)
    if rng.random() < 0.5:
        img = img * rng.uniform(0.6, 1.3) + rng.uniform(-25, 25)
    if rng.random() < 0.6:
        sigma = rng.uniform(1, 16)
        noise = np.empty(img.shape[:2] + (1 if rng.random() < 0.3 else 3,), np.float32)
        cv2.setRNGSeed(int(rng.integers(1 << 30)))
        cv2.randn(noise, 0, sigma)
        img = img + noise.reshape(img.shape[0], img.shape[1], -1)
    img = np.clip(img, 0, 255).astype(np.uint8)
    if rng.random() < 0.6:
        _, data = cv2.imencode(".jpg", img[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 96))])
        img = cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]
    return np.ascontiguousarray(img)


# ---------------------------------------------------------------- scenes

def scene(seed, size=None, count=None, street=None, big=False, tidy=False):
    """One picture as uint8 RGB [h, w, 3], and its shapes as float [n, 5]: class, x1, y1, x2, y2.

    size: (width, height), else random. count: how many shapes. street: force the street backdrop.
    big: no tiny shapes. tidy: little clutter and no spoiling (for the demo's pictures).
    """
    rng = np.random.default_rng(seed)
    if size is None:
        long = int(rng.integers(240, 641))
        short = int(long * (1 if rng.random() < 0.25 else rng.uniform(0.5, 1)))
        size = (long, short) if rng.random() < 0.6 else (short, long)
    w, h = size
    img = background_street(h, w, rng) if street else background(h, w, rng)
    img = np.clip(img, 0, 255).astype(np.uint8)
    clutter(img, rng, int(rng.integers(1, 4)) if tidy else int(rng.integers(0, 14)))
    n = count if count is not None else int(rng.choice([0, 1, 2, 3, 4, 5, 6, 8, 10, 14]))
    img = img.astype(np.float32)
    ids = np.zeros((h, w), np.int16)
    boxes, areas = [], []
    for _ in range(n * 6):
        if len(boxes) == n:
            break
        kind = len(boxes) % 5 if count is not None else int(rng.integers(5))
        low, high = (0.09, 0.2) if big else (0.03, 0.32)
        radius = min(h, w) * np.exp(rng.uniform(np.log(low), np.log(high)))
        if n > 6:
            radius *= 0.7
        radius = max(radius, 6 * max(h, w) / 320)  # at least 12 pixels across in the network's input
        inset = radius * (1.05 if tidy else 0.3)
        if inset * 2 >= min(h, w):
            continue
        centre = rng.uniform([inset, inset], [w - inset, h - inset])
        pts = place(kind, centre, radius, rng, upright=bool(street))
        mask = np.zeros((h, w), np.uint8)
        poly(mask, pts, 1)
        area = cv2.contourArea(pts.astype(np.float32))
        if mask.sum() < 0.7 * area:
            continue  # mostly outside the picture
        hit = np.bincount(ids[mask > 0], minlength=len(boxes) + 1)[1:]
        if tidy and hit.sum() > 0:
            continue
        left = np.array([(ids == i + 1).sum() for i in np.flatnonzero(hit)]) - hit[hit > 0]
        if (left < 0.65 * np.array(areas)[hit > 0]).any() if hit.any() else False:
            continue  # it would hide too much of a shape that is there already
        paint(img, pts, rng)
        ids[mask > 0] = len(boxes) + 1
        areas.append(area)
        x1, y1 = np.maximum(pts.min(0), 0)
        x2, y2 = np.minimum(pts.max(0), [w, h])
        boxes.append([kind, x1, y1, x2, y2])
    img = np.clip(img, 0, 255).astype(np.uint8) if tidy else spoil(img, rng)
    return img, np.array(boxes, np.float32).reshape(-1, 5)


def letterbox(img, size):
    """Fit a picture into a size x size square as YOLO runtimes do; also the scale and the offset."""
    h, w = img.shape[:2]
    r = min(size / h, size / w)
    nw, nh = round(w * r), round(h * r)
    dx, dy = (size - nw) / 2, (size - nh) / 2
    if (nw, nh) != (w, h):
        img = cv2.resize(img, (nw, nh), interpolation=cv2.INTER_LINEAR)
    left, top = round(dx - 0.1), round(dy - 0.1)
    out = np.full((size, size, 3), PAD, np.uint8)
    out[top:top + nh, left:left + nw] = img
    return out, r, (left, top)


def sample(seed, size):
    """A scene letterboxed to the network's input, its boxes moved along: what training sees."""
    img, boxes = scene(seed)
    img, r, (dx, dy) = letterbox(img, size)
    boxes[:, 1:] = boxes[:, 1:] * r + [dx, dy, dx, dy]
    return img, boxes
