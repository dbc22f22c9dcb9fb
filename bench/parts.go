package main

import (
	"context"
	"fmt"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"lazyolo/internal/imaging"
)

// partsTable measures pieces of a request by themselves.
func partsTable(ctx context.Context, out *report, b *work) error {
	progress("parts of a request")
	single, all := fillTimes(1), fillTimes(runtime.NumCPU())
	rows := []figure{
		{what: "letterbox and normalise, 1080x1440 to 640, one core", in: inMillis, measured: single, most: 0.0035, spread: true},
		{what: "the same, all cores", in: inMillis, measured: all, most: 0.002, spread: true},
	}
	head := figure{what: "head and NMS, 8400 anchors x 80 classes, one core", in: inMillis, most: 0.001, spread: true}
	if lines, err := goBench(ctx, "./internal/detect", "BenchmarkDetections"); err != nil {
		head.skipped, head.most = err.Error(), 0
	} else {
		head.measured = column(lines, "ns/op", 1e-9)
	}
	rows = append(rows, head)
	lease := []figure{
		{what: "Acquire and Release of a ready model, 16 goroutines", in: inMicros, most: 1e-6, spread: true},
		{what: "the same, allocations (the lease is one)", in: asCount, most: 1},
	}
	if lines, err := goBench(ctx, "./internal/pool", "BenchmarkAcquire"); err != nil {
		lease[0].skipped, lease[0].most = err.Error(), 0
		lease[1].skipped, lease[1].most = err.Error(), 0
	} else {
		lease[0].measured, lease[1].measured = column(lines, "ns/op", 1e-9), column(lines, "allocs/op", 1)
	}
	rows = append(rows, lease...)
	row := figure{what: "allocated by a warm JPEG request, but for net/http", in: inKB}
	if row.skipped = b.needs(); row.skipped == "" {
		bytes, err := b.allocations(ctx)
		if err != nil {
			return err
		}
		row.measured, row.most = sample{bytes}, 64<<10
	}
	out.section("Parts", "Letterbox: in this program, medians of rounds of 50. Head and Acquire: `go test -bench`, 5 rounds (the head reads 200 candidates over the threshold). "+
		"Allocated: bytes (runtime.MemStats) of 200 requests through the server's own HTTP handler, detector and pool in this program, 810x1080 JPEG.")
	out.table(append(rows, row))
	return nil
}

// fillTimes fits a picture in rounds, with so many cores.
func fillTimes(cores int) sample {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(cores))
	img := &imaging.Image{Width: 1080, Height: 1440, Pix: make([]byte, 3*1080*1440)}
	for i := range img.Pix {
		img.Pix[i] = byte(i * 7)
	}
	fit := imaging.Letterbox(img.Width, img.Height, 640, 640)
	dst := make([]float32, 3*640*640)
	var rounds sample
	for range 5 {
		var each sample
		for range 50 {
			began := time.Now()
			fit.Fill(dst, img, 0)
			each = append(each, time.Since(began).Seconds())
		}
		rounds = append(rounds, each.median())
	}
	return rounds
}

// goBench runs a benchmark of a package and returns its lines.
func goBench(ctx context.Context, dir, name string) ([]string, error) {
	args := []string{"test", "-run", "^$", "-bench", "^" + name + "$", "-benchtime", "0.5s", "-count", "5", "-benchmem"}
	if name == "BenchmarkDetections" {
		args = append(args, "-cpu", "1")
	}
	text, err := exec.CommandContext(ctx, "go", append(args, dir)...).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("go test -bench of %s: %w", dir, err)
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, name) {
			lines = append(lines, line)
		}
	}
	if len(lines) == 0 {
		return nil, fmt.Errorf("%s has no %s", dir, name)
	}
	return lines, nil
}

// column reads the numbers that stand before a unit.
func column(lines []string, unit string, scale float64) sample {
	var s sample
	for _, line := range lines {
		f := strings.Fields(line)
		for i := 1; i < len(f); i++ {
			if v, err := strconv.ParseFloat(f[i-1], 64); err == nil && f[i] == unit {
				s = append(s, v*scale)
			}
		}
	}
	return s
}
