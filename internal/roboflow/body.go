package roboflow

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"lazyolo/internal/bodies"
	"lazyolo/internal/door"
	"lazyolo/yolo"
)

// readBody returns the whole body, at most Options.MaxBody within
// Options.UploadTimeout. Its memory is claimed before it is taken.
func (d *Door) readBody(w http.ResponseWriter, r *http.Request, held *bodies.Claim) ([]byte, error) {
	conn := http.NewResponseController(w)
	if err := conn.SetReadDeadline(time.Now().Add(d.o.UploadTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return nil, fmt.Errorf("set read deadline: %w", err)
	}
	var body []byte
	err := error(&http.MaxBytesError{Limit: d.o.MaxBody})
	if r.ContentLength <= d.o.MaxBody {
		body, err = held.ReadAll(r.Context(), http.MaxBytesReader(w, r.Body, d.o.MaxBody), r.ContentLength, d.o.MaxBody)
	}
	if err == nil {
		if err := conn.SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return nil, fmt.Errorf("clear read deadline: %w", err)
		}
		return body, nil
	}
	w.Header().Set("Connection", "close") // what is left of it would be taken for the next request
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		held.Release() // what follows is not kept
		door.Drain(r, d.o.MaxBody)
		return nil, d.tooLarge("the request body")
	case isOurs(err):
		held.Release()
		door.Drain(r, d.o.MaxBody)
		return nil, err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, &statusError{http.StatusRequestTimeout, fmt.Sprintf("the upload took longer than %v", d.o.UploadTimeout)}
	case r.Context().Err() != nil:
		return nil, r.Context().Err()
	}
	return nil, &statusError{http.StatusBadRequest, "the request body could not be read"}
}

func isOurs(err error) bool {
	var e *yolo.Error
	return errors.As(err, &e)
}

// tooLarge names the setting, for whoever reads the answer can often change it.
func (d *Door) tooLarge(what string) error {
	return yolo.Errorf(yolo.TooLarge, "%s is larger than %d bytes (MAX_BODY_MB)", what, d.o.MaxBody)
}
