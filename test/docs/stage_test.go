package docs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const demoDir = "cmd/lazyolo/demo"

// models is how many models a reader has: as many as the examples speak of.
const models = 10

// A stage is what one document's reader has: a working folder that looks like
// the repository's, with models and pictures, and servers.
type stage struct {
	dir   string            // the working folder
	ports map[string]string // the documents' ports to free ones
	env   []string
	url   string // of the test's own server, which starts lazyolo's

	mu      sync.Mutex
	servers map[string]*server // by port
}

// A server is a running lazyolo.
type server struct {
	cmd    *exec.Cmd
	ended  chan struct{} // closed when it has
	log    string        // its output's file
	byText bool          // a block started it
	left   bool          // and the reader has left that block's section
}

// documentedPorts are the ports that documents name.
var documentedPorts = []string{"8000", "8001", "8080", "9000"}

// freshClone are documents whose reader has no models yet.
var freshClone = []string{"docs/en/quickstart.md"}

// newStage makes the stage of a document, which uses these ports; its servers are
// stopped when the test ends.
func newStage(t *testing.T, doc string, ports []string) *stage {
	t.Helper()
	top := t.TempDir()
	s := &stage{dir: filepath.Join(top, "lazyolo"), ports: make(map[string]string), servers: make(map[string]*server)}
	for i, port := range documentedPorts {
		s.ports[port] = ports[i]
	}
	control := httptest.NewServer(http.HandlerFunc(s.serveHTTP))
	t.Cleanup(func() {
		control.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, running := range s.servers {
			if err := running.stop(); err != nil {
				t.Error(err)
			}
		}
	})
	s.url = control.URL
	s.furnish(t, top)
	if !slices.Contains(freshClone, doc) {
		s.addModels(t)
	}
	path := filepath.Join(top, "path")
	s.env = append(surroundings(),
		"PATH="+path+string(os.PathListSeparator)+os.Getenv("PATH"),
		stageURL+"="+s.url, stageReal+"="+built, stageKey+"="+filepath.Join(top, "key"), stagePath+"="+os.Getenv("PATH"),
		"HOST=127.0.0.1", "PORT="+s.ports["8000"], "GRPC_PORT="+s.ports["8001"], "ADMIN_ADDR=127.0.0.1:"+s.ports["9000"],
		"CACHE_DIR="+prepared, "STATE_DIR="+filepath.Join(top, "state"))
	return s
}

// furnish puts what the documents' examples name into the working folder.
func (s *stage) furnish(t *testing.T, top string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	demo := filepath.Join(repo, demoDir)
	var errs []error
	for _, dir := range []string{"path", "weights", "archive", "lazyolo/bin", "lazyolo/cmd/lazyolo", "lazyolo/pictures"} {
		errs = append(errs, os.MkdirAll(filepath.Join(top, dir), 0o755))
	}
	for name := range stands {
		errs = append(errs, os.Symlink(self, filepath.Join(top, "path", name)))
	}
	errs = append(errs, os.Symlink(self, filepath.Join(s.dir, "bin/lazyolo")), os.Symlink(demo, filepath.Join(s.dir, demoDir)))
	for to, from := range map[string]string{
		"street.jpg": demoDir + "/pictures/street.jpg", "photo.jpg": demoDir + "/pictures/street.jpg", "shapes.jpg": demoDir + "/pictures/shapes.jpg",
		"pictures/street.jpg": demoDir + "/pictures/street.jpg", "pictures/shapes.jpg": demoDir + "/pictures/shapes.jpg",
		"best.onnx": demoDir + "/models/model_0/best.onnx", "best.pt": "internal/convert/testdata/detect.pt",
	} {
		b, err := os.ReadFile(filepath.Join(repo, from))
		errs = append(errs, err, os.WriteFile(filepath.Join(s.dir, to), b, 0o644))
	}
	errs = append(errs, writeCertificate(filepath.Join(s.dir, "cert.pem"), filepath.Join(s.dir, "key.pem")))
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// addModels puts models into the working folder, all of them the demo's.
func (s *stage) addModels(t *testing.T) {
	t.Helper()
	for i := range models {
		to := filepath.Join(s.dir, "models", "model_"+strconv.Itoa(i))
		if err := os.CopyFS(to, os.DirFS(filepath.Join(repo, demoDir, "models/model_0"))); err != nil {
			t.Fatal(err)
		}
	}
}

// freePorts finds n ports that nobody listens on, below those that the system
// gives to outgoing connections.
func freePorts(t *testing.T, n int) []string {
	t.Helper()
	var out []string
	for port := 20_000 + os.Getpid()%8_000; len(out) < n; port++ {
		if port == 32_000 {
			t.Fatal("no free ports")
		}
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		out = append(out, strconv.Itoa(port))
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// serveHTTP starts the server that a stand asks for, or tells the process of one.
func (s *stage) serveHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, running := range s.servers {
			fmt.Fprintln(w, running.cmd.Process.Pid)
			return
		}
		http.Error(w, "no server", http.StatusNotFound)
		return
	}
	var l launch
	if err := json.NewDecoder(r.Body).Decode(&l); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	answer := launched{}
	if err := s.start(l, true); err != nil {
		answer = launched{Code: 1, Log: err.Error()}
	}
	_ = json.NewEncoder(w).Encode(answer) // a stand that is gone needs none
}

// usual sees that there is a server at the usual port: the one that a block of
// the section has started, else that of a reader who has set nothing.
func (s *stage) usual(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if running := s.servers[s.ports["8000"]]; running != nil && !running.left {
		return
	}
	if err := s.start(launch{Args: []string{built, "serve"}, Env: s.env, Dir: s.dir}, false); err != nil {
		t.Fatalf("start the server: %v", err)
	}
}

// leave is told that the reader has left a section.
func (s *stage) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, running := range s.servers {
		running.left = running.byText
	}
}

