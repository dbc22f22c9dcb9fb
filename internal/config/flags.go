package config

import (
	"errors"
	"flag"
	"io"
	"strings"
)

// parseFlags reads args into Args and returns the settings given as flags,
// by name, and the value of --config.
func (c *Config) parseFlags(fs *flag.FlagSet, table []Setting, args []string) (map[string]given, string, error) {
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	byFlag := make(map[string]Setting, len(table))
	for _, s := range table {
		byFlag[s.Flag()] = s
		fs.String(s.Flag(), "", s.Help)
	}
	file := fs.String("config", "", "settings file")
	for {
		if err := fs.Parse(args); err != nil {
			return nil, "", flagError(err, fs)
		}
		ended := len(args)-fs.NArg() > 0 && args[len(args)-fs.NArg()-1] == "--"
		if ended || fs.NArg() == 0 {
			c.Args = append(c.Args, fs.Args()...)
			break
		}
		c.Args = append(c.Args, fs.Arg(0))
		args = fs.Args()[1:]
	}
	got := make(map[string]given)
	emptyConfig := false
	fs.Visit(func(f *flag.Flag) {
		if s, ok := byFlag[f.Name]; ok {
			got[s.Name] = given{f.Value.String(), Origin{Flag, "--" + f.Name}}
		}
		emptyConfig = emptyConfig || f.Name == "config" && *file == ""
	})
	if emptyConfig {
		return nil, "", &UsageError{"config", "--config names no file", ""}
	}
	return got, *file, nil
}

// flagError turns the flag package's error into one with our hint. Its text is
// the only place where the name of the flag is.
func flagError(err error, fs *flag.FlagSet) error {
	if errors.Is(err, flag.ErrHelp) {
		return err
	}
	command := fs.Name()
	if command == programName {
		command = "serve"
	}
	list := "lazyolo " + command + " --help lists the flags"
	if name, ok := strings.CutPrefix(err.Error(), "flag provided but not defined: -"); ok {
		e := &UsageError{Setting: name, Msg: "unknown flag --" + name, Hint: list}
		var known []string
		fs.VisitAll(func(f *flag.Flag) { known = append(known, f.Name) })
		if near := Nearest(strings.ReplaceAll(strings.ToLower(name), "_", "-"), known); near != "" {
			e.Hint = "did you mean --" + near + "?"
		}
		return e
	}
	if name, ok := strings.CutPrefix(err.Error(), "flag needs an argument: -"); ok {
		return &UsageError{name, "--" + name + " needs a value", "write --" + name + " VALUE"}
	}
	return &UsageError{Setting: "flags", Msg: strings.Replace(err.Error(), " for flag -", " for flag --", 1), Hint: list}
}

// Nearest returns the known name that word was most likely meant to be, or ""
// when none is close.
func Nearest(word string, known []string) string {
	best, least := "", max(2, len(word)/3)+1
	for _, k := range known {
		if d := distance(word, k, least); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance returns the Levenshtein distance of a and b in bytes, or at least
// limit when it is limit or more; words of very different length cost nothing.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diag, row[j+1] = row[j+1], min(diag+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
