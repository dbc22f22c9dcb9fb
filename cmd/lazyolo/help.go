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

// noSettings is of commands to which no setting matters.
var noSettings = []string{}

// exitCodes are the same for all commands.
const exitCodes = "exit codes: 0 done, 1 failed, 2 called in a wrong way (an unknown command or flag, a value that is out of range)\n"

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
			fmt.Fprintf(&b, "  %s%-18s %s\n", dashes, f.Name, f.Usage)
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

// printSettings lists the settings of these groups; nil: of all.
func printSettings(b *bytes.Buffer, groups []string) {
	b.WriteString("\nsettings, by default < lazyolo.yaml (--config FILE) < environment < flag:\n")
	group := ""
	for _, s := range config.Settings() {
		if groups != nil && !slices.Contains(groups, s.Group) {
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
