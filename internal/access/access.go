// Package access decides who may call: API keys with scopes and limits, the rule
// that stands in for keys where there are none, the caller's address behind
// trusted proxies, how many connections there may be, and certificates. Its Guard
// stands before every door, HTTP and gRPC; what a call needs is for its door to say.
//
// A key is a long random string, so one SHA-256 hides it at rest and finds it: a
// slow password hash would only be a way to keep the server busy. The table is
// looked up by a digest that is salted anew in each process, and the digests are
// compared in constant time.
package access

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"lazyolo/yolo"
)

// maxKey is beyond any key; a longer one is not even hashed.
const maxKey = 512

// Options configures New.
type Options struct {
	Log      *slog.Logger   // required
	Keys     []string       // as ParseKeys takes them
	KeysFile string         // a file of keys, as ReadKeys takes it; "": none
	Trusted  []netip.Prefix // proxies whose X-Forwarded-For counts
	Limits   Limits         // of keys that name none

	WriteTimeout time.Duration // for a client to take each part of an answer; 0: none
}

// Limits bound what one key may do. Zero means no limit.
type Limits struct {
	Rate       float64 // calls a second, in the long run
	Burst      int     // calls at once; 0: as many as a second's, at least one
	Concurrent int     // calls in work at the same time
}

// A Guard admits calls. Its methods may be used concurrently.
type Guard struct {
	o     Options
	salt  [16]byte
	keys  atomic.Pointer[table]
	wrong tries
	file  watched
}

// A table is the keys in force; it is never changed.
type table struct {
	bySum map[[32]byte]*holder
}

// A holder is a key and what its calls use up.
type holder struct {
	Key
	rate bucket
	runs atomic.Int64
}

// New makes a guard. The error says which key cannot be used, and never shows one.
func New(o Options) (*Guard, error) {
	if o.Log == nil {
		return nil, errors.New("access: New needs Options.Log")
	}
	g := &Guard{o: o, file: watched{path: o.KeysFile}}
	rand.Read(g.salt[:]) // never fails
	g.file.changed()
	keys, err := g.read()
	if err != nil {
		return nil, err
	}
	g.keys.Store(g.newTable(keys))
	return g, nil
}

// read reads all keys anew.
func (g *Guard) read() ([]Key, error) {
	keys, err := ParseKeys(g.o.Keys)
	if err != nil || g.o.KeysFile == "" {
		return keys, err
	}
	more, warning, err := ReadKeys(g.o.KeysFile)
	if err != nil {
		return nil, err
	}
	if warning != "" {
		g.o.Log.Warn(warning)
	}
	keys = append(keys, more...)
	return keys, distinct(keys)
}

// newTable makes the keys ready for calls. One that was in force keeps what it has used up.
func (g *Guard) newTable(keys []Key) *table {
	t := &table{bySum: make(map[[32]byte]*holder, len(keys))}
	before := g.keys.Load()
	for _, k := range keys {
		k.Limits = k.Limits.or(g.o.Limits)
		sum := g.sum(k.Digest)
		h := &holder{Key: k}
		if before != nil {
			if old := before.bySum[sum]; old != nil && old.Limits == k.Limits && old.sameAs(k) {
				h = old // its calls in work go on counting
			}
		}
		t.bySum[sum] = h
	}
	return t
}

// or takes what is not set from the defaults.
func (l Limits) or(d Limits) Limits {
	if l.Rate == 0 {
		l.Rate, l.Burst = d.Rate, max(l.Burst, d.Burst)
	}
	if l.Concurrent == 0 {
		l.Concurrent = d.Concurrent
	}
	if l.Rate > 0 && l.Burst == 0 {
		l.Burst = max(1, int(l.Rate))
	}
	return l
}

// sum is where a digest stands in the table. Nobody outside knows the salt, so how
// long a search takes tells nothing of the digests in it.
func (g *Guard) sum(digest [32]byte) [32]byte {
	return sha256.Sum256(append(g.salt[:len(g.salt):len(g.salt)], digest[:]...))
}

// Keyed reports whether there are keys, so that calls need one.
func (g *Guard) Keyed() bool { return len(g.keys.Load().bySum) > 0 }

