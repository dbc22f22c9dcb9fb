package torch

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// plainGlobals are the names outside the prefixes that a checkpoint may refer
// to. They stand for data; what Python would do with them is not done.
var plainGlobals = []string{
	"collections.OrderedDict", "collections.defaultdict", "collections.Counter", "collections.deque",
	"torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state",
	"torch.Size", "torch.device", "torch.serialization._get_layout",
	"torch.float16", "torch.float32", "torch.float64", "torch.bfloat16", "torch.bool",
	"torch.uint8", "torch.int8", "torch.int16", "torch.int32", "torch.int64", "torch.strided", "torch.channels_last",
	"builtins.set", "builtins.frozenset", "builtins.object", "builtins.getattr", "builtins.list", "builtins.tuple", "builtins.dict",
	"builtins.int", "builtins.float", "builtins.str", "builtins.bool", "builtins.bytes", "builtins.bytearray", "builtins.slice",
	"numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.dtype", "numpy.ndarray",
	"numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct",
	"_codecs.encode", "argparse.Namespace", "types.SimpleNamespace", "copyreg._reconstructor",
	"pathlib.PosixPath", "pathlib.WindowsPath", "pathlib.PurePosixPath", "pathlib.PureWindowsPath",
	"pathlib._local.PosixPath", "pathlib._local.WindowsPath", "pathlib._local.PurePosixPath", "pathlib._local.PureWindowsPath",
}

// classPrefixes start the names of classes whose instances are kept as they are.
var classPrefixes = []string{"torch.nn.", "ultralytics.", "torchvision.transforms.", "torchvision.models.", "torchvision.ops."}

// allowed reports whether a checkpoint may refer to name.
func allowed(name string) bool {
	return slices.Contains(plainGlobals, name) ||
		slices.ContainsFunc(classPrefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}

// foreignGlobal is the error of a file that refers to name.
func foreignGlobal(name string) error {
	return fmt.Errorf("forbidden global %s: the file asks for it to be loaded or run, which no model's data needs; nothing was. "+
		"If you trust where the file comes from, %s", name, remedy)
}

// find answers a reference to a global. One that is not allowed is noted, and
// the file refused in the end: where in the model it stands is worth knowing.
func (m *machine) find(module, name string) error {
	switch module { // Python 2's names, which protocol 2 keeps
	case "__builtin__":
		module = "builtins"
	case "copy_reg":
		module = "copyreg"
	}
	full := module + "." + name
	if module == "torch" && strings.HasSuffix(name, "Storage") {
		if _, ok := storageTypes[name]; !ok {
			return fmt.Errorf("storage type %s is not supported; %s", full, remedy)
		}
	} else if !allowed(full) && len(m.foreign) < 8 {
		m.foreign = append(m.foreign, full)
	}
	return m.push(Global(full), 16+len(full))
}

func global(m *machine) error {
	module, err := m.line()
	if err != nil {
		return err
	}
	name, err := m.line()
	if err != nil {
		return err
	}
	return m.find(module, name)
}

func stackGlobal(m *machine) error {
	items, err := m.popN(2)
	if err != nil {
		return err
	}
	module, ok1 := items[0].(string)
	name, ok2 := items[1].(string)
	if !ok1 || !ok2 || len(module) > maxName || len(name) > maxName {
		return errors.New("the name of a global is not two strings")
	}
	return m.find(module, name)
}

func reduce(m *machine) error {
	items, err := m.popN(2)
	if err != nil {
		return err
	}
	f, ok1 := items[0].(Global)
	args, ok2 := items[1].(Tuple)
	if !ok1 || !ok2 {
		return fmt.Errorf("a call of %s with %s", describe(items[0]), describe(items[1]))
	}
	switch f {
	case "torch._utils._rebuild_tensor_v2":
		t, err := newTensor(args)
		if err != nil {
			return err
		}
		return m.push(t, 160)
	case "torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state":
		if len(args) > 0 && isTensor(args[0]) {
			return m.push(args[0], 0)
		}
		return errors.New("a parameter without its tensor")
	case "collections.OrderedDict":
		return m.orderedDict(args)
	case "torch.Size":
		return m.collect(f, args, func(items Tuple) any { return items })
	case "builtins.set", "builtins.frozenset", "builtins.list":
		return m.collect(f, args, func(items Tuple) any { return &List{Items: items} })
	}
	// Enumerations and the like; a class starts with a capital, a function does not.
	if base := path.Ext(string(f)); !slices.Contains(plainGlobals, string(f)) && allowed(string(f)) && (len(base) < 2 || base[1] < 'A' || base[1] > 'Z') {
		return fmt.Errorf("a call of the function %s, which is not part of a model's data; %s", f, remedy)
	}
	return m.push(&Object{Class: string(f), Args: args, called: true}, 112)
}

// orderedDict makes a dict of pairs, when there are any.
func (m *machine) orderedDict(args Tuple) error {
	if err := m.push(&Dict{}, 80); err != nil || len(args) == 0 {
		return err
	}
	pairs, ok := args[0].(*List)
	if !ok {
		return fmt.Errorf("an OrderedDict of %s", describe(args[0]))
	}
	if err := m.step(len(pairs.Items)); err != nil {
		return err
	}
	for _, p := range pairs.Items {
		items := Tuple(nil)
		switch p := p.(type) {
		case *List:
			items = p.Items
		case Tuple:
			items = p
		}
		if len(items) != 2 {
			return errors.New("an OrderedDict of something else than pairs")
		}
		if err := m.update(items); err != nil {
			return err
		}
	}
	return nil
}

// collect makes a collection of the items in the one argument.
func (m *machine) collect(f Global, args Tuple, as func(Tuple) any) error {
	if len(args) == 0 {
		return m.push(as(nil), 24)
	}
	var items []any
	switch v := args[0].(type) {
	case *List:
		items = v.Items
	case Tuple:
		items = v
	default:
		return fmt.Errorf("%s of %s", f, describe(v))
	}
	return m.push(as(slices.Clone(items)), 24+16*len(items))
}

func newObject(m *machine) error {
	items, err := m.popN(2)
	if err != nil {
		return err
	}
	return m.instance(items[0], items[1])
}

func newObjectEx(m *machine) error {
	items, err := m.popN(3)
	if err != nil {
		return err
	}
	if kw, ok := items[2].(*Dict); !ok || kw.Len() > 0 {
		return errors.New("an object made with keyword arguments")
	}
	return m.instance(items[0], items[1])
}

func (m *machine) instance(class, args any) error {
	c, ok1 := class.(Global)
	a, ok2 := args.(Tuple)
	if !ok1 || !ok2 {
		return fmt.Errorf("an instance of %s made with %s", describe(class), describe(args))
	}
	if c == "collections.OrderedDict" {
		return m.push(&Dict{}, 80)
	}
	return m.push(&Object{Class: string(c), Args: a}, 112)
}

// build sets an object's state. A dict's own attributes (the metadata of a
// state_dict) and those of a tensor do not matter.
func build(m *machine) error {
	state, err := m.pop()
	if err != nil {
		return err
	}
	v, err := m.top()
	if err != nil {
		return err
	}
	switch v := v.(type) {
	case *Object:
		v.State = state
		return nil
	case *Dict, *Tensor:
		if _, ok := state.(*Dict); ok {
			return nil
		}
	}
	return fmt.Errorf("%s cannot be given %s as its state", describe(v), describe(state))
}
