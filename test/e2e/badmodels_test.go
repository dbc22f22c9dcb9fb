package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// labels are complete labels with some lines replaced or added.
func labels(lines ...string) []byte {
	fields := []string{"model_name: m", "version: 1.0.0", "model_path: ./best.onnx", "task: detection", "names: {0: a, 1: b, 2: c, 3: d, 4: e}"}
	for _, l := range lines {
		key, _, _ := strings.Cut(l, ":")
		for i, f := range fields {
			if strings.HasPrefix(f, key+":") {
				fields[i] = ""
			}
		}
		fields = append(fields, l)
	}
	return []byte(strings.Join(fields, "\n") + "\n")
}

// A broken folder is skipped with an error that names it, the field and what to
// do; the others are served.
func TestBrokenFoldersAreSkippedByName(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	cases := map[string]struct {
		labels []byte
		field  string
	}{
		"tabs":        {[]byte("model_name: m\n\tversion: 1\n"), "labels.yaml"},
		"twice":       {append(labels(), "task: detection\n"...), "task"},
		"class-twice": {labels("names:\n  0: a\n  0: b"), "names"},
		"giant-name":  {labels("names:\n  0: " + strings.Repeat("n", 1<<20)), "names"},
		"up":          {labels("model_path: ../model_0/best.onnx"), "model_path"},
		"absolute":    {labels("model_path: " + filepath.Join(h.models, "model_0/best.onnx")), "model_path"},
		"linked":      {labels(), "model_path"},
		"no-file":     {labels("model_path: ./other.onnx"), "model_path"},
		"no-task":     {labels("task: dancing"), "task"},
		"no-names":    {labels("names:"), "names"},
		"binary":      {[]byte("\xff\xfe\x00\x01"), "labels.yaml"},
		"empty":       {nil, "labels.yaml"},
		"huge":        {bytes.Repeat([]byte("# nothing\n"), 1<<19), "labels.yaml"},
		"not-onnx":    {labels("model_path: ./labels.yaml"), "model_path"},
	}
	secret := filepath.Join(h.cwd, "secret.onnx")
	writeFile(t, secret, demoModel(t))
	for name, c := range cases {
		h.addModel(t, name, demoModel(t))
		writeFile(t, filepath.Join(h.models, name, "labels.yaml"), c.labels)
	}
	linked := filepath.Join(h.models, "linked", "best.onnx")
	if err := os.Remove(linked); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(secret, linked); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(h.models, "bare"), 0o755); err != nil {
		t.Fatal(err)
	}
	s := start(t, h)
	for name, c := range cases {
		said := line(s.log.String(), "folder="+name+" ")
		contains(t, said, "skip model folder", "field="+c.field, "remedy=")
	}
	contains(t, line(s.log.String(), "folder=linked "), secret, "ALLOW_MODEL_DIRS")
	contains(t, line(s.log.String(), "folder=bare "), "labels.yaml", "is missing")
	var list map[string]any
	if s.get(t, "/api/v2/models", &list); len(list) != 1 {
		t.Errorf("%d models, want the one that is complete: %v", len(list), list)
	}
	s.serves(t, "0")
	s.stop(t)

	// The folder that the link leads to may be allowed.
	s = start(t, h, "ALLOW_MODEL_DIRS="+h.cwd)
	s.serves(t, "0")
	s.serves(t, "1")
}

// line returns the lines of a log that have a text in them.
func line(log, text string) string {
	var found []string
	for l := range strings.Lines(log) {
		if strings.Contains(l, text) {
			found = append(found, l)
		}
	}
	return strings.Join(found, "")
}

// Names of a megabyte are many, not wrong.
func TestAMegabyteOfNamesServes(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	names := []byte("names:\n")
	for i := range 50_000 {
		names = fmt.Appendf(names, "  %d: class number %d\n", i, i)
	}
	writeFile(t, filepath.Join(h.models, "model_0", "labels.yaml"), labels(string(names)))
	s := start(t, h)
	if a := s.serves(t, "0"); !strings.HasPrefix(a.Predictions[0].ClassName, "class number ") {
		t.Errorf("class name %q, want the one of labels.yaml", a.Predictions[0].ClassName)
	}
}

