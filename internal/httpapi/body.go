package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"lazyolo/yolo"
)

// presize bounds what a Content-Length alone makes us allocate and set aside; a
// longer body grows as it really arrives.
const presize = 512 << 10

// readBody returns the whole body, at most maxBody bytes within
// Options.UploadTimeout. Its memory is charged to held before it is taken.
func (s *server) readBody(w http.ResponseWriter, r *http.Request, held *claim) ([]byte, error) {
	// What is left of a body we refuse would be taken for the next request.
	hangUp := func() { w.Header().Set("Connection", "close") }
	conn := http.NewResponseController(w)
	if err := conn.SetReadDeadline(time.Now().Add(s.o.UploadTimeout)); err != nil {
		return nil, fmt.Errorf("set read deadline: %w", err)
	}
	limit := s.maxBody()
	if r.ContentLength > limit {
		hangUp()
		s.drain(r)
		return nil, s.tooLarge()
	}
	body, err := readAll(r.Context(), http.MaxBytesReader(w, r.Body, limit), r.ContentLength, limit, held)
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
	case errors.Is(err, errBodies):
		hangUp()
		held.release() // what follows is not kept
		s.drain(r)
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

// drain throws away what a client still sends of a body that is too large: many
// read no answer before they have sent all, and would see a reset connection.
// The upload's time still counts, and it reads no more than twice the limit.
func (s *server) drain(r *http.Request) {
	if r.ContentLength > 2*s.o.MaxBody || r.Header.Get("Expect") != "" {
		return
	}
	_, _ = io.CopyN(io.Discard, r.Body, 2*s.o.MaxBody) // the answer is the same however it ends
}

// maxBody is the size of the largest body: one that exceeds what all together
// may hold could never be read.
func (s *server) maxBody() int64 {
	if s.o.BodyShare > 0 {
		return min(s.o.MaxBody, s.o.BodyShare)
	}
	return s.o.MaxBody
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

// readAll reads r to its end into one buffer. Size is the length the client
// claims, or -1; limit is where r ends at the latest; held is asked before the
// buffer takes more.
func readAll(ctx context.Context, r io.Reader, size, limit int64, held *claim) ([]byte, error) {
	// One byte more than the body: the read that finds the end needs room.
	most := limit + 1
	if size >= 0 {
		most = size + 1
	}
	b, err := held.buffer(ctx, min(most, presize))
	if err != nil {
		return nil, err
	}
	for {
		if len(b) == cap(b) {
			room := max(min(2*int64(cap(b)), most), int64(cap(b))+1)
			if err := held.grow(ctx, room-int64(cap(b))); err != nil {
				return nil, err
			}
			grown := make([]byte, len(b), room)
			copy(grown, b)
			b = grown
			held.outgrow()
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err == io.EOF {
			return b, nil
		}
		if err != nil {
			return nil, err
		}
	}
}
