package config

import (
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"lazyolo/yolo"
)

const (
	mib   = 1 << 20
	maxMB = 1 << 30 // a pebibyte: far beyond any machine, and no overflow in bytes
	// maxTime keeps a slip of the keyboard from meaning forever.
	maxTime = 24 * time.Hour
)

// A value is one kind of setting, bound to its field of Config.
type value struct {
	kind    string
	accepts string                     // completes "is not …"
	set     func(*Config, string) bool // false: not a valid value, c is spoiled
	get     func(*Config) string       // what set would read again
}

// printable reports whether s can stand in a path, a log line and a JSON answer.
func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

func text(at func(*Config) *string) value {
	return value{"text", "text without control characters",
		func(c *Config, s string) bool {
			*at(c) = s
			return printable(s)
		},
		func(c *Config) string { return *at(c) },
	}
}

func path(at func(*Config) *string) value {
	return value{"path", "a path",
		func(c *Config, s string) bool {
			*at(c) = s
			return s != "" && printable(s)
		},
		func(c *Config) string { return *at(c) },
	}
}

func paths(at func(*Config) *[]string) value {
	sep := string(filepath.ListSeparator)
	return value{"paths", fmt.Sprintf("paths with %q between them", sep),
		func(c *Config, s string) bool {
			*at(c) = nil
			for _, p := range filepath.SplitList(s) {
				if p != "" {
					*at(c) = append(*at(c), p)
				}
			}
			return printable(s)
		},
		func(c *Config) string { return strings.Join(*at(c), sep) },
	}
}

// host takes what net.Listen can be given before ":port": a name or an address.
func host(at func(*Config) *string) value {
	return value{"text", "a host name or an IP address without a port",
		func(c *Config, s string) bool {
			s = strings.TrimSpace(s)
			*at(c) = s
			if _, err := netip.ParseAddr(s); err == nil {
				return true
			}
			return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
				return r != '.' && r != '-' && r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
			})
		},
		func(c *Config) string { return *at(c) },
	}
}

func number(at func(*Config) *float32, lo, hi float64) value {
	return value{"number", fmt.Sprintf("a number from %v to %v", lo, hi),
		func(c *Config, s string) bool {
			f, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
			*at(c) = float32(f)
			return err == nil && f >= lo && f <= hi // false for NaN
		},
		func(c *Config) string { return strconv.FormatFloat(float64(*at(c)), 'g', -1, 32) },
	}
}

func integer[T int | int64](at func(*Config) *T, lo, hi int64) value {
	return value{"number", fmt.Sprintf("a whole number from %d to %d", lo, hi),
		func(c *Config, s string) bool {
			n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
			*at(c) = T(n)
			return err == nil && n >= lo && n <= hi && int64(T(n)) == n
		},
		func(c *Config) string { return strconv.FormatInt(int64(*at(c)), 10) },
	}
}

// megabytes reads MB as the old server counted them, 1024 x 1024 bytes, into a
// field that holds bytes. A field of 0 is a limit that is not set.
func megabytes(at func(*Config) *int64) value {
	return value{"size", fmt.Sprintf("a whole number of MB from 1 to %d", maxMB),
		func(c *Config, s string) bool {
			n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
			if err != nil || n < 1 || n > maxMB {
				return false
			}
			*at(c) = n * mib
			return true
		},
		func(c *Config) string {
			if *at(c) == 0 {
				return ""
			}
			return strconv.FormatInt(*at(c)/mib, 10)
		},
	}
}

// duration takes 90s, 5m and, as plain numbers, seconds.
func duration(at func(*Config) *time.Duration, zero bool) value {
	least := time.Millisecond
	if zero {
		least = 0
	}
	return value{"time", fmt.Sprintf("a time from %v to 24h such as 90s or 5m (a plain number is seconds)", least),
		func(c *Config, s string) bool {
			s = strings.TrimSpace(s)
			d, err := time.ParseDuration(s)
			if f, ferr := strconv.ParseFloat(s, 64); ferr == nil {
				// Clamped first: converting what int64 cannot hold is undefined.
				d, err = time.Duration(min(max(f, -1), 2*maxTime.Seconds())*float64(time.Second)), nil
				if math.IsNaN(f) {
					return false
				}
			}
			*at(c) = d
			return err == nil && d >= least && d <= maxTime
		},
		func(c *Config) string { return at(c).String() },
	}
}

