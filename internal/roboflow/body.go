package roboflow

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

// presize bounds what a Content-Length alone makes us set aside; a longer body
// grows as it really arrives.
const presize = 512 << 10

// claim begins a request's claim on the memory for bodies.
func (d *Door) claim() Claim {
	if d.o.Claim == nil {
		return unbound{}
	}
	return d.o.Claim()
}

// unbound is a claim on memory without a bound.
type unbound struct{}

func (unbound) Grow(context.Context, int64) error { return nil }
func (unbound) Release()                          {}

// readBody returns the whole body, at most Options.MaxBody within
// Options.UploadTimeout. Its memory is claimed before it is taken.
func (d *Door) readBody(w http.ResponseWriter, r *http.Request, held Claim) ([]byte, error) {
	conn := http.NewResponseController(w)
	if err := conn.SetReadDeadline(time.Now().Add(d.o.UploadTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return nil, fmt.Errorf("set read deadline: %w", err)
	}
	body, err := d.readAll(w, r, held)
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
		d.drain(r)
		return nil, d.tooLarge("the request body")
	case isOurs(err):
		held.Release()
		d.drain(r)
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

// drain throws away what a client still sends of a body that is refused: many read
// no answer before they have sent all.
func (d *Door) drain(r *http.Request) {
	if r.ContentLength > 2*d.o.MaxBody || r.Header.Get("Expect") != "" {
		return
	}
	_, _ = io.CopyN(io.Discard, r.Body, 2*d.o.MaxBody) // the answer is the same however it ends
}

// tooLarge names the setting, for whoever reads the answer can often change it.
func (d *Door) tooLarge(what string) error {
	return yolo.Errorf(yolo.TooLarge, "%s is larger than %d bytes (MAX_BODY_MB)", what, d.o.MaxBody)
}

// readAll reads a body to its end into one buffer.
func (d *Door) readAll(w http.ResponseWriter, r *http.Request, held Claim) ([]byte, error) {
	most := d.o.MaxBody + 1 // the read that finds the end needs room
	if r.ContentLength >= most {
		return nil, &http.MaxBytesError{Limit: d.o.MaxBody}
	}
	if r.ContentLength >= 0 {
		most = r.ContentLength + 1
	}
	return gather(r.Context(), http.MaxBytesReader(w, r.Body, d.o.MaxBody), most, held)
}

// gather reads to the end, expected to be within most bytes.
func gather(ctx context.Context, from io.Reader, most int64, held Claim) ([]byte, error) {
	room := min(most, presize)
	if err := held.Grow(ctx, room); err != nil {
		return nil, err
	}
	b := make([]byte, 0, room)
	for {
		if len(b) == cap(b) {
			room := max(min(2*int64(cap(b)), most), int64(cap(b))+1)
			if err := held.Grow(ctx, room-int64(cap(b))); err != nil {
				return nil, err
			}
			b = append(make([]byte, 0, room), b...)
		}
		n, err := from.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err == io.EOF {
			return b, nil
		}
		if err != nil {
			return nil, err
		}
	}
}
