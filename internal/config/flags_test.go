package config_test

import (
	"flag"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lazyolo/internal/config"
)

func TestArgs(t *testing.T) {
	for _, c := range []struct {
		args []string
		want []string
		port int
	}{
		{nil, nil, 8000},
		{[]string{"model_0", "model_1"}, []string{"model_0", "model_1"}, 8000},
		{[]string{"model_0", "--port", "1", "model_1"}, []string{"model_0", "model_1"}, 1},
		{[]string{"--port", "1", "--", "model_0", "--port", "2"}, []string{"model_0", "--port", "2"}, 1},
		{[]string{"model_0", "--", "-x"}, []string{"model_0", "-x"}, 8000},
		{[]string{"-"}, []string{"-"}, 8000},
	} {
		got := must(t, world{args: c.args})
		if d := cmp.Diff(c.want, got.Args); d != "" || got.Port != c.port {
			t.Errorf("%q: %s port %d", c.args, d, got.Port)
		}
	}
}

func TestFlagErrors(t *testing.T) {
	for _, c := range []struct {
		args []string
		msg  string
		hint string
	}{
		{[]string{"--prot", "1"}, "unknown flag --prot", "did you mean --port?"},
		{[]string{"--MAX_BODY_MB", "1"}, "unknown flag --MAX_BODY_MB", "did you mean --max-body-mb?"},
		{[]string{"--model-path", "x"}, "unknown flag --model-path", "did you mean --models-path?"},
		{[]string{"--gpu"}, "unknown flag --gpu", "lazyolo serve --help lists the flags"},
		{[]string{"--port"}, "--port needs a value", "write --port VALUE"},
		{[]string{"---port"}, "bad flag syntax", "lazyolo serve --help"},
		{[]string{"--config", ""}, "--config names no file", ""},
		{[]string{"--config", "none.yaml"}, "none.yaml", "--config names the file"},
		{[]string{"--models-path", ""}, `MODELS_PATH="" (flag --models-path) is not a path`, "./models"},
	} {
		ue := usage(t, world{args: c.args})
		if !strings.Contains(ue.Msg, c.msg) || !strings.Contains(ue.Hint, c.hint) || ue.Setting == "" {
			t.Errorf("%q: %+v", c.args, ue)
		}
	}
}

func TestLoadFlags(t *testing.T) {
	fs := flag.NewFlagSet("prepare", flag.ContinueOnError)
	force := fs.Bool("force", false, "")
	w := world{}
	c, err := config.LoadFlags(fs, []string{"a", "--force", "b", "--port", "1"}, w.getenv, w.readFile)
	if err != nil || !*force || c.Port != 1 || len(c.Args) != 2 {
		t.Errorf("force %v, %+v, %v", *force, c, err)
	}
}
