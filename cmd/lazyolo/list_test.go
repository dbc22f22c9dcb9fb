package main

import (
	"strings"
	"testing"
)

// Columns stay aligned with letters that are two columns wide, numbers stand right.
func TestPrintTable(t *testing.T) {
	rows := []row{
		{{"id", 0, true}, {"name", "fire", false}, {"mb", 1.25, true}, {"used", nil, false}},
		{{"id", 10, true}, {"name", "火焰检测", false}, {"mb", 120.0, true}, {"used", "3s ago", false}},
	}
	var b strings.Builder
	if err := printTable(&b, rows); err != nil {
		t.Fatal(err)
	}
	want := "ID  NAME         MB  USED\n" +
		" 0  fire        1.2  -\n" +
		"10  火焰检测  120.0  3s ago\n"
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
	b.Reset()
	if err := printTable(&b, nil); err != nil || b.String() != "no models\n" {
		t.Errorf("%v %q", err, b.String())
	}
}
