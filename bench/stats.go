package main

import (
	"fmt"
	"math"
	"slices"
)

// A sample is one figure as the rounds measured it, in seconds, bytes or ratios.
type sample []float64

// median is the middle of the rounds; NaN without any.
func (s sample) median() float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(s))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// percentile is the smallest value that p of 100 do not exceed; NaN without any.
func (s sample) percentile(p float64) float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(s))
	return sorted[max(0, int(math.Ceil(p/100*float64(len(s))))-1)]
}

// mean is the average; NaN without any.
func (s sample) mean() float64 {
	sum := 0.0
	for _, v := range s {
		sum += v
	}
	return sum / float64(len(s))
}

// above counts the values above a bound.
func (s sample) above(bound float64) (n float64) {
	for _, v := range s {
		if v > bound {
			n++
		}
	}
	return n
}

// A unit writes a value.
type unit func(v float64) string

func inSeconds(v float64) string { return fmt.Sprintf("%.3f s", v) }
func inMillis(v float64) string  { return fmt.Sprintf("%.1f ms", v*1000) }
func inMB(v float64) string      { return fmt.Sprintf("%.1f MB", v/(1<<20)) }
func inMicros(v float64) string  { return fmt.Sprintf("%.2f us", v*1e6) }
func inKB(v float64) string      { return fmt.Sprintf("%.1f KB", v/(1<<10)) }
func asCount(v float64) string   { return fmt.Sprintf("%.0f", v) }
func perSecond(v float64) string { return fmt.Sprintf("%.2f/s", v) }
func asRatio(v float64) string   { return fmt.Sprintf("%.2fx", v) }

// String writes the median and the range of a sample.
func (s sample) text(in unit) string {
	switch len(s) {
	case 0:
		return "-"
	case 1:
		return in(s[0])
	}
	return fmt.Sprintf("%s (%s to %s)", in(s.median()), in(slices.Min(s)), in(slices.Max(s)))
}