// keepAlive is a time, 0, or -1 for ever.
func keepAlive(at func(*Config) *time.Duration) value {
	return value{"time", yolo.KeepAliveAccepts,
		func(c *Config, s string) (ok bool) {
			*at(c), ok = yolo.ParseKeepAlive(s)
			return ok
		},
		func(c *Config) string {
			if *at(c) < 0 {
				return "-1"
			}
			return at(c).String()
		},
	}
}

// words is a list with commas between its words.
func words(at func(*Config) *[]string) value {
	return value{"list", "names with commas between them",
		func(c *Config, s string) bool {
			*at(c) = nil
			for w := range strings.SplitSeq(s, ",") {
				if w = strings.TrimSpace(w); w == "" || !printable(w) {
					return false
				}
				*at(c) = append(*at(c), w)
			}
			return true
		},
		func(c *Config) string { return strings.Join(*at(c), ",") },
	}
}

// hosts is a list of public hosts, each with a port or without.
func hosts(at func(*Config) *[]string) value {
	v := words(at)
	return value{"list", "host names, each perhaps with :PORT, with commas between them (no *, no http://)",
		func(c *Config, s string) bool {
			if !v.set(c, strings.ToLower(s)) {
				return false
			}
			return !slices.ContainsFunc(*at(c), func(h string) bool { return !publicHost(h) })
		},
		v.get,
	}
}

// publicHost reports whether h is a host name or address with a port or without.
func publicHost(h string) bool {
	if _, err := netip.ParseAddr(h); err == nil {
		return true
	}
	if name, port, err := net.SplitHostPort(h); err == nil {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return false
		}
		h = name
	}
	if _, err := netip.ParseAddr(h); err == nil {
		return true
	}
	return h != "" && !strings.ContainsFunc(h, func(r rune) bool {
		return r != '.' && r != '-' && r != '_' && (r < 'a' || r > 'z') && (r < '0' || r > '9')
	})
}

func choice(at func(*Config) *string, words ...string) value {
	return value{"choice", "one of " + strings.Join(words, ", "),
		func(c *Config, s string) bool {
			*at(c) = strings.ToLower(strings.TrimSpace(s))
			return slices.Contains(words, *at(c))
		},
		func(c *Config) string { return *at(c) },
	}
}

// parseSwitch reads the usual words for yes and no.
func parseSwitch(s string) (on, ok bool) {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "true", "on", "yes", "1":
		return true, true
	case "false", "off", "no", "0":
		return false, true
	}
	return false, false
}

func onOff(at func(*Config) *bool) value {
	return value{"switch", "on or off",
		func(c *Config, s string) (ok bool) {
			*at(c), ok = parseSwitch(s)
			return ok
		},
		func(c *Config) string {
			if *at(c) {
				return "on"
			}
			return "off"
		},
	}
}

// lruCache is a switch that can also be unset. The old server took every word
// but true for false, so an unknown one is no reason to refuse to start.
func lruCache() value {
	return value{"switch", "true or false",
		func(c *Config, s string) bool {
			on, ok := parseSwitch(s)
			if !ok {
				c.Warnings = append(c.Warnings, fmt.Sprintf("ENABLE_LRU_CACHE=%q is neither true nor false: it counts as false, as in the old server", s))
			}
			c.LRUCache = &on
			return true
		},
		func(c *Config) string {
			if c.LRUCache == nil {
				return ""
			}
			return strconv.FormatBool(*c.LRUCache)
		},
	}
}

// level takes Python's names of the levels in any case.
func level() value {
	levels := []struct {
		name  string
		level slog.Level
	}{
		{"DEBUG", slog.LevelDebug}, {"INFO", slog.LevelInfo}, {"WARNING", slog.LevelWarn},
		{"WARN", slog.LevelWarn}, {"ERROR", slog.LevelError}, {"CRITICAL", LevelCritical},
	}
	return value{"choice", "one of DEBUG, INFO, WARNING, WARN, ERROR, CRITICAL",
		func(c *Config, s string) bool {
			for _, l := range levels {
				if strings.EqualFold(strings.TrimSpace(s), l.name) {
					c.LogLevel = l.level
					return true
				}
			}
			return false
		},
		func(c *Config) string {
			for _, l := range levels {
				if l.level == c.LogLevel {
					return l.name
				}
			}
			return c.LogLevel.String()
		},
	}
}
