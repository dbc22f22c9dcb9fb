package pool_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"lazyolo/internal/pool"
	"lazyolo/internal/pool/pooltest"
	"lazyolo/yolo"
)

// TestTheFakeIsLikeTheEngine runs the checks that internal/engine passes: what the
// pool's tests show of the fake holds for the real one.
func TestTheFakeIsLikeTheEngine(t *testing.T) {
	var m *machine // of the check that runs
	pooltest.Run(t, pooltest.Options{
		New: func(t *testing.T) (pool.Engine, pool.Memory) {
			m = newMachine(t, 0)
			m.total, m.coolsBeside = 50, true
			m.slow, m.run = time.Millisecond, 10*time.Millisecond // so that things happen beside each other
			m.costs["0"], m.costs["1"], m.costs["broken"] = cost(100, 50), cost(60, 90), cost(10, 10)
			m.childOf = map[string]int64{"0": 150, "1": 200, "broken": 20}
			m.fail = func(id string, _ int) error {
				if id == "broken" {
					return errors.New("broken")
				}
				return nil
			}
			return m, m
		},
		Model:  func(_ *testing.T, i int) *yolo.Model { return model(fmt.Sprint(i)) },
		Broken: func(*testing.T) *yolo.Model { return model("broken") },
		Forget: func(_ *testing.T, y *yolo.Model) { m.forget(y.ID) },
		Wrap:   synctest.Test,
	})
}
