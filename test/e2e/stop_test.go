package e2e

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// terminate sends SIGTERM and waits until the server has noticed.
func (s *server) terminate(t *testing.T) {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the server to begin to stop", func() bool { return s.log.count("Stopping") > 0 })
}

// half starts an upload and leaves it in the middle: a request in flight.
func (s *server) half(t *testing.T) (conn net.Conn, rest []byte) {
	t.Helper()
	contentType, body := picture("0", smallPicture(t)).encode()
	conn = s.raw(t, contentType, len(body), body[:len(body)/2])
	// Connections are taken in order: once a later one is answered, this one is in work.
	s.client.CloseIdleConnections()
	s.get(t, "/api/v1/health", nil)
	return conn, body[len(body)/2:]
}

// The first signal lets requests in flight finish and takes no new ones.
func TestSIGTERMLetsRequestsFinish(t *testing.T) {
	t.Parallel()
	needORT(t)
	s := start(t, newHome(t))
	conn, rest := s.half(t)
	s.terminate(t)
	s.client.CloseIdleConnections()
	waitFor(t, "the door to close", func() bool {
		c, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	if s.gone() {
		t.Fatal("the server left with a request in flight")
	}
	if _, err := conn.Write(rest); err != nil {
		t.Fatal(err)
	}
	if a := receive(t, conn); a.status != http.StatusOK || len(a.Predictions) == 0 {
		t.Errorf("got %v", a)
	}
	s.wait(t)
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d, want 0:\n%s", code, s.log.String())
	}
	if _, err := os.Stat(filepath.Join(s.output, "picture.jpg")); err != nil {
		t.Errorf("the last annotated picture is lost: %v", err)
	}
}

// The second signal ends the process at once.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	s := start(t, newHome(t))
	s.half(t)
	s.terminate(t)
	begin := time.Now()
	if err := s.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	s.wait(t)
	if code, took := s.cmd.ProcessState.ExitCode(), time.Since(begin); code != 1 || took > 10*time.Second {
		t.Errorf("exit code %d after %v, want 1 at once", code, took)
	}
}

// A request that does not end is waited for as long as SHUTDOWN_TIMEOUT says.
func TestShutdownTimeoutCutsOff(t *testing.T) {
	t.Parallel()
	s := start(t, newHome(t), "SHUTDOWN_TIMEOUT=200ms")
	s.half(t)
	s.terminate(t)
	s.wait(t)
	if code := s.cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	contains(t, s.log.String(), "lazyolo: error:", "SHUTDOWN_TIMEOUT")
}

// A stop in the middle of a preparation leaves no draft, no child and an answer
// to whoever waits.
func TestStopDuringAPreparation(t *testing.T) {
	t.Parallel()
	needORT(t)
	needProc(t)
	h := newHome(t)
	s := start(t, h, "PREPARE=background")
	child := s.child(t, nil)
	s.stop(t) // checks what is left
	if err := child.Signal(syscall.Signal(0)); err == nil && !zombie(child.Pid) {
		t.Error("the child is still there")
	}
	if n := len(h.entries(t)); n != 0 {
		t.Errorf("%d entries", n)
	}
}

// After requests the process holds no more files than before.
func TestRequestsLeaveNoFilesOpen(t *testing.T) {
	t.Parallel()
	needORT(t)
	needProc(t)
	s := start(t, newHome(t))
	pid := s.cmd.Process.Pid
	s.serves(t, "0")
	s.client.CloseIdleConnections()
	before := files(t, pid)
	for range 25 {
		s.serves(t, "0")
		s.post(t, picture("0", []byte("no picture")))
	}
	s.client.CloseIdleConnections()
	const few = 3
	waitFor(t, "the files to be closed", func() bool { return files(t, pid) <= before+few })
	waitFor(t, "no child", func() bool { return len(s.pids()) == 1 })
}
