package main

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"lazyolo/internal/machine"
)

// mb is what this program calls a MB.
const mb = 1 << 20

// A memory is what a process and all below it hold, in bytes.
type memory struct{ rss, anon float64 }

func (p *process) memory() (memory, error) { return treeMemory(p.cmd.Process.Pid) }

func treeMemory(pid int) (memory, error) {
	own, err := machine.Process(pid)
	sum := memory{float64(own.RSS), float64(own.Anon)}
	if err != nil {
		return sum, err
	}
	for _, child := range machine.Children(pid) {
		m, err := treeMemory(child)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // it may end meanwhile
			return sum, err
		}
		sum.rss += m.rss
		sum.anon += m.anon
	}
	return sum, nil
}

// watch looks at a process's memory now and after a time in which nobody asks
// anything of it.
func (p *process) watch(ctx context.Context, settle time.Duration, seen func(then, later memory)) error {
	then, err := p.memory()
	if err != nil {
		return err
	}
	if err := wait(ctx, settle); err != nil {
		return err
	}
	later, err := p.memory()
	if err != nil {
		return err
	}
	seen(then, later)
	return nil
}

// wait lets a time pass that is part of what is measured.
func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
