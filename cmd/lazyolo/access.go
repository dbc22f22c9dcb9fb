package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof" // #nosec G108 -- it registers at the default mux, which nobody serves
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"lazyolo/internal/access"
	"lazyolo/internal/config"
	"lazyolo/yolo"
)

// Limits of every HTTP listener that are no settings.
const (
	headerTimeout = 10 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 64 << 10
	adminConns    = 64 // of ADMIN_ADDR
	maxProfile    = 60 // seconds of a profile
)

// busy is what a connection hears when MAX_CONNECTIONS are at work.
const busy = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 59\r\n\r\n" +
	`{"error":"too many connections at work (MAX_CONNECTIONS)"}` + "\n"

// newGuard makes what decides who may call.
func newGuard(c *config.Config, log *slog.Logger) (*access.Guard, error) {
	o := access.Options{
		Log: log, Keys: c.APIKeys, KeysFile: c.APIKeysFile, WriteTimeout: c.WriteTimeout,
		Limits: access.Limits{Rate: c.RateLimit, Concurrent: c.KeyConcurrency},
	}
	for _, text := range c.TrustedProxies {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("read TRUSTED_PROXIES: %w", err)
		}
		o.Trusted = append(o.Trusted, p)
	}
	g, err := access.New(o)
	if err != nil {
		return nil, &config.UsageError{Setting: "API_KEYS_FILE", Msg: err.Error(), Hint: "lazyolo key NAME --scopes read,infer makes a key and its line for API_KEYS_FILE"}
	}
	return g, nil
}

// newCertificate opens the certificate of the settings; nil: no TLS.
func newCertificate(c *config.Config, log *slog.Logger) (*access.Certificate, error) {
	if c.TLSCert == "" {
		return nil, nil
	}
	cert, err := access.OpenCertificate(c.TLSCert, c.TLSKey, log)
	if err != nil {
		return nil, hinted{err, "set TLS_CERT_FILE and TLS_KEY_FILE to a certificate and its private key in PEM"}
	}
	return cert, nil
}

// tlsConfig is for a listener, gRPC's too; nil: no TLS.
func (s *server) tlsConfig() *tls.Config {
	if s.certificate == nil {
		return nil
	}
	return s.certificate.Config()
}

// scheme is what URLs of this server begin with.
func (s *server) scheme() string {
	if s.certificate == nil {
		return "http"
	}
	return "https"
}

// allowedOrigin is whose web pages may use the old paths; nil: all.
func allowedOrigin(c *config.Config) func(string) bool {
	if slices.Contains(c.CORSOrigins, "*") {
		return nil
	}
	return func(origin string) bool { return slices.Contains(c.CORSOrigins, origin) }
}

// newHTTP makes a server for h behind the guard; scope says what a request needs.
func (s *server) newHTTP(h http.Handler, scope func(*http.Request) yolo.Scope, conns *access.Conns) *http.Server {
	return &http.Server{
		Handler:           s.guard.Handler(h, scope),
		TLSConfig:         s.tlsConfig(),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ConnState:         conns.State,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
}

// serveOn serves what l accepts until h is shut down.
func (s *server) serveOn(h *http.Server, l net.Listener, conns *access.Conns) error {
	if h.TLSConfig != nil {
		return h.ServeTLS(conns.Listener(l, nil), "", "")
	}
	return h.Serve(conns.Listener(l, []byte(busy)))
}

// watchAccess follows the files of keys and certificate until ctx ends.
func (s *server) watchAccess(ctx context.Context) {
	var watches sync.WaitGroup
	watches.Go(func() { s.guard.Watch(ctx, s.rekey) })
	if s.certificate != nil {
		watches.Go(func() { s.certificate.Watch(ctx, s.recert) })
	}
	watches.Wait()
}

// lookAtAccess has the files of keys and certificate looked at now.
func (s *server) lookAtAccess(*config.Config) {
	for _, asked := range []chan struct{}{s.rekey, s.recert} {
		select {
		case asked <- struct{}{}:
		default: // it is asked already
		}
	}
}

// warnOpen tells the operator of a server that anybody may use.
func (s *server) warnOpen(l net.Listener) {
	at, err := netip.ParseAddrPort(l.Addr().String())
	if s.guard.Keyed() || err == nil && at.Addr().Unmap().IsLoopback() {
		return
	}
	s.log.Warn("no API keys are set: whoever reaches this address may use the models",
		"address", l.Addr().String(), "hint", "set API_KEYS_FILE (lazyolo key NAME makes a key), or HOST=127.0.0.1")
}

// adminDoor answers at ADMIN_ADDR: profiles, metrics (nil: none) and what is open
// of the other doors, such as health.
func adminDoor(metrics http.Handler, ds doors) door {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", bounded(pprof.Profile))
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", bounded(pprof.Trace))
	if metrics != nil {
		mux.Handle("/metrics", metrics)
	}
	own := func(r *http.Request) bool {
		_, pattern := mux.Handler(r)
		return pattern != ""
	}
	return door{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case own(r):
				mux.ServeHTTP(w, r)
			case ds.scope(r) == yolo.Open:
				ds.ServeHTTP(w, r)
			default:
				http.NotFound(w, r)
			}
		}),
		scope: func(r *http.Request) yolo.Scope {
			switch {
			case r.URL.Path == "/metrics":
				return yolo.Read
			case own(r):
				return yolo.Admin
			}
			return yolo.Open // the rest is answered only where it is
		},
	}
}

// bounded refuses profiles that take too long.
func bounded(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if text := r.FormValue("seconds"); text != "" {
			if n, err := strconv.ParseFloat(text, 64); err != nil || !(n > 0 && n <= maxProfile) {
				http.Error(w, fmt.Sprintf("seconds goes from 1 to %d", maxProfile), http.StatusBadRequest)
				return
			}
		}
		h(w, r)
	}
}

// listenAdmin opens ADMIN_ADDR; serve is nil where there is none. It ends with
// s.admin.
func (s *server) listenAdmin() (serve func() error, err error) {
	if s.c.AdminAddr == "" {
		return nil, nil
	}
	l, err := net.Listen("tcp", s.c.AdminAddr)
	if err != nil {
		return nil, hinted{fmt.Errorf("listen for administration: %w", err), "set ADMIN_ADDR to a free address and port, or leave it out"}
	}
	d := adminDoor(s.metrics, s.doors)
	conns := access.NewConns(adminConns)
	s.admin = s.newHTTP(d, d.scope, conns)
	s.log.Info("Administration listens", "address", l.Addr().String())
	return func() error {
		if err := s.serveOn(s.admin, l, conns); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	}, nil
}
