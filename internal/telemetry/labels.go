package telemetry

import (
	"strings"
	"sync"

	"lazyolo/yolo"
)

// The bounds of label sets.
const (
	maxModels = 200
	maxRoutes = 200
	maxCauses = 24
	other     = "other"
)

// A labels is a set of label values that grows to a bound; what comes later is other.
type labels struct {
	most int

	mu   sync.RWMutex
	seen map[string]string
}

func newLabels(most int) *labels { return &labels{most: most, seen: make(map[string]string)} }

// of is s as a label.
func (l *labels) of(s string) string {
	l.mu.RLock()
	v, ok := l.seen[s]
	full := len(l.seen) >= l.most
	l.mu.RUnlock()
	switch {
	case ok:
		return v
	case full:
		return other
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.seen) >= l.most {
		return other
	}
	v = strings.ToValidUTF8(s, "?") // a folder may have any name
	l.seen[s] = v
	return v
}

// folder is the folder of a model: both heads of a checkpoint share it.
func folder(m *yolo.Model) string {
	id, _ := m.Folder()
	return id
}

// method is an HTTP method as a label.
func method(s string) string {
	switch s {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS":
		return s
	}
	return other
}

// class is a status as a label: the class of an HTTP status, or the name of a gRPC code.
func class(code string) string {
	if len(code) == 3 && code[0] >= '1' && code[0] <= '5' {
		return code[:1] + "xx"
	}
	return code
}

// broken reports whether a status means that the server, not its client, is at fault.
func broken(code string) bool {
	switch code {
	case "Unknown", "DeadlineExceeded", "Unimplemented", "Internal", "Unavailable", "DataLoss", aborted:
		return true
	}
	return len(code) == 3 && code[0] == '5'
}
