package httpapi

import (
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"lazyolo/internal/door"
	"lazyolo/yolo"
)

// statusClientGone is what a request whose client has left is logged as.
const statusClientGone = 499

// A wireError is a refusal that only this door knows, with its own status and body.
type wireError struct {
	status int
	body   any
	cause  error // for the log; may be nil
}

func (e *wireError) Error() string {
	s := "answer " + strconv.Itoa(e.status)
	if e.cause != nil {
		s += ": " + e.cause.Error()
	}
	return s
}

func (e *wireError) Unwrap() error { return e.cause }

// detailBody is how FastAPI tells an error: a text, or a list of fieldErrors.
type detailBody struct {
	Detail any `json:"detail"`
}

// errorBody is how the old server tells an error. ID stands in the log too.
type errorBody struct {
	Error string `json:"error"`
	ID    string `json:"id,omitempty"`
}

// detail returns an error that answers as FastAPI's HTTPException.
func detail(status int, text string) *wireError {
	return &wireError{status: status, body: detailBody{text}}
}

// undecodable is what the old server says of a picture it cannot read.
const undecodable = "Failed to decode image"

// A reply is the answer to an error.
type reply struct {
	status int
	body   any
	retry  time.Duration // > 0: the Retry-After header
	level  slog.Level    // how loudly it is logged
	reason string        // the X-Error-Reason header, where the old server's words are few; "": none
}

// replyTo maps an error to its answer. On a detect route what the old server
// failed at answers 200; conditions it never had get true statuses everywhere.
func replyTo(err error, detect bool) reply {
	var wire *wireError
	if errors.As(err, &wire) {
		return reply{status: wire.status, body: wire.body, level: slog.LevelDebug}
	}
	code := yolo.CodeOf(err)
	text, retry := publicText(err), time.Duration(0)
	var e *yolo.Error
	if errors.As(err, &e) {
		retry = e.Retry
	}
	switch code {
	case yolo.Invalid:
		if detect { // only the picture can be invalid: the form was read before
			return reply{http.StatusOK, errorBody{Error: undecodable}, 0, slog.LevelDebug, text}
		}
		return reply{http.StatusBadRequest, errorBody{Error: text}, 0, slog.LevelDebug, ""}
	case yolo.Unsupported:
		return reply{ifDetect(detect, http.StatusUnsupportedMediaType), errorBody{Error: text}, 0, slog.LevelInfo, ""}
	case yolo.NotFound:
		return reply{ifDetect(detect, http.StatusNotFound), errorBody{Error: text}, 0, slog.LevelDebug, ""}
	case yolo.TooLarge:
		return reply{http.StatusRequestEntityTooLarge, errorBody{Error: text}, 0, slog.LevelDebug, ""}
	case yolo.Conflict:
		return reply{http.StatusConflict, errorBody{Error: text}, 0, slog.LevelInfo, ""}
	case yolo.Denied:
		return reply{http.StatusUnauthorized, errorBody{Error: text}, 0, slog.LevelInfo, ""}
	case yolo.Forbidden:
		return reply{http.StatusForbidden, errorBody{Error: text}, 0, slog.LevelInfo, ""}
	case yolo.Overloaded:
		return reply{http.StatusTooManyRequests, errorBody{Error: text}, max(retry, time.Second), slog.LevelDebug, ""}
	case yolo.LoadFailed, yolo.Unavailable, yolo.NoRoom, yolo.TooBig:
		return reply{http.StatusServiceUnavailable, errorBody{Error: text, ID: door.NewID()}, retry, slog.LevelWarn, ""}
	case yolo.Deadline:
		return reply{http.StatusGatewayTimeout, errorBody{Error: text, ID: door.NewID()}, retry, slog.LevelWarn, ""}
	case yolo.Canceled:
		return reply{statusClientGone, errorBody{Error: text}, 0, slog.LevelDebug, ""}
	}
	if detect {
		return reply{http.StatusOK, errorBody{Error: "Inference failed"}, 0, slog.LevelError, ""}
	}
	return reply{http.StatusInternalServerError, errorBody{Error: "internal error", ID: door.NewID()}, 0, slog.LevelError, ""}
}

// ifDetect returns 200 on a detect route and the true status elsewhere.
func ifDetect(detect bool, status int) int {
	if detect {
		return http.StatusOK
	}
	return status
}

// fail answers and logs err: the only place where either is done.
func (s *server) fail(w http.ResponseWriter, r *http.Request, err error, detect bool) {
	a := replyTo(err, detect)
	attrs := []slog.Attr{
		slog.String("path", r.URL.Path),
		slog.Int("status", a.status),
		slog.Any("error", err),
	}
	if b, ok := a.body.(errorBody); ok && b.ID != "" {
		attrs = append(attrs, slog.String("id", b.ID))
	}
	s.o.Log.LogAttrs(r.Context(), a.level, "request failed", attrs...)
	if a.retry > 0 {
		seconds := (a.retry + time.Second - 1) / time.Second
		w.Header().Set("Retry-After", strconv.FormatInt(int64(seconds), 10))
	}
	if a.reason != "" {
		w.Header().Set("X-Error-Reason", a.reason)
	}
	if err := writeJSON(w, a.status, a.body); err != nil {
		s.o.Log.ErrorContext(r.Context(), "encode error answer", "error", err)
		w.WriteHeader(http.StatusInternalServerError)
	}
}
