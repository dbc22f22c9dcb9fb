package main

import (
	"context"
	"os"

	"lazyolo/internal/config"
	"lazyolo/internal/core"
	"lazyolo/internal/pool"
)

// A reload is what a part does at SIGHUP. now are the settings as they are by then, or
// were where the file cannot be read. What goes wrong it tells itself.
type reload func(now *config.Config)

// reloads are what SIGHUP does, in order.
func (s *server) reloads() []reload {
	return []reload{s.applySettings, s.lookAtModels, s.lookAtAccess}
}

// watchReloads does it at each signal, until ctx ends.
func (s *server) watchReloads(ctx context.Context, signals <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-signals:
		}
		now, err := s.now.Load().Again()
		if err == nil {
			err = core.Enough(core.Budget(now), bodyShare(s.c, s.ledger.Budget()))
		}
		if err != nil {
			s.log.Error("SIGHUP: the settings stay as they are", "err", err)
			now = s.now.Load()
		}
		for _, f := range s.reloads() {
			f(now)
		}
	}
}

// applySettings puts those settings in force that may change while the server runs, and
// names the others.
func (s *server) applySettings(now *config.Config) {
	changed := now.Changed(s.now.Load())
	s.now.Store(now)
	s.level.Set(now.LogLevel)
	for _, setting := range changed {
		if setting.Live {
			s.log.Info("SIGHUP: setting changed", "setting", setting.Name, "value", now.Value(setting.Name))
		} else {
			s.log.Warn("SIGHUP: this setting takes effect at the next start", "setting", setting.Name, "value", now.Value(setting.Name))
		}
	}
	if len(changed) == 0 {
		s.log.Info("SIGHUP: no setting changed")
	}
	s.detector.Thresholds(float64(now.ConfThres), float64(now.IoUThres))
	s.pool.Limit(pool.Limits{MaxQueue: now.MaxQueue, LoadTimeout: now.LoadTimeout, KeepAlive: now.KeepAlive})
	s.followLimit()
	select {
	case <-s.pace: // one that was not taken yet
	default:
	}
	s.pace <- now.ModelPoll
}

// lookAtModels has the models folder looked at now.
func (s *server) lookAtModels(*config.Config) {
	select {
	case s.ask <- struct{}{}:
	default: // it is asked already
	}
}
