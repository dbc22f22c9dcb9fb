package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	"lazyolo/internal/config"
)

// noSettings is of commands on which no setting acts.
var noSettings = []string{}

// Settings that act together: on finding models, on preparing them, on what is logged.
func findSettings() []string { return []string{"MODELS_PATH", "ALLOW_MODEL_DIRS"} }
func makeSettings() []string {
	return []string{"ORT_LIBRARY", "CACHE_DIR", "CACHE_MAX_MB", "PREPARE_TIMEOUT"}
}
func logSettings() []string { return []string{"LOG_LEVEL", "LOG_FORMAT"} }

// exitCodes are the same for all commands.
const exitCodes = "exit codes: 0 done, 1 failed, 2 called in a wrong way (an unknown command or flag, a value that is out of range), 130 interrupted\n"

// help answers lazyolo help, lazyolo help COMMAND and lazyolo help settings.
func help(w io.Writer, args []string) error {
	switch {
	case len(args) == 0:
		return printUsage(w)
	case len(args) > 1:
		return &config.UsageError{Setting: "help", Msg: fmt.Sprintf("help explains one command, got %d", len(args)), Hint: "lazyolo help detect"}
	case args[0] == "settings":
		var b bytes.Buffer
		b.WriteString("lazyolo: all settings\n")
		printSettings(&b, nil)
		_, err := b.WriteTo(w)
		return err
	}
	c, err := find(args[0])
	if err != nil {
		return err
	}
	return printHelp(w, c)
}

// printUsage lists the commands.
func printUsage(w io.Writer) error {
	var b bytes.Buffer
	b.WriteString("lazyolo serves any number of YOLO models from one small process.\n\nusage: lazyolo <command> [flags] [arguments]\n\n")
	for _, c := range commands() {
		if c.does != "" {
			fmt.Fprintf(&b, "  %-10s %s\n", c.name, c.does)
		}
	}
	b.WriteString("\nto begin:\n\n  lazyolo detect photo.jpg\n  lazyolo serve\n\n" +
		"lazyolo help COMMAND explains a command, lazyolo help settings lists every setting\n\n" + exitCodes)
	_, err := b.WriteTo(w)
	return err
}

// printHelp explains a command: its flags, examples and the settings that matter to it.
func printHelp(w io.Writer, c command) error {
	var b bytes.Buffer
	usage := "lazyolo " + c.name
	if c.flags != nil || len(c.settings) > 0 || c.settings == nil {
		usage += " [flags]"
	}
	fmt.Fprintf(&b, "lazyolo %s: %s\n\nusage: %s\n", c.name, c.does, strings.TrimSpace(usage+" "+c.args))
	if c.more != "" {
		fmt.Fprintf(&b, "\n%s\n", c.more)
	}
	if c.flags != nil {
		own := flag.NewFlagSet(c.name, flag.ContinueOnError)
		c.flags(own)
		b.WriteString("\nflags:\n")
		own.VisitAll(func(f *flag.Flag) {
			dashes := "--"
			if len(f.Name) == 1 {
				dashes = " -"
			}
			kind, usage := flag.UnquoteUsage(f)
			if !strings.Contains(usage, "default: ") && !slices.Contains([]string{"", "0", "0s", "false"}, f.DefValue) {
				usage += "; default: " + f.DefValue
			}
			fmt.Fprintf(&b, "  %s%-22s %s\n", dashes, strings.TrimSpace(f.Name+" "+kind), usage)
		})
	}
	if len(c.examples) > 0 {
		fmt.Fprintf(&b, "\nexamples:\n  %s\n", strings.Join(c.examples, "\n  "))
	}
	b.WriteString("\n" + exitCodes)
	if c.settings == nil || len(c.settings) > 0 {
		printSettings(&b, c.settings)
	}
	_, err := b.WriteTo(w)
	return err
}

// printSettings lists the settings that act; nil: all.
func printSettings(b *bytes.Buffer, acting []string) {
	b.WriteString("\nsettings, by default < lazyolo.yaml (--config FILE) < environment < flag:\n")
	group := ""
	for _, s := range config.Settings() {
		if acting != nil && !slices.Contains(acting, s.Name) {
			continue
		}
		if s.Group != group {
			group = s.Group
			fmt.Fprintf(b, "\n%s\n", group)
		}
		fmt.Fprintf(b, "  --%s (%s)  %s\n", s.Flag(), s.Name, s.Help)
		if s.Default != "" {
			fmt.Fprintf(b, "      default: %s\n", s.Default)
		}
	}
}
