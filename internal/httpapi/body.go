package httpapi

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

// readBody returns the whole body, at most maxBody bytes within
// Options.UploadTimeout. Its memory is charged to held before it is taken.
func (s *server) readBody(w http.ResponseWriter, r *http.Request, held *bodies.Claim) ([]byte, error) {
	// What is left of a body we refuse would be taken for the next request.
	hangUp := func() { w.Header().Set("Connection", "close") }
	conn := http.NewResponseController(w)
	if err := conn.SetReadDeadline(time.Now().Add(s.o.UploadTimeout)); err != nil {
		return nil, fmt.Errorf("set read deadline: %w", err)
	}
	limit := s.maxBody()
	if r.ContentLength > limit {
		hangUp()
		door.Drain(r, s.o.MaxBody)
		return nil, s.tooLarge()
	}
	body, err := held.ReadAll(r.Context(), http.MaxBytesReader(w, r.Body, limit), r.ContentLength, limit)
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil:
		if err := conn.SetReadDeadline(time.Time{}); err != nil {
			return nil, fmt.Errorf("clear read deadline: %w", err)
		}
		return body, nil
	case errors.As(err, &tooLarge):
		err = s.tooLarge()
		fallthrough
	case errors.Is(err, bodies.ErrFull):
		hangUp()
		held.Release() // what follows is not kept
		door.Drain(r, s.o.MaxBody)
		return nil, err
	case errors.Is(err, os.ErrDeadlineExceeded):
		hangUp()
		text := fmt.Sprintf("the upload took longer than %v", s.o.UploadTimeout)
		return nil, &wireError{http.StatusRequestTimeout, errorBody{Error: text}, err}
	case r.Context().Err() != nil:
		return nil, r.Context().Err()
	}
	hangUp()
	return nil, &wireError{http.StatusBadRequest, detailBody{"There was an error parsing the body"}, err}
}

// maxBody is the size of the largest body: one that exceeds what all together
// may hold could never be read.
func (s *server) maxBody() int64 {
	return s.bodies.Largest(s.o.MaxBody)
}

// tooLarge names the setting, for whoever reads the answer can often change it.
func (s *server) tooLarge() error {
	setting, n := "MAX_BODY_MB", s.maxBody()
	if n < s.o.MaxBody {
		setting = "MAX_QUEUE_MB"
	}
	limit := fmt.Sprintf("%d bytes", n)
	if n%mib == 0 {
		limit = fmt.Sprintf("%d MB", n/mib)
	}
	return yolo.Errorf(yolo.TooLarge, "the request body is larger than %s (%s)", limit, setting)
}
