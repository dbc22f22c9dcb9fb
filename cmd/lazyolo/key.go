package main

import (
	"context"
	"flag"
	"fmt"

	"lazyolo/internal/access"
	"lazyolo/internal/config"
)

// keyCommand makes the key command with its flag.
func keyCommand() command {
	scopes := ""
	return command{
		name: "key", args: "NAME", does: "make an API key and its line for API_KEYS_FILE",
		more:     "The key is printed to standard error, once; the line, which does not tell it, to standard output.",
		examples: []string{"lazyolo key camera-1 >> keys", "lazyolo key operator --scopes read,infer,admin"},
		settings: noSettings,
		flags: func(fs *flag.FlagSet) {
			fs.StringVar(&scopes, "scopes", "read,infer", "what it may do: some of read, infer and admin")
		},
		run: func(_ context.Context, c *config.Config, s sys) error {
			const hint = "lazyolo key NAME --scopes read,infer"
			if len(c.Args) != 1 {
				return &config.UsageError{Setting: "key", Msg: fmt.Sprintf("key takes one name, got %d", len(c.Args)), Hint: hint}
			}
			secret, k, err := access.NewKey(c.Args[0], scopes)
			if err != nil {
				return &config.UsageError{Setting: "key", Msg: err.Error(), Hint: hint}
			}
			// The line alone on standard output can be appended to the file.
			fmt.Fprintf(s.stderr, "The key, shown only now:\n\n  %s\n\nThe line for API_KEYS_FILE (mode 0600):\n\n", secret)
			_, err = fmt.Fprintln(s.stdout, k.Line())
			return err
		},
	}
}
