package access

import (
	"net"
	"net/http"
	"sync"
	"time"
)

// Conns bounds the connections of one HTTP server. Where there are as many as there
// may be, a new one takes the place of the one that has waited longest for a
// request; one with a request in work is never cut.
type Conns struct {
	most int

	mu   sync.Mutex
	open map[net.Conn]time.Time // since when it waits; zero: it works
}

// NewConns allows at most that many connections, at least one.
func NewConns(most int) *Conns {
	return &Conns{most: max(1, most), open: make(map[net.Conn]time.Time)}
}

// Listener bounds what l accepts. Connections that come while all are at work are
// told to come back, if told is not nil, in those bytes, and closed.
func (c *Conns) Listener(l net.Listener, told []byte) net.Listener {
	return &boundListener{l, c, told}
}

// State is the server's ConnState hook.
func (c *Conns) State(conn net.Conn, s http.ConnState) {
	if t, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = t.NetConn() // below TLS
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch s {
	case http.StateActive, http.StateHijacked:
		if _, ok := c.open[conn]; ok {
			c.open[conn] = time.Time{}
		}
	case http.StateIdle:
		if _, ok := c.open[conn]; ok {
			c.open[conn] = time.Now()
		}
	case http.StateClosed:
		delete(c.open, conn)
	}
}

// admit makes room for conn, or reports that there is none.
func (c *Conns) admit(conn net.Conn) (victim net.Conn, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.open) >= c.most {
		for other, since := range c.open {
			if !since.IsZero() && (victim == nil || since.Before(c.open[victim])) {
				victim = other
			}
		}
		if victim == nil {
			return nil, false
		}
		delete(c.open, victim)
	}
	c.open[conn] = time.Now()
	return victim, true
}

type boundListener struct {
	net.Listener
	conns *Conns
	told  []byte
}

// Accept implements net.Listener.
func (l *boundListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		victim, ok := l.conns.admit(conn)
		if victim != nil {
			_ = victim.Close() // it waited for a request that now comes elsewhere
		}
		if ok {
			return conn, nil
		}
		if l.told != nil { // fits the empty send buffer: does not wait
			_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
			_, _ = conn.Write(l.told)
		}
		_ = conn.Close()
	}
}
