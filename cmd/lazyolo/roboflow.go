package main

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"lazyolo/internal/annotate"
	"lazyolo/internal/config"
	"lazyolo/internal/roboflow"
	"lazyolo/yolo"
)

// ambiguous are names that no model folder may have, whatever is switched on: newer
// servers of the Roboflow dialect use them where the Open Inference Protocol has a
// model's name, as in /v2/models/infer.
func ambiguous() []string { return []string{"infer", "load", "unload", "interface", "compatibility"} }

// firstSegments are what the paths of all doors begin with. Where /MODEL/VERSION is a
// path, too, no model folder may have such a name.
func firstSegments() []string {
	return []string{
		"api", "v2", "infer", "model", "info", "readiness", "docs", "redoc", "openapi.json",
		"livez", "readyz", "healthz", "metrics", "debug", "ui", "static", "favicon.ico",
	}
}

// reservedNames are the names that the catalog refuses.
func reservedNames(c *config.Config) []string {
	if !c.RoboflowLegacy {
		return ambiguous()
	}
	return slices.Concat(ambiguous(), firstSegments())
}

// newRoboflow makes the door of the Roboflow dialect.
func (s *server) newRoboflow(painter *annotate.Painter) (door, error) {
	bodies := &bodyPurse{}
	bodies.free.Store(bodyShare(s.c, s.ledger.Budget()))
	d, err := roboflow.New(s.telemetry.Watch(s.detector), s.models, s.pool, roboflow.Options{
		Log: s.log, MaxBody: min(s.c.MaxBody, bodyShare(s.c, s.ledger.Budget())),
		UploadTimeout: s.c.UploadTimeout, RequestTimeout: s.c.RequestTimeout,
		Claim:  func() roboflow.Claim { return &bodyClaim{purse: bodies} },
		Render: painter.Render, Version: buildVersion, Legacy: s.c.RoboflowLegacy, Reserved: firstSegments(), URLHosts: s.c.AllowURLInput,
		Ready: func() bool { return len(s.unready()) == 0 },
	})
	if err != nil {
		return door{}, err
	}
	return door{Handler: d, name: "roboflow", owns: d.Owns, scope: d.Scope, route: d.Route}, nil
}

// A bodyPurse is the memory for the bodies of this door's requests.
type bodyPurse struct{ free atomic.Int64 }

// A bodyClaim is what one request holds of it.
type bodyClaim struct {
	purse *bodyPurse
	held  int64
}

// Grow implements roboflow.Claim.
func (c *bodyClaim) Grow(_ context.Context, n int64) error {
	if c.purse.free.Add(-n) < 0 {
		c.purse.free.Add(n)
		return &yolo.Error{Code: yolo.Overloaded, Retry: time.Second,
			Msg: "the requests that wait hold all the memory there is for them (MAX_QUEUE_MB)"}
	}
	c.held += n
	return nil
}

// Release implements roboflow.Claim.
func (c *bodyClaim) Release() {
	c.purse.free.Add(c.held)
	c.held = 0
}
