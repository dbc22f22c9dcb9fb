package grpcapi

import (
	"net"
	"sync"
)

// conns are the open connections, no more than slots has room for: others wait until one
// ends.
type conns struct {
	slots chan struct{}

	mu   sync.Mutex
	open map[string]*counted // by the caller's "host:port"
}

func newConns(most int) *conns {
	return &conns{slots: make(chan struct{}, most), open: make(map[string]*counted)}
}

// cut ends the connection that has this caller.
func (c *conns) cut(address string) {
	c.mu.Lock()
	conn := c.open[address]
	c.mu.Unlock()
	if conn != nil {
		_ = conn.Close() // its calls end, as when the client leaves
	}
}

// listen accepts the connections of l.
func (c *conns) listen(l net.Listener) net.Listener {
	return &limited{Listener: l, conns: c, closed: make(chan struct{})}
}

type limited struct {
	net.Listener
	conns  *conns
	once   sync.Once
	closed chan struct{}
}

// Accept implements net.Listener.
func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.conns.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.conns.slots
		return nil, err
	}
	c := &counted{Conn: conn, conns: l.conns}
	l.conns.mu.Lock()
	defer l.conns.mu.Unlock()
	l.conns.open[conn.RemoteAddr().String()] = c
	return c, nil
}

// Close implements net.Listener.
func (l *limited) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// A counted connection leaves its place when it is closed.
type counted struct {
	net.Conn
	conns *conns
	once  sync.Once
}

// Close implements net.Conn.
func (c *counted) Close() error {
	c.once.Do(func() {
		c.conns.mu.Lock()
		if address := c.RemoteAddr().String(); c.conns.open[address] == c { // else the caller's port is in use again
			delete(c.conns.open, address)
		}
		c.conns.mu.Unlock()
		<-c.conns.slots
	})
	return c.Conn.Close()
}