// start starts a server in place of the one at its port, and waits until it
// answers. The mutex must be held.
func (s *stage) start(l launch, byText bool) error {
	for i, a := range l.Args {
		if a == "REPOSITORY" {
			l.Args[i] = repo
			l.Env = append(l.Env, "PATH="+os.Getenv("PATH"), "OUTPUT_IMG_BASE_PATH="+filepath.Join(s.dir, "output_img"))
			if has := filepath.Join(s.dir, "models"); exists(has) {
				l.Env = append(l.Env, "MODELS_PATH="+has)
			}
		}
	}
	port := l.port()
	if port != s.ports["8000"] { // beside another server, which has the other ports
		l.Env = append(l.Env, "GRPC_PORT=0", "ADMIN_ADDR=")
	}
	if before := s.servers[port]; before != nil {
		delete(s.servers, port)
		if err := before.stop(); err != nil {
			return err
		}
	}
	started := &server{log: filepath.Join(s.dir, "..", "server-"+port+".log"), ended: make(chan struct{}), byText: byText}
	out, err := os.Create(started.log)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(l.Args[0], l.Args[1:]...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = l.Dir, l.Env, out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	started.cmd = cmd
	go func() {
		_ = cmd.Wait() // ProcessState tells
		close(started.ended)
	}()
	s.servers[port] = started
	if err := started.healthy(); err != nil {
		said, _ := os.ReadFile(started.log)
		return fmt.Errorf("%w\n%s", err, said)
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// port is the one that a launched server will listen on.
func (l launch) port() string {
	port := ""
	for _, v := range l.Env {
		if p, ok := strings.CutPrefix(v, "PORT="); ok {
			port = p // the last one counts
		}
	}
	if i := slices.Index(l.Args, "--port"); i >= 0 && i+1 < len(l.Args) {
		port = l.Args[i+1]
	}
	return port
}

// healthy waits until the server answers at the address that it prints.
func (s *server) healthy() error {
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for {
		select {
		case <-s.ended:
			return errors.New("the server ended: " + s.cmd.ProcessState.String())
		case <-deadline:
			return errors.New("the server does not answer")
		case <-tick.C:
		}
		said, err := os.ReadFile(s.log)
		if err != nil {
			return err
		}
		if _, after, ok := strings.Cut(string(said), " models on "); ok {
			url, _, _ := strings.Cut(after, " ")
			if r, err := client.Get(url + "/livez"); err == nil {
				r.Body.Close()
				return nil
			}
		}
	}
}

// stop ends the server and checks that it ends well.
func (s *server) stop() error {
	select {
	case <-s.ended:
		return nil // how it ended was told by healthy
	default:
	}
	if err := stopGroup(s.cmd.Process, syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-s.ended:
	case <-time.After(patience):
		_ = stopGroup(s.cmd.Process, syscall.SIGKILL)
		return errors.New("the server did not end")
	}
	if filepath.Base(s.cmd.Path) == "lazyolo" && !s.cmd.ProcessState.Success() {
		return errors.New("the server ended with " + s.cmd.ProcessState.String())
	}
	return nil
}

// writeCertificate makes a certificate of this machine, signed by itself.
func writeCertificate(certFile, keyFile string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o644),
		os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600))
}
