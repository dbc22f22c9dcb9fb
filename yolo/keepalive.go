package yolo

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// KeepAliveForever is the keep-alive of a model that is not closed for being
// unused. Every negative one means it.
const KeepAliveForever time.Duration = -1

// maxKeepAlive keeps a slip of the keyboard from meaning forever.
const maxKeepAlive = 24 * time.Hour

// KeepAliveAccepts says in words what ParseKeepAlive takes.
const KeepAliveAccepts = "a time from 0s to 24h such as 90s or 5m (a plain number is seconds), or -1 for ever"

// ParseKeepAlive reads a keep-alive as settings, labels.yaml and requests spell
// it: 10m, 90s, plain seconds, 0 for at once, -1 for ever.
func ParseKeepAlive(s string) (time.Duration, bool) {
	s = strings.TrimSpace(s)
	if s == "-1" {
		return KeepAliveForever, true
	}
	d, err := time.ParseDuration(s)
	if f, ferr := strconv.ParseFloat(s, 64); ferr == nil {
		if math.IsNaN(f) {
			return 0, false
		}
		// Clamped first: converting what int64 cannot hold is undefined.
		d, err = time.Duration(min(max(f, -1), 2*maxKeepAlive.Seconds())*float64(time.Second)), nil
	}
	return d, err == nil && d >= 0 && d <= maxKeepAlive
}
