package access

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"lazyolo/yolo"
)

const (
	// maxHeaders is how many header lines a request may have.
	maxHeaders = 100
	// leftover is how long what is left of a refused request may take to arrive,
	// and keep is its largest size after which the connection is still good.
	leftover = 5 * time.Second
	keep     = 64 << 10
)

// A refusal is the body of an answer that says no, and what would help.
type refusal struct {
	Error string `json:"error"`
	Hint  string `json:"hint"`
}

// Handler lets through to next what Admit lets through; scope says what a request
// needs. A refusal is answered before the body is read: 401, 403 or 429 with error
// and hint as JSON. It also bounds the header lines of a request (431) and the time
// that a client may take over each part of the answer.
func (g *Guard) Handler(next http.Handler, scope func(*http.Request) yolo.Scope) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g.o.WriteTimeout > 0 {
			tw := &timedWriter{ResponseWriter: w, conn: http.NewResponseController(w), timeout: g.o.WriteTimeout}
			defer tw.extend() // what is buffered still has to go
			w = tw
		}
		if r.ProtoMajor == 1 && len(r.TransferEncoding) > 0 {
			// It may have had a Content-Length too, which net/http has dropped: what
			// follows could be a request to us and part of this one to a proxy.
			w.Header().Set("Connection", "close")
		}
		lines := 0
		for _, v := range r.Header {
			lines += len(v)
		}
		if lines > maxHeaders {
			refuse(w, r, http.StatusRequestHeaderFieldsTooLarge, refusal{"the request has more than " + strconv.Itoa(maxHeaders) + " header lines", "send fewer headers"})
			return
		}
		done, err := g.Admit(r.Context(), r.RemoteAddr, lookup(r), scope(r))
		if err != nil {
			g.deny(w, r, err)
			return
		}
		defer done()
		if r.ContentLength != 0 {
			// Of a body that the handler does not read net/http reads the rest, without an
			// end where it does not come. Who reads a body sets a deadline of its own.
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(leftover))
		}
		next.ServeHTTP(w, r)
	})
}

// lookup finds headers as Admit asks for them.
func lookup(r *http.Request) func(string) []string {
	return func(name string) []string {
		switch name {
		case ":authority", "host":
			return []string{r.Host}
		case "x-forwarded": // stands for every header that begins so
			for name := range r.Header {
				if strings.HasPrefix(name, "X-Forwarded-") {
					return []string{name}
				}
			}
		}
		return r.Header.Values(name)
	}
}

// deny answers an error of Admit.
func (g *Guard) deny(w http.ResponseWriter, r *http.Request, err error) {
	var e *yolo.Error
	if !errors.As(err, &e) {
		e = yolo.Errorf(yolo.Internal, "internal error")
	}
	switch e.Code {
	case yolo.Denied:
		w.Header().Set("WWW-Authenticate", `Bearer realm="lazyolo"`)
		refuse(w, r, http.StatusUnauthorized, refusal{e.Msg, "send the header Authorization: Bearer KEY, or X-API-Key: KEY"})
	case yolo.Forbidden:
		hint := "call it on the machine itself, without a proxy, at http://127.0.0.1:PORT, or set API keys"
		if g.Keyed() {
			hint = "use a key with this scope"
		}
		refuse(w, r, http.StatusForbidden, refusal{e.Msg, hint})
	case yolo.Overloaded:
		seconds := max(1, (e.Retry+time.Second-1)/time.Second)
		w.Header().Set("Retry-After", strconv.FormatInt(int64(seconds), 10))
		refuse(w, r, http.StatusTooManyRequests, refusal{e.Msg, "wait as long as Retry-After says"})
	default:
		refuse(w, r, http.StatusInternalServerError, refusal{e.Msg, "the log says more"})
	}
}

// refuse answers without reading the body. Of a small one net/http reads the rest
// first, to keep the connection: for at most leftover. (EnableFullDuplex would turn
// that around, but makes net/http of Go 1.26 panic over what is left.)
func refuse(w http.ResponseWriter, r *http.Request, status int, body refusal) {
	if r.ContentLength != 0 {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(leftover)) // without one it only lasts longer
		if r.ProtoMajor == 1 && (r.ContentLength < 0 || r.ContentLength > keep || slices.Contains(r.Header["Expect"], "100-continue")) {
			w.Header().Set("Connection", "close")
		}
	}
	text, err := json.Marshal(body)
	if err != nil {
		status, text = http.StatusInternalServerError, nil // two strings always encode
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	_, _ = w.Write(text) // the client may have left
}

// A timedWriter gives each write its time, unless the handler sets it itself.
type timedWriter struct {
	http.ResponseWriter
	conn    *http.ResponseController
	timeout time.Duration
	own     bool
}

func (w *timedWriter) extend() {
	if !w.own {
		_ = w.conn.SetWriteDeadline(time.Now().Add(w.timeout)) // a writer without deadlines is a test's
	}
}

// WriteHeader implements http.ResponseWriter.
func (w *timedWriter) WriteHeader(status int) {
	w.extend()
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *timedWriter) Write(b []byte) (int, error) {
	w.extend()
	return w.ResponseWriter.Write(b)
}

// SetWriteDeadline is called through http.ResponseController.
func (w *timedWriter) SetWriteDeadline(t time.Time) error {
	w.own = true
	return w.conn.SetWriteDeadline(t)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *timedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
