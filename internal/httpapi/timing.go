package httpapi

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"lazyolo/yolo"
)

// A timing gathers where a request's time went, over all its pictures.
type timing struct {
	start time.Time
	body  time.Duration // reading the upload
	took  yolo.Took
	cold  bool
}

func (t *timing) add(r *yolo.Result) {
	t.took.Add(r.Took)
	t.cold = t.cold || r.Cold
}

// tell sets X-Model-Cold-Start and Server-Timing, whose durations are milliseconds.
func (t *timing) tell(h http.Header) {
	h.Set("X-Model-Cold-Start", strconv.FormatBool(t.cold))
	var b strings.Builder
	for _, part := range []struct {
		name string
		took time.Duration
	}{
		{"body", t.body}, {"load", t.took.Load}, {"memory", t.took.Memory}, {"decode", t.took.Decode}, {"run", t.took.Run},
		{"total", time.Since(t.start)},
	} {
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		b.WriteString(part.name)
		b.WriteString(";dur=")
		b.WriteString(strconv.FormatFloat(float64(part.took)/float64(time.Millisecond), 'f', 2, 64))
	}
	h.Set("Server-Timing", b.String())
}

// loadWait reads how long the caller waits for a load: X-Load-Wait, in seconds or
// with a unit. Nil: the header is not there, or empty.
func loadWait(h http.Header) (*time.Duration, error) {
	text, given := single(h, "X-Load-Wait")
	if !given || strings.TrimSpace(text) == "" {
		return nil, nil
	}
	d, err := time.ParseDuration(strings.TrimSpace(text))
	if err != nil {
		d, err = time.ParseDuration(strings.TrimSpace(text) + "s")
	}
	if err != nil || d < 0 {
		return nil, &wireError{http.StatusUnprocessableEntity, detailBody{[]fieldError{{
			Type: "time_delta_parsing", Loc: []any{"header", "x-load-wait"}, Input: text,
			Msg: "Input should be a time from 0 on, in seconds or like 5s or 500ms",
		}}}, nil}
	}
	return &d, nil
}
