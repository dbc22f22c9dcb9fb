package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A figure is one row: a measured number that has to stay at or below another, or above.
type figure struct {
	what     string
	in       unit
	measured sample
	spread   bool     // show the range beside the median
	most     float64  // what must be reached; 0: nothing is asked
	least    float64  // the same from below; 0: nothing is asked
	none     bool     // it must be 0
	skipped  string   // why there is no number; "": there is one
	original string   // what the old Python server took, as once recorded
	peers    []sample // as measured now, in the order of the report's peers
}

// A report writes Markdown as the tables come in.
type report struct {
	out   io.Writer
	peers []contender
	figures,
	missed int
}

// head says what was measured, with what and where.
func (r *report) head(b *work) {
	fmt.Fprintf(r.out, "# Measured\n\n%s; ONNX Runtime %s; lazyolo %s; %s.\n", machineLine(), b.library.Version, b.version,
		time.Now().UTC().Format("2006-01-02 15:04 UTC"))
	fmt.Fprintf(r.out, "Medians, with the range of the rounds in brackets; MB are 2^20 bytes; load average at the start %s.\n", loadAverage())
	fmt.Fprint(r.out, "\"Then\" is the old Python server as once recorded on a like machine; peers are measured in this run by bench/peers/server.py.\n")
	for _, note := range b.notes {
		fmt.Fprintf(r.out, "\n> %s\n", note)
	}
}

// section begins a table.
func (r *report) section(title, method string) {
	fmt.Fprintf(r.out, "\n## %s\n\n%s\n\n", title, method)
}

// table writes the rows of a section.
func (r *report) table(rows []figure) {
	columns := []string{"figure", "measured", "must reach", ""}
	compared := slices.ContainsFunc(rows, func(f figure) bool { return f.original != "" || len(f.peers) > 0 })
	if compared {
		columns = append(columns, "then")
		for _, p := range r.peers {
			columns = append(columns, p.name)
		}
	}
	fmt.Fprintf(r.out, "| %s |\n|%s\n", strings.Join(columns, " | "), strings.Repeat("---|", len(columns)))
	for _, f := range rows {
		fmt.Fprintf(r.out, "| %s |\n", strings.Join(r.cells(f)[:len(columns)], " | "))
	}
}

func (r *report) cells(f figure) []string {
	got, target, verdict := f.in(f.measured.median()), "", ""
	if f.spread {
		got = f.measured.text(f.in)
	}
	v := f.measured.median()
	ok := true
	switch {
	case f.skipped != "":
		got = "skipped: " + f.skipped
	case f.most > 0:
		target, ok = "<= "+f.in(f.most), v <= f.most
	case f.least > 0:
		target, ok = ">= "+f.in(f.least), v >= f.least
	case f.none:
		target, ok = f.in(0), v == 0
	}
	if target != "" { // NaN reaches nothing
		r.figures++
		verdict = "pass"
		if !ok {
			r.missed++
			verdict = "**MISSED**"
		}
	}
	cells := []string{f.what, got, target, verdict, f.original}
	for i := range r.peers {
		cell := ""
		if i < len(f.peers) && len(f.peers[i]) > 0 {
			cell = f.in(f.peers[i].median())
		}
		cells = append(cells, cell)
	}
	return cells
}

func (r *report) foot(took time.Duration) {
	fmt.Fprintf(r.out, "\n%d of %d figures reach what they must; measured in %v, load average at the end %s.\n",
		r.figures-r.missed, r.figures, took.Round(time.Second), loadAverage())
}

// machineLine names processor, cores and kernel.
func machineLine() string {
	model := runtime.GOARCH
	if f, err := os.Open("/proc/cpuinfo"); err == nil {
		for lines := bufio.NewScanner(f); lines.Scan(); {
			if key, value, _ := strings.Cut(lines.Text(), ":"); strings.TrimSpace(key) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
		_ = f.Close()
	}
	var u unix.Utsname
	kernel := runtime.GOOS
	if unix.Uname(&u) == nil {
		kernel += " " + unix.ByteSliceToString(u.Release[:])
	}
	return fmt.Sprintf("%s, %d cores; %s", model, runtime.NumCPU(), kernel)
}

// loadAverage is what else ran, over one, five and fifteen minutes.
func loadAverage() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(b))[:3], " ")
}
