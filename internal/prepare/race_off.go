//go:build !race

package prepare

// raceEnabled tells whether this binary was built with the race detector.
const raceEnabled = false
