// Package door holds what every HTTP door does alike: it remembers what was answered,
// survives a panic in a handler, throws away what is left of a refused body, and names
// an error in answer and log. What the answers say is each door's own.
package door

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"
)

// A Recorder remembers what was answered through it.
type Recorder struct {
	http.ResponseWriter
	Status int   // 0: nothing yet; informational ones count until the final one
	Bytes  int64 // of the body
}

// WriteHeader implements http.ResponseWriter.
func (w *Recorder) WriteHeader(status int) {
	if w.Status < http.StatusOK {
		w.Status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *Recorder) Write(b []byte) (int, error) {
	if w.Status < http.StatusOK {
		w.Status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(b)
	w.Bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (w *Recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Serve has handle answer one request and logs it. A panic in it is logged too, and told
// to the client by panicked, with an id that the log has; an answer that has begun is cut
// off instead.
func Serve(w http.ResponseWriter, r *http.Request, log *slog.Logger, handle func(w *Recorder), panicked func(w *Recorder, id string)) {
	rec := &Recorder{ResponseWriter: w}
	start := time.Now()
	defer func() {
		log.LogAttrs(r.Context(), slog.LevelDebug, "request", slog.String("method", r.Method), slog.String("path", r.URL.Path),
			slog.Int("status", rec.Status), slog.Int64("bytes", rec.Bytes), slog.Duration("took", time.Since(start)))
	}()
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		if v == http.ErrAbortHandler { // net/http's own way to hang up
			panic(v)
		}
		id := NewID()
		log.LogAttrs(r.Context(), slog.LevelError, "panic while serving", slog.String("path", r.URL.Path), slog.String("id", id),
			slog.String("error", fmt.Sprint(v)), slog.String("stack", string(debug.Stack())))
		if rec.Status != 0 {
			panic(http.ErrAbortHandler)
		}
		panicked(rec, id)
	}()
	handle(rec)
}

// Drain throws away what a client still sends of a body that is refused: many read no
// answer before they have sent all, and would see a reset connection. The upload's time
// still counts, and it reads no more than twice limit, nothing of a body that says it is
// longer or waits to be asked for.
func Drain(r *http.Request, limit int64) {
	if r.ContentLength > 2*limit || r.Header.Get("Expect") != "" {
		return
	}
	_, _ = io.CopyN(io.Discard, r.Body, 2*limit) // the answer is the same however it ends
}

// NewID returns a short random id that ties an answer to its log line.
func NewID() string {
	var b [4]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
