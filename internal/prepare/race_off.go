//go:build !race

package prepare

// raceEnabled tells whether this binary was built with the race detector.
const raceEnabled = false

// raceMemory is what the race detector takes: it is not built in.
const raceMemory = 0
