//go:build race

package prepare

// raceEnabled tells whether this binary was built with the race detector.
const raceEnabled = true

// raceMemory is what the race detector takes in a child, in bytes, beside all else.
const raceMemory = 40 << 20
