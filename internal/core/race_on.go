//go:build race

package core

// raceMemory is what the race detector, with which the tests run, takes beside all else.
const raceMemory = 32 * mib
