// Package e2e meets lazyolo as its users do: each test starts the real binary,
// built with the race detector, and talks to it over HTTP, signals and the
// file system. It holds tests only.
//
// A test that needs ONNX Runtime is skipped where the library is missing, and
// one that needs the team's ../shared where that is; REQUIRE_ORT=1 and
// REQUIRE_SHARED=1 turn those skips into failures.
package e2e