// A weights file that is none is told when it is asked for, and the others serve.
func TestWrongWeightsAreToldByNameAndTheOthersServe(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	demo := demoModel(t)
	garbage := bytes.Clone(demo)
	for i := 100; i < len(garbage); i += 7 {
		garbage[i] ^= 0x55
	}
	cases := []struct {
		content []byte
		status  int
		says    []string
	}{
		1: {demo[:len(demo)/2], http.StatusServiceUnavailable, []string{"model_path ./best.onnx", "is not a model"}},
		2: {nil, http.StatusServiceUnavailable, []string{"model_path ./best.onnx", "is empty"}},
		3: {[]byte("<html>404</html>"), http.StatusServiceUnavailable, []string{"model_path ./best.onnx", "is not a model"}},
		4: {garbage, http.StatusServiceUnavailable, []string{"model_path ./best.onnx"}},
		5: {identity(10), http.StatusOK, []string{"model_5", "[10]"}},
	}
	for i, c := range cases[1:] {
		h.addModel(t, fmt.Sprintf("model_%d", i+1), c.content)
	}
	s := start(t, h, "PREPARE=background")
	for i, c := range cases[1:] {
		a := s.post(t, picture(fmt.Sprint(i+1), smallPicture(t)))
		if a.status != c.status {
			t.Errorf("model %d: got %v, want %d", i+1, a, c.status)
		}
		contains(t, a.Error, c.says...)
		s.serves(t, "0")
	}
	// The file is put right: no restart is needed.
	h.addModel(t, "model_3", demo)
	waitFor(t, "the mended model", func() bool { return len(s.post(t, picture("3", smallPicture(t))).Predictions) > 0 })
}

// A labels.yaml that contradicts its file fails the load, with the reason, wherever
// one asks, and takes no memory.
func TestContradictionsFailTheLoad(t *testing.T) {
	t.Parallel()
	needORT(t)
	h := newHome(t)
	h.addModel(t, "wrong", demoModel(t))
	writeFile(t, filepath.Join(h.models, "wrong", "labels.yaml"), labels("task: segment"))
	const says = "model wrong: task: labels.yaml says segment, the model file says detect"
	h.addModel(t, "x2", identity(10))
	h.addModel(t, "x3", identity(10))
	s := start(t, h, "PREPARE=background")
	for range 2 {
		var body struct {
			Error string `json:"error"`
		}
		if status, raw := s.act(t, "/api/v2/models/wrong/load", &body); status != http.StatusUnsupportedMediaType || body.Error != says {
			t.Errorf("load: %d %s", status, raw)
		}
		if a := s.post(t, picture("1", smallPicture(t))); a.status != http.StatusOK || a.Error != says {
			t.Errorf("a request: %v", a)
		}
	}
	m := s.memory(t)
	if w := m.Models["1"]; len(m.Loaded) != 0 || w.State != "failed" || w.Error != says {
		t.Errorf("%v are loaded, %+v", m.Loaded, w)
	}
	contains(t, line(s.log.String(), "model=wrong"), "level=ERROR", "cannot load model", says)
	s.serves(t, "0")

	// Another file: no restart is needed, and its memory is counted, prepared or not.
	for i, b := range [][]byte{demoModel(t), append(demoModel(t), 0x7a, 1, 'a')} {
		id := strconv.Itoa(i + 2)
		contains(t, s.post(t, picture(id, smallPicture(t))).Error, "model x"+id, "[10]")
		h.addModel(t, "x"+id, b)
		waitFor(t, "the mended model", func() bool { return len(s.post(t, picture(id, smallPicture(t))).Predictions) > 0 })
		if mb := s.memory(t).Models[id].Private; mb <= 0 {
			t.Errorf("model %s takes %v MB", id, mb)
		}
	}
}

// identity is an ONNX model that is no detector: y = x, n numbers.
func identity(n int) []byte {
	value := func(name string) []byte {
		shape := message(nil, 1, number(1, n))
		tensor := message(number(1, 1), 2, shape)
		return message(message(nil, 1, []byte(name)), 2, message(nil, 1, tensor))
	}
	node := message(message(message(nil, 1, []byte("x")), 2, []byte("y")), 4, []byte("Identity"))
	graph := message(message(nil, 1, node), 2, []byte("g"))
	graph = message(message(graph, 11, value("x")), 12, value("y"))
	return message(message(number(1, 8), 7, graph), 8, number(2, 13))
}

// message appends a field with these bytes to a protobuf message.
func message(to []byte, field int, b []byte) []byte {
	to = binary.AppendUvarint(to, uint64(field)<<3|2)
	return append(binary.AppendUvarint(to, uint64(len(b))), b...)
}

// number is a protobuf message of one integer field.
func number(field, n int) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(nil, uint64(field)<<3), uint64(n))
}

// A .pt file is read in the child: one that is damaged, or holds a class that is
// not known, is told by name, and the others serve.
func TestBadCheckpointsAreTold(t *testing.T) {
	t.Parallel()
	needORT(t)
	custom, err := os.ReadFile("../../internal/convert/testdata/custom.pt")
	if err != nil {
		t.Fatal(err)
	}
	h := newHome(t)
	for folder, b := range map[string][]byte{"a": []byte("PK\x03\x04"), "b": custom} {
		writeFile(t, filepath.Join(h.models, folder, "labels.yaml"), labels("model_path: ./best.pt"))
		writeFile(t, filepath.Join(h.models, folder, "best.pt"), b)
	}
	s := start(t, h, "PREPARE=background")
	contains(t, s.post(t, picture("0", smallPicture(t))).Error, "./best.pt", "is not a model")
	contains(t, s.post(t, picture("1", smallPicture(t))).Error, "./best.pt", "export")
	s.serves(t, "2")
}
