package torch

import (
	"math/big"
	"reflect"
	"strings"
	"testing"
)

func TestValues(t *testing.T) {
	tests := []struct {
		name, pickle string
		want         any
	}{
		{"none", "N", nil},
		{"true", "\x88", true},
		{"small int", "K\x07", int64(7)},
		{"short int", "M\x00\x01", int64(256)},
		{"negative int", "J\xff\xff\xff\xff", int64(-1)},
		{"long", "\x8a\x02\x00\x80", int64(-32768)},
		{"empty long", "\x8a\x00", int64(0)},
		{"long beyond int64", "\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x01", new(big.Int).Lsh(big.NewInt(1), 64)},
		{"float", "G\x3f\xf8\x00\x00\x00\x00\x00\x00", 1.5},
		{"text", str("车"), "车"},
		{"short text", "\x8c\x01a", "a"},
		{"bytes", "C\x01\xff", []byte{255}},
		{"tuples", ")\x85K\x01\x86", Tuple{Tuple{Tuple(nil)}, int64(1)}},
		{"list", list("N", "\x89"), &List{Items: []any{nil, false}}},
		{"append", "]K\x01a", &List{Items: []any{int64(1)}}},
		{"dict", "}" + str("k") + "Ks", &Dict{}},
		{"memo", "]q\x000h\x00", &List{}},
		{"memo with gaps", "]r\xff\x00\x00\x000j\xff\x00\x00\x00", &List{}},
		{"memoize", "\x8c\x01a\x940h\x00", "a"},
		{"pop mark", "N(K\x01K\x021", nil},
		{"pop a mark", "N(0", nil},
		{"duplicate", "K\x012\x86", Tuple{int64(1), int64(1)}},
		{"size", call("torch", "Size", tup("K\x02")), Tuple{int64(2)}},
		{"set", call("__builtin__", "set", list("K\x02")), &List{Items: []any{int64(2)}}},
		{"stack global", "\x8c\x05torch\x8c\x04Size\x93", Global("torch.Size")},
		{"enumeration", call("torchvision.transforms.functional", "InterpolationMode", str("bilinear")),
			&Object{Class: "torchvision.transforms.functional.InterpolationMode", Args: Tuple{"bilinear"}, called: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.name == "dict" { // a Dict's insides are not for comparing
				tt.pickle = dict(str("k"), "K\x01", str("k"), "K\x02")
				tt.want = &Dict{keys: []any{"k"}, values: []any{int64(2)}}
			}
			got, err := newMachine([]byte(pickle(tt.pickle)), 1<<20).run()
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %#v, want %#v", got, tt.want)
			}
		})
	}
}

func TestRefusedPickles(t *testing.T) {
	tests := []struct{ name, pickle, want string }{
		{"empty", "", "without STOP"},
		{"no stop", "\x80\x02N", "without STOP"},
		{"protocol 1", "\x80\x01N.", "protocol 1"},
		{"text opcode", "\x80\x02I1\n.", "opcode 0x49"},
		{"stop on nothing", "\x80\x02.", "too few values"},
		{"cut inside", "\x80\x02J\x00", "ends inside it"},
		{"unfinished line", "\x80\x02ctorch", "ends inside it"},
		{"long line", "\x80\x02c" + strings.Repeat("a", 1000) + "\nb\n.", "a name has 1000 bytes"},
		{"text beyond the end", "\x80\x02X\xff\xff\xff\xffa.", "4294967295 bytes"},
		{"text beyond any end", "\x80\x02\x8d\xff\xff\xff\xff\xff\xff\xff\xff.", "18446744073709551615 bytes"},
		{"huge int", "\x80\x02\x8b\x00\x04\x00\x00" + strings.Repeat("a", 1024), "1024 bytes"},
		{"no mark", pickle("Nt"), "no open MARK"},
		{"below the mark", pickle("N(\x85"), "too few values"},
		{"append to int", pickle("K\x01Na"), "an int is no list"},
		{"item of list", pickle("]NNs"), "a list is no dict"},
		{"odd items", pickle("}(Nu"), "a key has no value"},
		{"unhashable key", pickle("}]Ns"), "a list cannot be a key"},
		{"long key", pickle("}" + str(strings.Repeat("k", 600)) + "Ns"), "a key has 600 bytes"},
		{"state of int", pickle("K\x01}b"), "an int cannot be given"},
		{"call of int", pickle("K\x01)R"), "a call of an int"},
		{"call without tuple", pickle(glob("torch", "Size") + "NR"), "a call of the name torch.Size with None"},
		{"call of a function", pickle(call("ultralytics.utils.downloads", "safe_download", str("x"))), "the function ultralytics.utils.downloads.safe_download"},
		{"call of a private function", pickle(call("torch.nn.modules.utils", "_pair", "K\x01")), "the function torch.nn.modules.utils._pair"},
		{"instance of int", pickle("K\x01)\x81"), "an instance of an int"},
		{"keyword arguments", pickle(glob("torch.nn", "X") + ")" + dict(str("a"), "N") + "\x92"), "keyword"},
		{"parameter of nothing", pickle(call("torch._utils", "_rebuild_parameter")), "without its tensor"},
		{"tensor of nothing", pickle(call("torch._utils", "_rebuild_tensor_v2", "N", "N", "N", "N")), "a tensor of None"},
		{"tensor of four ints", pickle(call("torch._utils", "_rebuild_tensor_v2", storageOf("FloatStorage", "0", 1), "N", ")", ")")), "not the same number of ints"},
		{"persistent id", pickle("NQ"), "no storage"},
		{"storage of wrong parts", pickle(tup(str("storage"), "N", "N", "N", "N") + "Q"), "type, key and size"},
		{"storage of no type", pickle(tup(str("storage"), glob("torch", "Size"), str("0"), "N", "K\x01") + "Q"), "storage type torch.Size"},
		{"storage key", pickle(storageOf("FloatStorage", "", 1)), `key "" is not a number`},
		{"storage negative", pickle(storageOf("FloatStorage", "0", -1)), "-1 elements"},
		{"storage twice", pickle(storageOf("FloatStorage", "0", 1) + storageOf("FloatStorage", "0", 2)), "declared as 1 of float32 and as 2"},
		{"ordered dict of ints", pickle(call("collections", "OrderedDict", list("K\x01"))), "pairs"},
		{"too high a stack", pickle("N" + strings.Repeat("2", maxStack)), "the stack has more than"},
		{"too many marks", pickle(strings.Repeat("(", maxStack+1)), "marks are open"},
		{"too long a memo", pickle("N" + strings.Repeat("\x94", maxMemo+2)), "the memo has more than"},
		{"too many values", pickle(strings.Repeat("](NNNNe", 1<<15)), "bytes of values"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			memory := int64(maxObjects)
			if tt.name == "too many values" {
				memory = 1 << 20
			}
			_, err := newMachine([]byte(tt.pickle), memory).run()
			checkError(t, err, tt.want)
		})
	}
}

