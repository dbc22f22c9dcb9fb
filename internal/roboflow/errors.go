package roboflow

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"lazyolo/internal/door"
	"lazyolo/yolo"
)

// statusClientGone is what a request whose client has left is logged as.
const statusClientGone = 499

// A statusError is a refusal that only this door knows, with its own status.
type statusError struct {
	status int
	msg    string
}

func (e *statusError) Error() string { return e.msg }

// errorBody is how the dialect tells an error. ID stands in the log too.
type errorBody struct {
	Message string `json:"message"`
	ID      string `json:"id,omitempty"`
}

// A reply is the answer to an error.
type reply struct {
	status int
	text   string
	retry  time.Duration // > 0: the Retry-After header
	level  slog.Level    // how loudly it is logged
}

// replyTo maps an error to its answer.
func replyTo(err error) reply {
	var own *statusError
	if errors.As(err, &own) {
		return reply{own.status, own.msg, 0, slog.LevelDebug}
	}
	text, retry := publicText(err), time.Duration(0)
	var e *yolo.Error
	if errors.As(err, &e) {
		retry = e.Retry
	}
	switch yolo.CodeOf(err) {
	case yolo.Invalid, yolo.Unsupported:
		return reply{http.StatusBadRequest, text, 0, slog.LevelDebug}
	case yolo.Denied:
		return reply{http.StatusUnauthorized, text, 0, slog.LevelInfo}
	case yolo.Forbidden:
		return reply{http.StatusForbidden, text, 0, slog.LevelInfo}
	case yolo.NotFound:
		return reply{http.StatusNotFound, text, 0, slog.LevelDebug}
	case yolo.Conflict:
		return reply{http.StatusConflict, text, 0, slog.LevelInfo}
	case yolo.TooLarge:
		return reply{http.StatusRequestEntityTooLarge, text, 0, slog.LevelDebug}
	case yolo.Overloaded:
		return reply{http.StatusTooManyRequests, text, max(retry, time.Second), slog.LevelDebug}
	case yolo.NoRoom, yolo.LoadFailed, yolo.Unavailable:
		return reply{http.StatusServiceUnavailable, text, max(retry, time.Second), slog.LevelWarn}
	case yolo.TooBig:
		return reply{http.StatusInsufficientStorage, text, 0, slog.LevelWarn}
	case yolo.Deadline:
		return reply{http.StatusGatewayTimeout, text, 0, slog.LevelWarn}
	case yolo.Canceled:
		return reply{statusClientGone, text, 0, slog.LevelDebug}
	}
	return reply{http.StatusInternalServerError, "internal error", 0, slog.LevelError}
}

// publicText is what a client may read of an error.
func publicText(err error) string {
	var e *yolo.Error
	switch {
	case errors.As(err, &e) && e.Code != yolo.Internal:
		if e.Model != "" {
			return e.Model + ": " + e.Msg
		}
		return e.Msg
	case yolo.CodeOf(err) == yolo.Deadline:
		return "the request took too long"
	case yolo.CodeOf(err) == yolo.Canceled:
		return "the client left"
	}
	return "internal error"
}

// fail answers and logs err: the only place where either is done.
func (d *Door) fail(w http.ResponseWriter, r *http.Request, err error) {
	a := replyTo(err)
	body := errorBody{Message: a.text}
	attrs := []slog.Attr{slog.String("path", r.URL.Path), slog.Int("status", a.status), slog.Any("error", err)}
	if a.status >= http.StatusInternalServerError {
		body.ID = door.NewID()
		attrs = append(attrs, slog.String("id", body.ID))
	}
	d.o.Log.LogAttrs(r.Context(), a.level, "request failed", attrs...)
	if a.retry > 0 {
		w.Header().Set("Retry-After", strconv.FormatInt(int64((a.retry+time.Second-1)/time.Second), 10))
	}
	_ = writeJSON(w, a.status, body) // two strings always encode
}

// writeJSON answers with v. An error means v cannot be encoded and nothing was
// written; a client that has left is not an error.
func writeJSON(w http.ResponseWriter, status int, v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	w.Write(bytes.TrimSuffix(b.Bytes(), []byte("\n")))
	return nil
}

// newUUID returns a random UUID (version 4).
func newUUID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
