// Package web holds the pages a browser is shown, as files inside the program;
// there is no build step and nothing is loaded from another host. The files are
// read-only data of the executable: until someone asks for one they take no memory.
package web

import "embed"

// SwaggerUI is the version of the Swagger UI in docs/swagger-ui. It is part of
// the URLs it is served under, so a browser may keep them for ever.
const SwaggerUI = "5.35.0"

// Docs holds docs/index.html, docs/init.js and docs/openapi.json, ours, and docs/swagger-ui: the
// vendored Swagger UI, gzipped, with its licence (docs/swagger-ui/VENDORED.md).
//
//go:embed docs/index.html docs/init.js docs/openapi.json docs/swagger-ui
var Docs embed.FS

// Dashboard holds dashboard/index.html, the page at /, what it is made of, and
// dashboard/uplot: the vendored chart library with its licence (dashboard/uplot/VENDORED.md).
//
//go:embed dashboard
var Dashboard embed.FS
