package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"lazyolo/test/binary"
)

// What TestMain finds out once.
var (
	built    string // the lazyolo that readers use
	repo     string // the repository's folder
	prepared string // the cache folder that all readers share
)

// patience is how long a block may take, and a server to start.
const patience = binary.Patience

func TestMain(m *testing.M) {
	if stand, ok := stands[filepath.Base(os.Args[0])]; ok {
		os.Exit(stand(os.Args[1:]))
	}
	os.Exit(binary.Run("docs", func(dir string) (code int, err error) {
		if repo, err = filepath.Abs(root); err != nil {
			return 1, err
		}
		if built, err = binary.Build(dir); err != nil {
			return 1, err
		}
		// Preparing the demo model here also tells whether models can run.
		prepared = filepath.Join(dir, "cache")
		cmd := exec.Command(built, "prepare", "--models-path", filepath.Join(repo, demoDir, "models"), "--cache-dir", prepared)
		cmd.Env = surroundings()
		if err := binary.Ask(cmd); err != nil {
			return 1, err
		}
		return m.Run(), nil
	}))
}

// surroundings is the environment of every reader: it has what Go programs are built by,
// too.
func surroundings() []string {
	return binary.Environment("GOPATH", "GOCACHE", "GOMODCACHE", "GOPROXY", "GOFLAGS", "GOTOOLCHAIN")
}

var needORT = binary.NeedORT
