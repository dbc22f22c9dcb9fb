#!/usr/bin/env python3
"""Writes the tiny checkpoints of the tests, and what each gives for one input.

    python3 checkpoints.py [folder]        (default: the folder of this file)

Needs Python's standard library only. The pickles name the classes of torch and
Ultralytics, but neither is imported: the classes are made up here, empty, and
the forward pass below is our own, in double precision. All weights come from
one seeded generator: the files are the same, byte for byte, on every run.
"""
import io, json, math, os, pickle, random, struct, sys, types, zipfile

SIDE = 32  # of the input


# ---- pickling ---------------------------------------------------------------

def made_up(module, name, base=object):
    """The class module.name, made when it is first asked for."""
    parts = module.split(".")
    for i in range(1, len(parts) + 1):
        path = ".".join(parts[:i])
        if path not in sys.modules:
            sys.modules[path] = types.ModuleType(path)
    home = sys.modules[module]
    if not hasattr(home, name):
        setattr(home, name, type(name, (base,), {"__module__": module}))
    return getattr(home, name)


def function(module, name):
    made_up(module, name)
    f = getattr(sys.modules[module], name)
    if isinstance(f, type):
        def f(*args): raise NotImplementedError
        f.__module__, f.__name__, f.__qualname__ = module, name, name
        setattr(sys.modules[module], name, f)
    return f


REBUILD = function("torch._utils", "_rebuild_tensor_v2")
PARAMETER = function("torch._utils", "_rebuild_parameter")

FORMATS = {"HalfStorage": "e", "FloatStorage": "f", "LongStorage": "q", "BFloat16Storage": None}


class Storage:
    def __init__(self, kind, values):
        self.kind, self.count, self.key = kind, len(values), None
        if kind == "BFloat16Storage":  # the upper half of a float
            self.data = b"".join(struct.pack("<f", v)[2:] for v in values)
        else:
            self.data = struct.pack("<%d%s" % (len(values), FORMATS[kind]), *values)


class Tensor:
    """Values in row-major order; stored with the channels last when asked."""

    def __init__(self, values, shape, kind="FloatStorage", parameter=False, last=False):
        self.shape, self.parameter = tuple(shape), parameter
        strides, n = [], 1
        order = [1] + list(range(len(shape) - 1, 1, -1)) + [0] if last and len(shape) == 4 else list(range(len(shape) - 1, -1, -1))
        stride = [0] * len(shape)
        for d in order:
            stride[d], n = n, n * shape[d]
        self.stride = tuple(stride)
        stored = [0] * len(values)
        for i, v in enumerate(values):
            at, rest = 0, i
            for d in range(len(shape) - 1, -1, -1):
                at, rest = at + rest % shape[d] * stride[d], rest // shape[d]
            stored[at] = v
        self.storage = Storage(kind, stored)
        # What the model computes with is what was stored.
        code = FORMATS[kind]
        if kind == "BFloat16Storage":
            self.values = [struct.unpack("<f", b"\0\0" + struct.pack("<f", v)[2:])[0] for v in values]
        else:
            self.values = [struct.unpack("<" + code, struct.pack("<" + code, v))[0] for v in values]


class Pickler(pickle.Pickler):
    def __init__(self, out):
        super().__init__(out, protocol=2)
        self.storages = []

    def persistent_id(self, o):
        if not isinstance(o, Storage):
            return None
        if o.key is None:
            o.key = str(len(self.storages))
            self.storages.append(o)
        return ("storage", made_up("torch", o.kind), o.key, "cpu", o.count)

    def reducer_override(self, o):
        if not isinstance(o, Tensor):
            return NotImplemented
        if o.parameter:
            o.parameter = False  # its inside
            inner = Holder(o)
            return PARAMETER, (inner, True, made_up_dict())
        return REBUILD, (o.storage, 0, o.shape, o.stride, False, made_up_dict())


def made_up_dict():
    import collections
    return collections.OrderedDict()


class Holder:
    """Stands for a tensor inside a parameter."""

    def __init__(self, tensor):
        self.tensor = tensor

    def __reduce__(self):
        t = self.tensor
        return REBUILD, (t.storage, 0, t.shape, t.stride, False, made_up_dict())


