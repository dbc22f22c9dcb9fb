package access

import (
	"context"
	"os"
	"time"
)

// watchEvery is how often files are looked at. Polling sees what notifications
// miss: mounted secrets and network folders.
const watchEvery = 2 * time.Second

// A watched file is told by its time and size.
type watched struct {
	path string
	at   time.Time
	size int64
}

// changed reports whether the file is another than at the last call.
func (w *watched) changed() bool {
	if w.path == "" {
		return false
	}
	var at time.Time
	size := int64(-1)
	if info, err := os.Stat(w.path); err == nil {
		at, size = info.ModTime(), info.Size()
	}
	differs := !at.Equal(w.at) || size != w.size
	w.at, w.size = at, size
	return differs
}

// Watch reads the keys anew whenever their file changed, or reload says so, until
// ctx ends. Where they cannot be read the old ones stay in force.
func (g *Guard) Watch(ctx context.Context, reload <-chan struct{}) {
	watch(ctx, reload, g.file.changed, g.reload)
}

func (g *Guard) reload() {
	if g.o.KeysFile == "" {
		return
	}
	keys, err := g.read()
	if err != nil {
		g.o.Log.Error("API keys cannot be read again: the old ones stay in force", "err", err)
		return
	}
	g.keys.Store(g.newTable(keys))
	g.o.Log.Info("API keys were read again", "keys", len(keys))
}

// watch calls do after each change and each reload until ctx ends.
func watch(ctx context.Context, reload <-chan struct{}, changed func() bool, do func()) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-reload:
			changed()
			do()
		case <-tick.C:
			if changed() {
				do()
			}
		}
	}
}
