package config_test

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lazyolo/internal/config"
)

func file(content string) world {
	return world{files: map[string]string{"lazyolo.yaml": content}}
}

func TestFile(t *testing.T) {
	c := must(t, file("models_path: /m\nconf_thres: 0.5\nsave_annotated: off\nallow_model_dirs: [/a, /b]\nmodel_version: 1.10\nupload_timeout: 5m\n"))
	if c.ModelsPath != "/m" || c.ConfThres != 0.5 || c.SaveAnnotated || c.ModelVersion != "1.10" || c.UploadTimeout.Minutes() != 5 || c.File != "lazyolo.yaml" {
		t.Errorf("%+v", c)
	}
	if d := cmp.Diff([]string{"/a", "/b"}, c.AllowModelDirs); d != "" {
		t.Error(d)
	}
	for _, empty := range []string{"", "# nothing\n", "---\n", "~\n", "{}\n"} {
		if c := must(t, file(empty)); c.Port != 8000 || c.File != "lazyolo.yaml" {
			t.Errorf("%q: %+v", empty, c)
		}
	}
	if c := must(t, world{}); c.File != "" {
		t.Errorf("File = %q without a file", c.File)
	}
}

func TestFileErrors(t *testing.T) {
	for _, c := range []struct{ content, setting, msg, hint string }{
		{"host: x\nprot: 1\n", "prot", `lazyolo.yaml line 2: "prot" is no setting`, "did you mean port?"},
		{"MAX_BODY_MB: 1\n", "MAX_BODY_MB", "is no setting", "did you mean max_body_mb?"},
		{"max-body-mb: 1\n", "max-body-mb", "is no setting", "did you mean max_body_mb?"},
		{"gpu_memory_fraction: 1\n", "gpu_memory_fraction", "is no setting", "--help"},
		{"port: 1\nhost: x\nport: 2\n", "PORT", "line 3: port stands there a second time (first on line 1)", "keep one"},
		{"port: [1]\n", "PORT", "line 1: port is not a whole number", "port: VALUE"},
		{"port: {a: 1}\n", "PORT", "port is not", "port: VALUE"},
		{"x: &x 1\n", "x", "is no setting", ""},
		{"host: &x y\nmodel_version: *x\n", "MODEL_VERSION", "model_version is not", ""},
		{"allow_model_dirs: [/a, [/b]]\n", "ALLOW_MODEL_DIRS", "is not paths", ""},
		{"[a]: 1\n", "", "is no setting", ""},
		{"- port\n", "config", "does not hold settings", "port: 8000"},
		{"port\n", "config", "does not hold settings", "port: 8000"},
		{"port: 1\n\thost: x\n", "config", "is not YAML: line", "spaces"},
		{"port: 1\n---\nport: 2\n", "config", "more than one document", "---"},
		{"# " + strings.Repeat("x", 1<<20), "config", "larger than", "--config"},
		{"port: \xff\n", "config", "is not YAML", ""},
	} {
		ue := usage(t, file(c.content))
		if ue.Setting != c.setting || !strings.Contains(ue.Msg, c.msg) || !strings.Contains(ue.Hint, c.hint) || !strings.Contains(ue.Msg, "lazyolo.yaml") {
			t.Errorf("%.60q: %+v", c.content, ue)
		}
	}
}

func TestFileUnreadable(t *testing.T) {
	w := world{}
	_, err := config.Load(nil, w.getenv, func(name string) ([]byte, error) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	})
	var ue *config.UsageError
	if !errors.As(err, &ue) || !strings.Contains(ue.Msg, "lazyolo.yaml: permission denied") {
		t.Errorf("error %v", err)
	}
}

func FuzzLoadFile(f *testing.F) {
	for _, s := range config.Settings() {
		f.Add(fmt.Sprintf("%s: %s\n", s.Key(), s.Default))
	}
	f.Add("allow_model_dirs: [a, b]\nport: ~\n")
	f.Add("port: &a [*a]\n? {x: y}\n: z\n---\n...\n")
	f.Fuzz(func(t *testing.T, content string) {
		c, err := file(content).load()
		var ue *config.UsageError
		if err != nil {
			if !errors.As(err, &ue) || ue.Msg == "" {
				t.Fatalf("error %v, want a *UsageError", err)
			}
			return
		}
		if c.Port < 1 || c.Port > 65535 || c.ConfThres < 0 || c.ConfThres > 1 || c.MaxBody < 1 || c.UploadTimeout <= 0 || c.ModelsPath == "" {
			t.Fatalf("out of range: %+v", c)
		}
	})
}

// Again reads the file as it is by then; the environment wins as before.
func TestAgain(t *testing.T) {
	w := file("port: 9000\nconf_thres: 0.5\nkeep_alive: 1m\n")
	w.env = map[string]string{"KEEP_ALIVE": "2m"}
	old := must(t, w)
	w.files["lazyolo.yaml"] = "port: 9001\nconf_thres: 0.6\nkeep_alive: 3m\n"
	now, err := old.Again()
	if err != nil {
		t.Fatal(err)
	}
	var changed []string
	for _, s := range now.Changed(old) {
		changed = append(changed, fmt.Sprint(s.Name, " ", s.Live, " ", now.Value(s.Name)))
	}
	if d := cmp.Diff([]string{"CONF_THRES true 0.6", "PORT false 9001"}, changed); d != "" {
		t.Error(d)
	}
	w.files["lazyolo.yaml"] = "port: none\n"
	if _, err := old.Again(); err == nil {
		t.Error("a wrong file is taken")
	}
}
