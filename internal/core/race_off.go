//go:build !race

package core

// raceMemory is what the race detector takes: it is not built in.
const raceMemory = 0
