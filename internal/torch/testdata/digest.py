"""Prints a digest of what Python's own unpickler makes of each checkpoint named:
the other side of TestAgainstPython. Classes are stubs, so nothing in a file runs.
"""
import collections, hashlib, pickle, sys, zipfile


def stub(name):
    class Stub:
        def __new__(cls, *args):
            o = object.__new__(cls)
            o.args, o.state = args, None
            return o

        def __init__(self, *args): pass

        def __setstate__(self, state): self.state = state

    Stub.stub_name = name
    return Stub


class Tensor(tuple): pass


PLAIN = {
    "collections.OrderedDict": collections.OrderedDict,
    "torch._utils._rebuild_tensor_v2": lambda storage, offset, size, stride, *rest: Tensor((storage, offset, size, stride)),
    "torch._utils._rebuild_parameter": lambda t, *rest: t,
    "torch.Size": tuple,
    "builtins.set": list,
}


class Unpickler(pickle.Unpickler):
    stubs = {}

    def find_class(self, module, name):
        full = {"__builtin__": "builtins", "copy_reg": "copyreg"}.get(module, module) + "." + name
        if full in PLAIN:
            return PLAIN[full]
        return self.stubs.setdefault(full, stub(full))

    def persistent_load(self, id):
        return id


def digest(v, known):
    shared = isinstance(v, (list, dict)) or hasattr(v, "state")
    if shared:
        if id(v) in known:
            return known[id(v)][0]
        known[id(v)] = "cycle", v  # a bound method refers to its object
    if v is None: parts = ["none"]
    elif isinstance(v, bool): parts = ["bool", str(int(v))]
    elif isinstance(v, int): parts = ["int", str(v)]
    elif isinstance(v, float): parts = ["float", v.hex() if v == v else "nan"]
    elif isinstance(v, str): parts = ["str", v]
    elif isinstance(v, Tensor):
        storage, offset, size, stride = v
        parts = ["tensor", storage[1].stub_name, storage[2], str(storage[4]), str(offset), *map(str, size), *map(str, stride)]
    elif isinstance(v, tuple): parts = ["tuple"] + [digest(x, known) for x in v]
    elif isinstance(v, list): parts = ["list"] + [digest(x, known) for x in v]
    elif isinstance(v, dict): parts = ["dict"] + [digest(x, known) for pair in v.items() for x in pair]
    elif isinstance(v, type): parts = ["global", v.stub_name]
    else: parts = ["object", type(v).stub_name, digest(v.args, known), digest(v.state, known)]
    h = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    if shared: known[id(v)] = h, v
    return h


for path in sys.argv[1:]:
    z = zipfile.ZipFile(path)
    name = [n for n in z.namelist() if n.endswith("/data.pkl")][0]
    print(digest(Unpickler(z.open(name)).load(), {}))
