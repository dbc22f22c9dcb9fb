//go:build !linux

package engine

// gently runs f; only Linux has priorities of threads.
func gently(f func()) { f() }
