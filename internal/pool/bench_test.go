package pool_test

import (
	"context"
	"log/slog"
	"runtime"
	"testing"

	"lazyolo/internal/ledger"
	"lazyolo/internal/pool"
	"lazyolo/yolo"
)

// BenchmarkAcquire borrows a ready model and gives it back, 16 goroutines at once.
func BenchmarkAcquire(b *testing.B) {
	m := newMachine(nil, 1<<30) // it complains to its test only of a broken budget
	m.load = 0
	y := &yolo.Model{ID: "a"}
	m.costs[y.ID] = pool.Cost{Mapped: 1 << 20, Private: 1 << 20, LoadPeak: 1 << 20, Run: 1 << 20}
	p, err := pool.New(pool.Options{Engine: m, Memory: m, Ledger: ledger.New(m.budget), Log: slog.New(slog.DiscardHandler), KeepAlive: -1})
	if err != nil {
		b.Fatal(err)
	}
	ctx := context.Background()
	defer p.Close(ctx)
	lease, _, err := p.Acquire(ctx, y)
	if err != nil {
		b.Fatal(err)
	}
	lease.Release()
	const goroutines = 16
	b.SetParallelism(max(1, goroutines/runtime.GOMAXPROCS(0)))
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			lease, _, err := p.Acquire(ctx, y)
			if err != nil {
				b.Error(err)
				return
			}
			lease.Release()
		}
	})
}
