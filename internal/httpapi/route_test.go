package httpapi_test

import (
	"io"
	"net/http/httptest"
	"testing"

	"lazyolo/internal/httpapi"
)

// Metrics name routes, of which there are few, not paths, which clients choose.
func TestRoutesAreFew(t *testing.T) {
	h, err := httpapi.New(found(), shapes(), options(io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/api/v2/detect":                "/api/v2/detect",
		"/api/v2/models":                "/api/v2/models",
		"/api/v2/models/model_0/load":   "/api/v2/models/{model}/load",
		"/api/v2/models/any/unpin":      "/api/v2/models/{model}/unpin",
		"/api/v2/models/model_0/cancel": "",
		"/api/v2/detect/":               "",
		"/favicon.ico":                  "",
	} {
		if got := h.Route(httptest.NewRequest("GET", path, nil)); got != want {
			t.Errorf("%s counts as %q, want %q", path, got, want)
		}
	}
}
