// Command docs writes docs/en/configuration.md and docs/zh/configuration.md from
// the settings themselves (config.Settings), so that the manual cannot fall
// behind the program. It runs from the repository's root:
//
//	go run ./tools/docs
//
// The Chinese texts stand in zh.txt, in blocks of two lines: a text as it is in
// the program or below, and its translation. A text without a translation, and a
// translation without a text, are errors. The tests in this folder hold the rest
// of the documents to their rules.
package main

import (
	_ "embed"
	"errors"
	"fmt"
	"log"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"lazyolo/internal/config"
)

//go:embed zh.txt
var zh string

// pageName is the generated document, below docs/LANGUAGE.
const pageName = "configuration.md"

func main() {
	log.SetFlags(0)
	if err := write("docs"); err != nil {
		log.Fatal("docs: ", err)
	}
}

// write writes the page in every language below dir.
func write(dir string) error {
	pages, err := render()
	if err != nil {
		return err
	}
	for _, lang := range slices.Sorted(maps.Keys(pages)) {
		if err := os.WriteFile(filepath.Join(dir, lang, pageName), []byte(pages[lang]), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// render returns the page by language.
func render() (map[string]string, error) {
	en := page(func(s string) string { return s })
	d, err := parse(zh)
	if err != nil {
		return nil, err
	}
	used := make(map[string]bool, len(d))
	var errs []error
	translated := page(func(s string) string {
		if _, ok := d[s]; !ok && !used[s] {
			errs = append(errs, fmt.Errorf("zh.txt has no translation of: %s", s))
		}
		used[s] = true
		return d[s]
	})
	for _, s := range slices.Sorted(maps.Keys(d)) {
		if !used[s] {
			errs = append(errs, fmt.Errorf("zh.txt translates what is said nowhere: %s", s))
		}
	}
	return map[string]string{"en": en, "zh": translated}, errors.Join(errs...)
}

// parse reads zh.txt.
func parse(s string) (map[string]string, error) {
	out := make(map[string]string)
	for block := range strings.SplitSeq(strings.TrimSpace(s), "\n\n") {
		text, translation, ok := strings.Cut(block, "\n")
		if !ok || strings.Contains(translation, "\n") {
			return nil, fmt.Errorf("zh.txt: a block has two lines, this has not:\n%s", block)
		}
		if _, twice := out[text]; twice {
			return nil, fmt.Errorf("zh.txt translates twice: %s", text)
		}
		out[text] = translation
	}
	return out, nil
}

const generated = "<!-- Written by: go run ./tools/docs. Do not edit. -->\n"

// intro stands before the tables and notes behind them: a paragraph a text.
// Lines of code begin with four spaces and are the same in every language.
var intro = []string{
	"# Configuration",
	"Every setting has a default, and a value given in the settings file, in the environment or as a flag overrides it, in this order: default, file, environment, flag. `lazyolo serve --help` lists the settings too.",
	"## Names",
	"A setting has one name, spelled three ways. `MAX_BODY_MB` is `MAX_BODY_MB` in the environment, `--max-body-mb` as a flag and `max_body_mb` in the settings file:",
	"    MAX_BODY_MB=16 bin/lazyolo serve\n    bin/lazyolo serve --max-body-mb 16\n    echo 'max_body_mb: 16' > lazyolo.yaml && bin/lazyolo serve",
	"The file is `lazyolo.yaml` in the working folder, if there is one, or the one that `--config` names. It holds one setting a line; a list of paths may also be a YAML list. Relative paths are relative to the working folder, wherever they are written.",
	"An empty environment variable counts as not set. Sizes in MB are 1024 x 1024 bytes. A time is written `90s` or `5m`; a plain number is seconds.",
	"A wrong value, an unknown key in the file and an unknown flag are refused at the start, with exit status 2 and a message that names the value, where it comes from and what is accepted:",
	"    lazyolo: error: PORT=\"99999\" (environment variable PORT) is not a whole number from 1 to 65535 (or --port 0 for any free port)\n    lazyolo: hint: leave it out for the default, 8000",
}

var notes = []string{
	"## While the server runs",
	"On `SIGHUP` the settings file is read again. Of the values in it that changed, these take effect at once: `MODEL_POLL`, `CONF_THRES`, `IOU_THRES`, `LOG_LEVEL`, `MAX_MEMORY_MB`, `KEEP_ALIVE`, `MAX_QUEUE` and `LOAD_TIMEOUT`. The log names these and those that wait for the next start. A file with a mistake in it changes nothing. What the environment or a flag says cannot change, and wins over the file as before. `SIGHUP` also has the server look at the [models folder](models.md#while-the-server-runs).",
	"## Settings that do not act",
	"`MEMORY_CHECK_INTERVAL` is only repeated by the cache statistics.",
	"`INPUT_SIZE` is checked and not used: a static `.onnx` model has its own size, a dynamic one takes 640 as Ultralytics does, a `.pt` file `input_size` from its `labels.yaml`, else what it was trained with. A request may say `imgsz`.",
	"## Settings of the old server",
	"These keep their names and defaults: `MODELS_PATH`, `CONF_THRES`, `IOU_THRES`, `INPUT_SIZE`, `OUTPUT_IMG_BASE_PATH`, `HOST`, `PORT`, `LOG_LEVEL`, `MODEL_VERSION`, `ENABLE_LRU_CACHE`, `MAX_MEMORY_MB` and `MEMORY_CHECK_INTERVAL`. What is new: values are checked, and a wrong one keeps the server from starting.",
}

// page writes the whole page; say translates one text.
func page(say func(string) string) string {
	var b strings.Builder
	b.WriteString(generated)
	prose := func(texts []string) {
		for _, t := range texts {
			b.WriteString("\n")
			switch code, isCode := strings.CutPrefix(t, "    "); {
			case isCode:
				lang := "sh"
				if strings.HasPrefix(code, "lazyolo:") { // what the program says
					lang = "text"
				}
				fmt.Fprintf(&b, "```%s\n%s\n```\n", lang, strings.ReplaceAll(code, "\n    ", "\n"))
			case strings.HasPrefix(t, "#"):
				marks, heading, _ := strings.Cut(t, " ")
				b.WriteString(marks + " " + say(heading) + "\n")
			default:
				b.WriteString(say(t) + "\n")
			}
		}
	}
	prose(intro)
	group := ""
	for _, s := range config.Settings() {
		if s.Group != group {
			group = s.Group
			fmt.Fprintf(&b, "\n## %s\n\n| %s | %s | %s | %s |\n|---|---|---|---|\n",
				say(group), say("setting"), say("default"), say("accepted"), say("what it does"))
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", names(s, say), defaultText(s, say), say(s.Accepts()), say(s.Help))
	}
	prose(notes)
	return b.String()
}

// names is a setting's name, and the older one.
func names(s config.Setting, say func(string) string) string {
	if s.Alias == "" {
		return "`" + s.Name + "`"
	}
	return fmt.Sprintf("`%s` (%s `%s`)", s.Name, say("also"), s.Alias)
}

// defaultText is code where it could be set, and words where it could not.
func defaultText(s config.Setting, say func(string) string) string {
	switch {
	case s.Default == "":
		return say("not set")
	case strings.Contains(s.Default, " "):
		return say(s.Default)
	}
	return "`" + s.Default + "`"
}
