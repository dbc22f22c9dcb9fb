package imaging

import (
	"runtime"
	"sync"
)

// parallelPixels is the amount of work (input and picture pixels) one goroutine
// should have at least; below it the switch costs more than it saves.
const parallelPixels = 128 << 10

// bands returns how many goroutines that much work is worth, at most cores; 0: as
// many as there are.
func bands(pixels, cores int) int {
	if cores == 0 {
		cores = runtime.GOMAXPROCS(0)
	}
	return max(1, min(cores, pixels/parallelPixels))
}

// inBands calls do for n bands that together are [0, rows), the last one in the
// calling goroutine, and returns when all are done. A panic in any of them becomes
// the caller's, whose recover it would otherwise pass by on its way to ending the
// process.
func inBands(rows, n int, do func(from, to int)) {
	panics := make(chan any, n)
	band := func(i int) {
		defer func() {
			if p := recover(); p != nil {
				panics <- p
			}
		}()
		do(rows*i/n, rows*(i+1)/n)
	}
	var wg sync.WaitGroup
	for i := range n - 1 {
		wg.Go(func() { band(i) })
	}
	band(n - 1)
	wg.Wait()
	select {
	case p := <-panics:
		panic(p)
	default:
	}
}
