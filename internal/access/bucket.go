package access

import (
	"net/netip"
	"sync"
	"time"
)

// A bucket is a token bucket; the zero one is full.
type bucket struct {
	mu   sync.Mutex
	used float64   // tokens taken that have not come back
	last time.Time // when used was right
}

// take takes one token of burst, which come back at rate a second, or says how
// long until there is one. A rate of 0 is no limit.
func (b *bucket) take(now time.Time, rate, burst float64) (wait time.Duration) {
	if rate <= 0 {
		return 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used = max(0, b.used-max(0, now.Sub(b.last).Seconds())*rate)
	b.last = now
	if over := b.used + 1 - burst; over > 1e-9 {
		return time.Duration(over / rate * float64(time.Second))
	}
	b.used++
	return 0
}

// What wrong keys an address may offer, and how much is kept and said of it.
const (
	wrongRate  = 1.0 // a second
	wrongBurst = 20
	maxWrong   = 4096 // addresses
	tellRate   = 0.2  // log lines a second
	tellBurst  = 5
)

// tries counts wrong keys by address. It refuses only what is wrong already.
type tries struct {
	mu   sync.Mutex
	by   map[netip.Prefix]*bucket
	said bucket // log lines
}

// note counts a wrong key: how long the address should wait, if it has had too
// many, and whether that is worth a line in the log.
func (t *tries) note(now time.Time, from netip.Addr) (wait time.Duration, tell bool) {
	tell = t.said.take(now, tellRate, tellBurst) == 0
	bits := 32
	if from.Is6() {
		bits = 64 // one customer's
	}
	net, _ := from.Prefix(bits) // of the zero Addr the zero Prefix
	t.mu.Lock()
	b := t.by[net]
	if b == nil {
		if t.by == nil || len(t.by) >= maxWrong {
			t.by = make(map[netip.Prefix]*bucket) // forgets: nobody loses by it
		}
		b = new(bucket)
		t.by[net] = b
	}
	t.mu.Unlock()
	return b.take(now, wrongRate, wrongBurst), tell
}
