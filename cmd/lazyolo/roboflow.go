package main

import (
	"slices"

	"lazyolo/internal/bodies"
	"lazyolo/internal/config"
	"lazyolo/internal/roboflow"
)

// ambiguous are names that no model folder may have, whatever is switched on: newer
// servers of the Roboflow dialect use them where the Open Inference Protocol has a
// model's name, as in /v2/models/infer.
func ambiguous() []string { return []string{"infer", "load", "unload", "interface", "compatibility"} }

// firstSegments are what the paths of all doors begin with. Where /MODEL/VERSION is a
// path, too, no model folder may have such a name.
func firstSegments() []string {
	return []string{
		"api", "dashboard", "v2", "infer", "model", "info", "readiness", "docs", "redoc", "openapi.json",
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
func (s *server) newRoboflow(seen watched, share *bodies.Share) (door, error) {
	d, err := roboflow.New(seen, s.models, s.pool, roboflow.Options{
		Log: s.log, MaxBody: share.Largest(s.c.MaxBody),
		UploadTimeout: s.c.UploadTimeout, RequestTimeout: s.c.RequestTimeout,
		Bodies: share,
		Render: s.core.Painter.Render, Version: buildVersion, Legacy: s.c.RoboflowLegacy, Reserved: firstSegments(), URLHosts: s.c.AllowURLInput,
		Ready: func() bool { return len(s.unready()) == 0 },
	})
	if err != nil {
		return door{}, err
	}
	return door{Handler: d, name: "roboflow", owns: d.Owns, scope: d.Scope, route: d.Route}, nil
}