// TestSteps bounds the work of opcodes that handle many items at once.
func TestSteps(t *testing.T) {
	pairs := list(strings.Repeat(tup("K\x01", "K\x02"), 1000))
	again := glob("collections", "OrderedDict") + "h\x00\x85R0"
	_, err := newMachine([]byte(pickle(pairs+"q\x00"+strings.Repeat(again, 10000))), 1<<30).run()
	checkError(t, err, "more than 8388608 opcodes")
}

func TestTree(t *testing.T) {
	leaf := moduleOf("torch.nn.modules.linear", "Identity", nil, nil)
	deep := leaf
	for range 70 {
		deep = moduleOf("torch.nn.modules.container", "Sequential", nil, []string{str("0"), deep})
	}
	// Each of 20 modules holds the next one twice: a million places.
	wide := leaf
	for range 20 {
		wide = moduleOf("torch.nn.modules.container", "Sequential", nil, []string{str("0"), wide + "2q\x000", str("1"), "h\x00"})
	}
	custom := moduleOf("mine.layers", "Block", nil, nil)
	inside := moduleOf("torch.nn.modules.container", "Sequential", nil, []string{str("3"), custom})
	// What numpy's scalars look like in the pickle of a checkpoint's fitness.
	scalar := call("numpy.core.multiarray", "scalar", call("numpy", "dtype", str("f8"), "\x89", "\x88")+
		tup("K\x03", str("<"), "N", "N", "N", "J\xff\xff\xff\xff", "K\x00")+"b", call("_codecs", "encode", str("abcdefgh"), str("latin1")))
	tests := []struct{ name, top, want string }{
		{"plain objects aside", dict(str("model"), leaf, str("best_fitness"), scalar, str("save_dir"), call("pathlib", "PosixPath", str("runs")),
			str("train_args"), object("ultralytics.utils", "IterableSimpleNamespace", dict(str("imgsz"), "K\x40"))), ""},
		{"a list", "]", "a list, not the dict"},
		{"nothing", "}", `neither "ema" nor "model"`},
		{"quantised", dict(str("modelopt"), "}", str("model"), leaf), "quantisation"},
		{"no state", dict(str("model"), glob("torch.nn.modules.linear", "Identity")+")\x81"), "the model is no module"},
		{"parameters are a list", dict(str("model"), object("torch.nn", "X", dict(str("_parameters"), "]"))), "_parameters is a list"},
		{"a parameter is an int", dict(str("model"), moduleOf("torch.nn", "X", []string{str("w"), "K\x01"}, nil)), "w is an int instead of a tensor"},
		{"a module is an int", dict(str("model"), moduleOf("torch.nn", "X", nil, []string{str("m"), "K\x01"})), "m is an int instead of a module"},
		{"a name with a dot", dict(str("model"), moduleOf("torch.nn", "X", nil, []string{str("a.b"), leaf})), "named by a str"},
		{"a long name", dict(str("model"), moduleOf("torch.nn", "X", nil, []string{str(strings.Repeat("a", 300)), leaf})), "name of 300 bytes"},
		{"too deep", dict(str("model"), deep), "64 deep"},
		{"too many", dict(str("model"), wide), "more than 32768 modules"},
		{"own class", dict(str("model"), inside), "3 is a mine.layers.Block"},
		{"own class aside", dict(str("model"), leaf, str("x"), custom), "forbidden global mine.layers.Block"},
		{"forbidden and damaged", dict(str("model"), call("os", "system", str("true"))) + "Q", "forbidden global os.system"},
		{"hub", dict(str("model"), call("torch.hub", "load", str("x"))), "forbidden global torch.hub.load"},
		{"bound method", dict(str("model"), object("torch.nn.modules.linear", "Identity", dict(str("_modules"), "}", str("forward"),
			call("__builtin__", "getattr", "N", str("forward_fuse"))))), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Read(archiveOf(t, pickle(tt.top), ""))
			checkError(t, err, tt.want)
		})
	}
}
