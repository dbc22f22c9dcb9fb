//go:build !linux

package main

import (
	"errors"
	"time"
)

var errNotLinux = errors.New("bench reads /proc and the page cache: it runs on Linux only")

func (p *process) processorTime() (time.Duration, error) { return 0, errNotLinux }
func (b *work) warmPrepared() error                      { return errNotLinux }
func (b *work) dropPrepared() error                      { return errNotLinux }
