package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// real is a number of double precision.
func real(at func(*Config) *float64, lo, hi float64) value {
	return value{"number", fmt.Sprintf("a number from %v to %.0f", lo, hi),
		func(c *Config, s string) bool {
			f, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
			*at(c) = f
			return err == nil && f >= lo && f <= hi // false for NaN
		},
		func(c *Config) string { return strconv.FormatFloat(*at(c), 'g', -1, 64) },
	}
}

// secrets are API keys. One in plain is hashed at once: neither the Config nor a
// message has it.
func secrets(at func(*Config) *[]string) value {
	return value{"secrets", "keys with commas between them, each name:scopes:KEY (16 to 512 characters) or name:scopes:sha256:DIGEST, with + between scopes",
		func(c *Config, s string) bool {
			*at(c) = nil
			for one := range strings.SplitSeq(s, ",") {
				name, rest, _ := strings.Cut(strings.TrimSpace(one), ":")
				scopes, key, ok := strings.Cut(rest, ":")
				if !ok || name == "" || scopes == "" || !printable(name+scopes) {
					return false
				}
				digest, hashed := strings.CutPrefix(key, "sha256:")
				raw, err := hex.DecodeString(digest)
				isDigest := err == nil && len(raw) == sha256.Size
				switch {
				case hashed != isDigest: // 64 digits alone may be meant either way
					return false
				case !hashed && (len(key) < 16 || len(key) > 512 || strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' })):
					return false
				case !hashed:
					sum := sha256.Sum256([]byte(key))
					digest = hex.EncodeToString(sum[:])
				}
				*at(c) = append(*at(c), name+":"+scopes+":sha256:"+strings.ToLower(digest))
			}
			return true
		},
		func(c *Config) string { return strings.Join(*at(c), ",") },
	}
}

// networks are addresses and CIDR networks.
func networks(at func(*Config) *[]string) value {
	return value{"networks", "addresses and networks such as 10.0.0.0/8 with commas between them",
		func(c *Config, s string) bool {
			*at(c) = nil
			for w := range strings.SplitSeq(s, ",") {
				w = strings.TrimSpace(w)
				p, err := netip.ParsePrefix(w)
				if a, aerr := netip.ParseAddr(w); aerr == nil && a.Zone() == "" {
					p, err = netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), nil
				}
				if err != nil {
					return false
				}
				*at(c) = append(*at(c), p.Masked().String())
			}
			return true
		},
		func(c *Config) string { return strings.Join(*at(c), ",") },
	}
}

// origins are "*", "none", or a list of origins.
func origins(at func(*Config) *[]string) value {
	return value{"origins", "*, none, or origins such as https://example.com with commas between them",
		func(c *Config, s string) bool {
			*at(c) = nil
			switch s = strings.TrimSpace(s); s {
			case "none":
				return true
			case "*":
				*at(c) = []string{"*"}
				return true
			}
			for w := range strings.SplitSeq(s, ",") {
				w = strings.TrimSpace(w)
				u, err := url.Parse(w)
				if err != nil || u.Host == "" || u.Scheme+"://"+u.Host != w || !printable(w) {
					return false
				}
				*at(c) = append(*at(c), w)
			}
			return true
		},
		func(c *Config) string {
			if len(*at(c)) == 0 {
				return "none"
			}
			return strings.Join(*at(c), ",")
		},
	}
}

// address is what net.Listen takes.
func address(at func(*Config) *string) value {
	return value{"address", "an address and a port such as 127.0.0.1:9000",
		func(c *Config, s string) bool {
			s = strings.TrimSpace(s)
			*at(c) = s
			_, port, err := net.SplitHostPort(s)
			n, perr := strconv.ParseUint(port, 10, 16)
			return err == nil && perr == nil && n <= 65535 && printable(s)
		},
		func(c *Config) string { return *at(c) },
	}
}
