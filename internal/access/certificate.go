package access

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"
)

// A Certificate is a TLS certificate and key, read again when their files change.
type Certificate struct {
	cert, key watched
	log       *slog.Logger
	pair      atomic.Pointer[tls.Certificate]
}

// OpenCertificate reads a certificate (its chain after it) and its key, both PEM.
func OpenCertificate(certFile, keyFile string, log *slog.Logger) (*Certificate, error) {
	if log == nil {
		return nil, errors.New("access: OpenCertificate needs a logger")
	}
	c := &Certificate{cert: watched{path: certFile}, key: watched{path: keyFile}, log: log}
	c.changed()
	if err := c.read(); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Certificate) read() error {
	pair, err := tls.LoadX509KeyPair(c.cert.path, c.key.path)
	if err != nil {
		return fmt.Errorf("read certificate: %w", err)
	}
	if pair.Leaf != nil && time.Now().After(pair.Leaf.NotAfter) {
		c.log.Warn("the TLS certificate has expired", "file", c.cert.path, "not_after", pair.Leaf.NotAfter)
	}
	c.pair.Store(&pair)
	return nil
}

// Config is for a listener: TLS 1.2 or later, with the certificate as it is when a
// connection comes. The caller may change its copy.
func (c *Certificate) Config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return c.pair.Load(), nil
		},
	}
}

// Watch reads the files anew whenever one changed, or reload says so, until ctx
// ends. A pair that cannot be used leaves the old one in force.
func (c *Certificate) Watch(ctx context.Context, reload <-chan struct{}) {
	watch(ctx, reload, c.changed, func() {
		if err := c.read(); err != nil {
			c.log.Error("the TLS certificate cannot be read again: the old one stays in force", "err", err)
			return
		}
		c.log.Info("the TLS certificate was read again")
	})
}

func (c *Certificate) changed() bool {
	cert, key := c.cert.changed(), c.key.changed() // both: each remembers
	return cert || key
}
