package httpapi

import (
	"net/http"

	"lazyolo/internal/door"
)

// ServeHTTP answers one request, logs it, and survives a panic in it.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	door.Serve(w, r, s.o.Log, func(w *door.Recorder) { s.dispatch(w, r) }, func(w *door.Recorder, id string) {
		// Two strings always encode.
		_ = writeJSON(w, http.StatusInternalServerError, errorBody{Error: "internal error", ID: id})
	})
}
