//go:build race

package main

// raceMemory is what the race detector, with which the tests run, takes beside all else.
const raceMemory = 32 * mib