def save(path, checkpoint, root, method=zipfile.ZIP_STORED):
    out = io.BytesIO()
    p = Pickler(out)
    p.dump(checkpoint)
    with zipfile.ZipFile(path, "w", method) as z:
        def add(name, data):
            info = zipfile.ZipInfo(root + "/" + name, (1980, 1, 1, 0, 0, 0))
            info.compress_type = method
            z.writestr(info, data)
        add("data.pkl", out.getvalue())
        add("byteorder", b"little")
        for s in p.storages:
            add("data/" + s.key, s.data)
        add("version", b"3\n")


# ---- modules and their forward pass -----------------------------------------

class Net:
    """Makes modules: flat says whether class paths are those of 8.0."""

    def __init__(self, seed, kind="HalfStorage", flat=False, last=False):
        self.random, self.kind, self.flat, self.last = random.Random(seed), kind, flat, last
        self.silu = self.module("torch.nn.modules.activation", "SiLU", inplace=True)

    def module(self, where, name, parameters=(), buffers=(), children=(), **attributes):
        if self.flat and where.startswith("ultralytics.nn.modules."):
            where = "ultralytics.nn.modules"
        o = made_up(where, name)()
        o.__dict__.update(training=False, _parameters=dict(parameters), _buffers=dict(buffers),
                          _backward_hooks=made_up_dict(), _modules=dict(children), **attributes)
        return o

    def tensor(self, shape, scale, offset=0.0, kind=None):
        n = math.prod(shape)
        return Tensor([self.random.gauss(offset, scale) for _ in range(n)], shape, kind or self.kind, True, self.last)

    def conv2d(self, i, o, k=1, s=1, p=None, groups=1, bias=False):
        parameters = {"weight": self.tensor((o, i // groups, k, k), 1.2 / math.sqrt(i // groups * k * k)),
                      "bias": self.tensor((o,), 0.3) if bias else None}
        p = k // 2 if p is None else p
        return self.module("torch.nn.modules.conv", "Conv2d", parameters, in_channels=i, out_channels=o, kernel_size=(k, k),
                           stride=(s, s), padding=(p, p), dilation=(1, 1), groups=groups, padding_mode="zeros")

    def norm(self, n):
        r = self.random
        positive = lambda: Tensor([r.uniform(0.5, 1.5) for _ in range(n)], (n,), self.kind, True)
        return self.module("torch.nn.modules.batchnorm", "BatchNorm2d", {"weight": positive(), "bias": self.tensor((n,), 0.2)},
                           {"running_mean": self.tensor((n,), 0.2), "running_var": positive(),
                            "num_batches_tracked": Tensor([7], (), "LongStorage")}, eps=1e-3, momentum=0.03, num_features=n)

    def conv(self, i, o, k=1, s=1, groups=1, act=None):
        return self.module("ultralytics.nn.modules.conv", "Conv",
                           children={"conv": self.conv2d(i, o, k, s, groups=groups), "bn": self.norm(o), "act": act or self.silu})

    def list(self, items):
        return self.module("torch.nn.modules.container", "ModuleList", children={str(i): c for i, c in enumerate(items)})

    def sequential(self, items):
        return self.module("torch.nn.modules.container", "Sequential", children={str(i): c for i, c in enumerate(items)})

    def bottleneck(self, c, add=True):
        return self.module("ultralytics.nn.modules.block", "Bottleneck", children={"cv1": self.conv(c, c, 3), "cv2": self.conv(c, c, 3)}, add=add)

    def c2f(self, i, o, add=True):
        c = o // 2
        return self.module("ultralytics.nn.modules.block", "C2f", children={"cv1": self.conv(i, 2 * c), "cv2": self.conv(3 * c, o),
                           "m": self.list([self.bottleneck(c, add)])}, c=c)

    def sppf(self, c, **more):
        pool = self.module("torch.nn.modules.pooling", "MaxPool2d", kernel_size=5, stride=1, padding=2, dilation=1, return_indices=False, ceil_mode=False)
        return self.module("ultralytics.nn.modules.block", "SPPF", children={"cv1": self.conv(c, c // 2), "cv2": self.conv(2 * c, c), "m": pool}, **more)

    def upsample(self):
        return self.module("torch.nn.modules.upsampling", "Upsample", size=None, scale_factor=2.0, mode="nearest", align_corners=None)

    def concat(self):
        return self.module("ultralytics.nn.modules.conv", "Concat", d=1)

    def detect(self, widths, nc, bins, strides, two=False):
        def branch(n):
            return self.list([self.sequential([self.conv(w, 4, 3), self.conv2d(4, n, bias=True)]) for w in widths])
        children = {"cv2": branch(4 * bins), "cv3": branch(nc)}
        if bins > 1:
            dfl = self.conv2d(bins, 1)
            dfl._parameters["weight"] = Tensor([float(i) for i in range(bins)], (1, bins, 1, 1), self.kind, True)
            children["dfl"] = self.module("ultralytics.nn.modules.block", "DFL", children={"conv": dfl}, c1=bins)
        else:
            children["dfl"] = self.module("torch.nn.modules.linear", "Identity")
        if two:
            children.update(one2one_cv2=branch(4 * bins), one2one_cv3=branch(nc))
        return self.module("ultralytics.nn.modules.head", "Detect", children=children, nc=nc, nl=len(widths), reg_max=bins, no=nc + 4 * bins,
                           stride=Tensor(strides, (len(strides),), "HalfStorage"), anchors=Tensor([], (0,)))

    def classify(self, i, n):
        linear = self.module("torch.nn.modules.linear", "Linear", {"weight": self.tensor((n, 8), 0.5), "bias": self.tensor((n,), 0.3)}, in_features=8, out_features=n)
        pool = self.module("torch.nn.modules.pooling", "AdaptiveAvgPool2d", output_size=1)
        drop = self.module("torch.nn.modules.dropout", "Dropout", p=0.0, inplace=True)
        return self.module("ultralytics.nn.modules.head", "Classify", children={"conv": self.conv(i, 8), "pool": pool, "drop": drop, "linear": linear})

    def semantic(self, i, n):
        head = lambda: self.sequential([self.conv(i, 8, 3), self.conv2d(8, n, bias=True)])
        return self.module("ultralytics.nn.modules.head", "SemanticSegment", children={"classifier": head(), "aux_head": head()}, nc=n, nl=2)

    def model(self, kind, layers, names, stride, **more):
        for i, (f, m) in enumerate(layers):
            m.__dict__.update(i=i, f=f)
        return self.module("ultralytics.nn.tasks", kind, children={"model": self.sequential([m for _, m in layers])},
                           names=names, stride=Tensor(stride, (len(stride),)), yaml={"nc": len(names)}, **more)


class Picture:
    """Values as channels of rows."""

    def __init__(self, channels):
        self.v = channels

    @property
    def size(self):
        return len(self.v), len(self.v[0]), len(self.v[0][0])


def elementwise(f, *pictures):
    return Picture([[[f(*cells) for cells in zip(*rows)] for rows in zip(*planes)] for planes in zip(*(p.v for p in pictures))])


def join(pictures):
    return Picture([plane for p in pictures for plane in p.v])


def silu(x):
    return x / (1 + math.exp(-x))


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def convolve(m, x):
    w, d = m._parameters["weight"], m.__dict__
    o, gi, k, _ = w.shape
    (s, _), (p, _), groups = d["stride"], d["padding"], d["groups"]
    c, h, width = x.size
    oh, ow = (h + 2 * p - k) // s + 1, (width + 2 * p - k) // s + 1
    out = []
    for n in range(o):
        first = n // (o // groups) * gi
        bias = m._parameters["bias"].values[n] if m._parameters["bias"] else 0.0
        plane = [[bias] * ow for _ in range(oh)]
        for i in range(gi):
            for dy in range(k):
                for dx in range(k):
                    f = w.values[((n * gi + i) * k + dy) * k + dx]
                    for y in range(oh):
                        sy = y * s + dy - p
                        if 0 <= sy < h:
                            row, dst = x.v[first + i][sy], plane[y]
                            for xx in range(ow):
                                sx = xx * s + dx - p
                                if 0 <= sx < width:
                                    dst[xx] += f * row[sx]
        out.append(plane)
    return Picture(out)


def normalise(m, x):
    p, b = m._parameters, m._buffers
    out = []
    for i, plane in enumerate(x.v):
        s = p["weight"].values[i] / math.sqrt(b["running_var"].values[i] + m.eps)
        t = p["bias"].values[i] - b["running_mean"].values[i] * s
        out.append([[v * s + t for v in row] for row in plane])
    return Picture(out)


def pool(m, x):
    k, p = m.kernel_size, m.padding
    _, h, w = x.size
    return Picture([[[max(plane[a][b] for a in range(max(0, y - p), min(h, y + p + 1)) for b in range(max(0, c - p), min(w, c + p + 1)))
                      for c in range(w)] for y in range(h)] for plane in x.v])


def forward(m, x):
    name, c = type(m).__name__, m._modules
    run = lambda part, v: forward(c[part], v)
    if name == "Conv":
        return forward(c["act"], normalise(c["bn"], convolve(c["conv"], x)))
    if name == "Conv2d":
        return convolve(m, x)
    if name == "SiLU":
        return elementwise(silu, x)
    if name == "Sequential":
        for part in c.values():
            x = forward(part, x)
        return x
    if name == "Bottleneck":
        y = run("cv2", run("cv1", x))
        return elementwise(lambda a, b: a + b, x, y) if m.add else y
    if name == "C2f":
        y = run("cv1", x)
        parts = [Picture(y.v[:m.c]), Picture(y.v[m.c:])]
        for part in c["m"]._modules.values():
            parts.append(forward(part, parts[-1]))
        return run("cv2", join(parts))
    if name == "SPPF":
        parts = [run("cv1", x)]
        for _ in range(getattr(m, "n", 3)):
            parts.append(pool(c["m"], parts[-1]))
        y = run("cv2", join(parts))
        return elementwise(lambda a, b: a + b, x, y) if getattr(m, "add", False) else y
    if name == "Upsample":
        return Picture([[[v for v in row for _ in (0, 1)] for row in plane for _ in (0, 1)] for plane in x.v])
    if name == "Concat":
        return join(x)
    raise NotImplementedError(name)


def softmax(v):
    e = [math.exp(x - max(v)) for x in v]
    return [x / sum(e) for x in e]


def detect(m, levels, one):
    prefix, bins, columns = "one2one_" if one else "", m.reg_max, []
    for i, (x, stride) in enumerate(zip(levels, m.stride.values)):
        box, score = (forward(m._modules[prefix + n]._modules[str(i)], x) for n in ("cv2", "cv3"))
        _, h, w = box.size
        for y in range(h):
            for c in range(w):
                if bins > 1:
                    d = [sum(j * p for j, p in enumerate(softmax([box.v[s * bins + j][y][c] for j in range(bins)]))) for s in range(4)]
                else:
                    d = [box.v[s][y][c] for s in range(4)]
                x0, y0, x1, y1 = c + 0.5 - d[0], y + 0.5 - d[1], c + 0.5 + d[2], y + 0.5 + d[3]
                b = [x0, y0, x1, y1] if one else [(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0]
                columns.append([v * stride for v in b] + [sigmoid(plane[y][c]) for plane in score.v])
    if not one:
        return [row[i] for i in range(len(columns[0])) for row in columns], [1, len(columns[0]), len(columns)]
    # Among few anchors all classes of all of them are ranked.
    rows = sorted(((s, k, col) for col in columns for k, s in enumerate(col[4:])), key=lambda t: -t[0])[:len(columns)]
    return [v for s, k, col in rows for v in col[:4] + [s, k]], [1, len(rows), 6]


def classify(m, x):
    c = m._modules
    pooled = [sum(map(sum, plane)) / (len(plane) * len(plane[0])) for plane in forward(c["conv"], x).v]
    w, b = c["linear"]._parameters["weight"], c["linear"]._parameters["bias"]
    n, k = w.shape
    return softmax([b.values[i] + sum(w.values[i * k + j] * pooled[j] for j in range(k)) for i in range(n)]), [1, n]


def semantic(m, x):
    """The best class of each pixel, 8 times finer than the classifier's."""
    y = forward(m._modules["classifier"], x)
    _, h, w = y.size

    def line(n):  # bilinear, pixels are areas
        at = [min(max((i + 0.5) / 8 - 0.5, 0), n - 1) for i in range(8 * n)]
        return [(int(v), min(int(v) + 1, n - 1), v - int(v)) for v in at]

    def value(plane, r, c):
        (a, b, v), (l, k, u) = r, c
        return (plane[a][l] * (1 - u) + plane[a][k] * u) * (1 - v) + (plane[b][l] * (1 - u) + plane[b][k] * u) * v

    out = []
    for r in line(h):
        for c in line(w):
            scores = [value(plane, r, c) for plane in y.v]
            out.append(scores.index(max(scores)) if len(scores) > 1 else int(scores[0] > 0))
    return out, [1, 8 * h, 8 * w]


def run(model, one=False):
    x = Picture([[[((c * SIDE + y) * SIDE + i) * 7919 % 256 / 255 for i in range(SIDE)] for y in range(SIDE)] for c in range(3)])
    done = []
    for m in model._modules["model"]._modules.values():
        x = (x if m.f == -1 else done[m.f]) if isinstance(m.f, int) else [done[f] if f >= 0 else done[f + len(done)] for f in m.f]
        kind = type(m).__name__
        if kind in ("Detect", "Classify", "SemanticSegment"):
            values, shape = detect(m, x, one) if kind == "Detect" else classify(m, x) if kind == "Classify" else semantic(m, x[0])
            return {"shape": shape, "values": [float("%.8g" % v) for v in values]}
        x = forward(m, x)
        done.append(x)


# ---- the checkpoints --------------------------------------------------------

def body(net, **sppf):
    return [(-1, net.conv(3, 4, 3, 2)), (-1, net.conv(4, 8, 3, 2)), (-1, net.c2f(8, 8)), (-1, net.conv(8, 8, 3, 2)), (-1, net.sppf(8, **sppf)),
            (-1, net.conv(8, 8, 3, 2, groups=2)), (-1, net.upsample()), ([-1, 4], net.concat()), (-1, net.c2f(16, 8, False))]


def checkpoint(model, **more):
    return {"epoch": -1, "date": "2024-01-01", "version": "8.0.0", "license": "none: random weights", "model": model, "ema": None,
            "optimizer": None, "train_args": {"imgsz": SIDE, "task": "detect"}, **more}


def main(folder):
    results = {}

    def write(name, model, root="best", method=zipfile.ZIP_STORED, one=False, known=True, **more):
        if known:
            results[name] = {"many": run(model)}
            if one:
                results[name]["one"] = run(model, True)
        save(os.path.join(folder, name + ".pt"), checkpoint(model, **more), root, method)

    names = {0: "person", 1: "driver's \"cab\""}
    net = Net(1)
    write("detect", net.model("DetectionModel", body(net, n=3, add=True) + [([8, 5], net.detect([8, 8], 2, 4, [8.0, 16.0]))], names, [8.0, 16.0]))

    # As 8.0 wrote it: flat class paths, names in a list, no n and add in SPPF;
    # with channels last, in bfloat16, deflated, under another folder name.
    net = Net(2, "BFloat16Storage", flat=True, last=True)
    arguments = made_up("argparse", "Namespace")()
    arguments.imgsz = SIDE
    write("old", net.model("DetectionModel", body(net) + [([8, 5], net.detect([8, 8], 2, 4, [8.0, 16.0]))], list(names.values()), [8.0, 16.0], args=arguments),
          "最好", zipfile.ZIP_DEFLATED, train_args=None)

    net = Net(3, "FloatStorage")
    two = net.model("DetectionModel", body(net) + [([-1, 5], net.detect([8, 8], 2, 1, [8.0, 16.0], True))], names, [8.0, 16.0])
    write("two", two, one=True)

    net = Net(4)
    write("classify", net.model("ClassificationModel", body(net)[:4] + [(-1, net.classify(8, 3))], {0: "a", 1: "b", 2: "c"}, [1.0]))

    for classes, seed in ((3, 11), (1, 12)):  # with which every class is there
        net = Net(seed)
        write("semantic%d" % classes, net.model("SemanticSegmentationModel", body(net)[:4] + [([3, 2], net.semantic(8, classes))],
                                                {i: "abc"[i] for i in range(classes)}, [8.0]))

    net = Net(5)
    block = net.module("mine.layers", "Block", children={"conv": net.conv(4, 4)})
    write("custom", net.model("DetectionModel", [(-1, net.conv(3, 4, 3, 2)), (-1, block)], names, [8.0]), known=False)
    # The net that the checkpoint of a newer release with a new module would hold.
    newer = net.module("ultralytics.nn.modules.block", "C9z", children={"conv": net.conv(4, 4)})
    write("newer", net.model("DetectionModel", [(-1, net.conv(3, 4, 3, 2)), (-1, net.sequential([newer]))], names, [8.0]), known=False)

    with open(os.path.join(folder, "checkpoints.json"), "w") as f:
        json.dump(results, f, indent=0)
        f.write("\n")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__)))