// Admit decides on one call. Peer is the connection's "host:port"; header looks up
// header or metadata values by lower-case name, the host the call was meant for
// being ":authority". Done ends the call (concurrency limit) and is never nil with
// a nil error; err is a *yolo.Error: Denied (no or unknown or expired key),
// Forbidden (scope missing, or without keys: not a direct local caller),
// Overloaded with Retry.
func (g *Guard) Admit(_ context.Context, peer string, header func(name string) []string, scope yolo.Scope) (done func(), err error) {
	if scope == yolo.Open {
		return nothing, nil
	}
	if !g.Keyed() {
		if scope == yolo.Admin {
			if err := local(peer, header); err != nil {
				return nil, err
			}
		}
		return nothing, nil
	}
	key, err := offered(header)
	if err != nil {
		return nil, err
	}
	return g.admitKey(peer, header, key, scope)
}

func nothing() {}

// admitKey decides on a call with a key. That it is known is found out first: an
// address from which wrong keys come does not keep out who has a right one.
func (g *Guard) admitKey(peer string, header func(string) []string, key string, scope yolo.Scope) (func(), error) {
	digest := sha256.Sum256([]byte(key))
	h := g.keys.Load().bySum[g.sum(digest)]
	if h == nil || subtle.ConstantTimeCompare(h.Digest[:], digest[:]) != 1 {
		return nil, g.wrongKey(client(peer, header, g.o.Trusted))
	}
	if !h.Expires.IsZero() && !time.Now().Before(h.Expires) {
		return nil, yolo.Errorf(yolo.Denied, "the API key %s has expired", h.Name)
	}
	if !h.may(scope) {
		return nil, yolo.Errorf(yolo.Forbidden, "the API key %s lacks the scope %s", h.Name, scope)
	}
	if n := int64(h.Limits.Concurrent); n > 0 && h.runs.Add(1) > n {
		h.runs.Add(-1)
		e := yolo.Errorf(yolo.Overloaded, "the API key %s has %d calls in work, as many as it may", h.Name, n)
		e.Retry = time.Second
		return nil, e
	}
	done := nothing
	if h.Limits.Concurrent > 0 {
		var once atomic.Bool
		done = func() {
			if !once.Swap(true) {
				h.runs.Add(-1)
			}
		}
	}
	if wait := h.rate.take(time.Now(), h.Limits.Rate, float64(h.Limits.Burst)); wait > 0 {
		done()
		e := yolo.Errorf(yolo.Overloaded, "the API key %s may make %g calls a second", h.Name, h.Limits.Rate)
		e.Retry = wait
		return nil, e
	}
	return done, nil
}

// wrongKey refuses a key that is not known.
func (g *Guard) wrongKey(from netip.Addr) error {
	wait, tell := g.wrong.note(time.Now(), from)
	if tell {
		g.o.Log.Warn("a call with an unknown API key was refused", "client", from.String())
	}
	if wait > 0 {
		e := yolo.Errorf(yolo.Overloaded, "too many calls with an unknown API key from this address")
		e.Retry = wait
		return e
	}
	return yolo.Errorf(yolo.Denied, "the API key is not known")
}

// offered is the key that a call brings, once and well formed.
func offered(header func(string) []string) (string, error) {
	bearer, named := header("authorization"), header("x-api-key")
	if len(bearer) > 1 || len(named) > 1 {
		return "", yolo.Errorf(yolo.Denied, "the call brings several API keys")
	}
	key := ""
	if len(named) == 1 {
		key = strings.TrimSpace(named[0])
	}
	if len(bearer) == 1 {
		scheme, token, _ := strings.Cut(strings.TrimSpace(bearer[0]), " ")
		if token = strings.TrimSpace(token); strings.EqualFold(scheme, "Bearer") {
			if key != "" && token != key {
				return "", yolo.Errorf(yolo.Denied, "Authorization and X-API-Key bring different API keys")
			}
			key = token
		} else if key == "" {
			return "", yolo.Errorf(yolo.Denied, "Authorization is not of the form Bearer KEY")
		}
	}
	switch {
	case key == "":
		return "", yolo.Errorf(yolo.Denied, "an API key is needed")
	case len(key) > maxKey:
		return "", yolo.Errorf(yolo.Denied, "the API key is longer than %d characters", maxKey)
	}
	return key, nil
}
