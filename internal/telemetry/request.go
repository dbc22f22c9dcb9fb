package telemetry

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"lazyolo/internal/door"
)

// The headers of a request and its answer, as gRPC spells them too.
const (
	headerID    = "x-request-id"
	headerTrace = "traceparent"
)

// aborted is the status of a request whose answer was cut off.
const aborted = "aborted"

// maxID bounds a request id that a caller brings.
const maxID = 128

// An identity is how a request is named in logs and answers.
type identity struct {
	request string
	trace   string // its trace's id; "": it has none
	parent  string // traceparent of the answer; "": none
}

type identityKey struct{}

func identityOf(ctx context.Context) *identity {
	id, _ := ctx.Value(identityKey{}).(*identity)
	return id
}

// Begin opens the record of one request, at any door: route is one of few, and header
// finds a header by its name in lower case, "" where it is not there. The context
// carries the request's id, for logs, and its span; end closes the record with an
// HTTP status or the name of a gRPC code.
func (t *Telemetry) Begin(ctx context.Context, door, route, verb string, header func(name string) string) (_ context.Context, end func(code string)) {
	start := time.Now()
	t.m.inFlight.Inc()
	door, route = t.m.route(door, route)
	ctx, span := t.serverSpan(ctx, door, route, verb, header)
	return ctx, func(code string) {
		t.m.inFlight.Dec()
		t.m.requests.WithLabelValues(door, route, verb, class(code)).Inc()
		t.m.durations.WithLabelValues(door, route).Observe(time.Since(start).Seconds())
		if span == nil {
			return
		}
		if span.IsRecording() {
			if n, err := strconv.Atoi(code); err == nil {
				span.SetAttributes(attribute.Int("http.response.status_code", n))
			} else {
				span.SetAttributes(attribute.String("lazyolo.status", code))
			}
			if broken(code) {
				span.SetStatus(codes.Error, code)
			}
		}
		span.End()
	}
}

// route bounds the pair of door and route.
func (m *metrics) route(door, route string) (string, string) {
	if route == "" || m.routes.of(door+" "+route) == other {
		route = other
	}
	return door, route
}

// serverSpan names the request and opens its span, which is nil without tracing.
func (t *Telemetry) serverSpan(ctx context.Context, door, route, verb string, header func(string) string) (context.Context, trace.Span) {
	id := &identity{}
	remote := context.Background()
	if header(headerTrace) != "" {
		remote = propagation.TraceContext{}.Extract(remote, carrier(header))
	}
	var span trace.Span
	sc := trace.SpanContextFromContext(remote)
	if t.tracer != nil {
		ctx = trace.ContextWithRemoteSpanContext(ctx, sc)
		ctx, span = t.tracer.Start(ctx, verb+" "+route, trace.WithSpanKind(trace.SpanKindServer))
		if span.IsRecording() {
			span.SetAttributes(attribute.String("http.request.method", verb), attribute.String("http.route", route),
				attribute.String("lazyolo.door", door))
		}
		sc = span.SpanContext()
	}
	if sc.IsValid() {
		id.trace = sc.TraceID().String()
		id.parent = "00-" + id.trace + "-" + sc.SpanID().String() + "-" + sc.TraceFlags().String()
	}
	switch given := header(headerID); {
	case validID(given):
		id.request = given
	case id.trace != "":
		id.request = id.trace
	default:
		id.request = newID()
	}
	if span != nil && span.IsRecording() {
		span.SetAttributes(attribute.String("lazyolo.request_id", id.request))
	}
	return context.WithValue(ctx, identityKey{}, id), span
}

// Answer sets the headers that name the request of ctx in its answer.
func (t *Telemetry) Answer(ctx context.Context, set func(name, value string)) {
	id := identityOf(ctx)
	if id == nil {
		return
	}
	set(headerID, id.request)
	if id.parent != "" {
		set(headerTrace, id.parent)
	}
}

// Handler goes around an HTTP handler. route tells the door that a request is for and
// which of its routes, "" for none.
func (t *Telemetry) Handler(next http.Handler, route func(*http.Request) (door, route string)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, path := route(r)
		ctx, end := t.Begin(r.Context(), name, path, method(r.Method), r.Header.Get)
		t.Answer(ctx, w.Header().Set)
		rec := &door.Recorder{ResponseWriter: w}
		code := aborted
		defer func() { end(code) }()
		next.ServeHTTP(rec, r.WithContext(ctx))
		if rec.Status < http.StatusOK { // as net/http sends it where none was set
			rec.Status = http.StatusOK
		}
		code = strconv.Itoa(rec.Status)
	})
}

// A carrier reads headers for a propagator.
type carrier func(name string) string

// Get implements propagation.TextMapCarrier.
func (c carrier) Get(name string) string { return c(name) }

// Set implements propagation.TextMapCarrier; headers of a request are not changed.
func (carrier) Set(string, string) {}

// Keys implements propagation.TextMapCarrier; nothing asks for it.
func (carrier) Keys() []string { return nil }

// validID reports whether a caller's id may stand in logs and answers: 1 to maxID
// letters, digits and marks that need no quoting anywhere.
func validID(s string) bool {
	for _, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case c == '-', c == '_', c == '.', c == ':', c == '/', c == '+', c == '=', c == '@', c == '~':
		default:
			return false
		}
	}
	return s != "" && len(s) <= maxID
}

// newID is a random id.
func newID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
