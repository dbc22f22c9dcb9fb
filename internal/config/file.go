package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

// defaultFile is read where it exists; a file that --config names must exist.
const defaultFile = "lazyolo.yaml"

// maxFile is beyond any file of settings, and far below what costs memory.
const maxFile = 1 << 20

// loadFile reads the settings file and returns its values by setting name. It
// leaves File empty when there is none.
func (c *Config) loadFile(table []Setting, name string, readFile func(string) ([]byte, error)) (map[string]given, error) {
	wanted := name != ""
	if !wanted {
		name = defaultFile
	}
	data, err := readFile(name)
	if errors.Is(err, fs.ErrNotExist) && !wanted {
		return nil, nil
	}
	if err != nil {
		return nil, &UsageError{"config", fmt.Sprintf("read settings file: %v", err), "--config names the file to read"}
	}
	got, err := parseFile(table, filepath.Base(name), data)
	if err != nil {
		return nil, err
	}
	c.File = name
	return got, nil
}

// parseFile reads the settings in data; name is the file's, for messages.
func parseFile(table []Setting, name string, data []byte) (map[string]given, error) {
	root, err := parseYAML(name, data)
	if err != nil || root == nil {
		return nil, err
	}
	if root.Kind != yaml.MappingNode {
		return nil, &UsageError{"config", name + " does not hold settings", "write one setting a line, such as port: 8000"}
	}
	byKey := make(map[string]Setting, len(table))
	known := make([]string, 0, len(table))
	for _, s := range table {
		byKey[s.Key()] = s
		known = append(known, s.Key())
	}
	got := make(map[string]given)
	lines := make(map[string]int)
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, val := root.Content[i], root.Content[i+1]
		s, ok := byKey[key.Value]
		if !ok || key.Kind != yaml.ScalarNode {
			return nil, unknownKey(name, key, known)
		}
		if first, twice := lines[key.Value]; twice {
			return nil, fileError(name, key, fmt.Sprintf("%s stands there a second time (first on line %d)", key.Value, first), "keep one of them")
		}
		lines[key.Value] = key.Line
		if val.Tag == "!!null" {
			continue // "port:" with nothing behind it is not set, as in the environment
		}
		text, ok := fileText(s, val)
		if !ok {
			return nil, fileError(name, key, s.Key()+" is not "+s.Accepts(), "write "+s.Key()+": VALUE on one line")
		}
		got[s.Name] = given{text, Origin{File, fmt.Sprintf("%s line %d", name, key.Line)}}
	}
	return got, nil
}

// parseYAML returns the root of the only document in data, nil for an empty one.
func parseYAML(name string, data []byte) (*yaml.Node, error) {
	if len(data) > maxFile {
		return nil, &UsageError{"config", fmt.Sprintf("%s is larger than %d bytes", name, maxFile), "--config names the file to read"}
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, more yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	if err != nil {
		return nil, &UsageError{"config", fmt.Sprintf("%s is not YAML: %s", name, strings.TrimPrefix(err.Error(), "yaml: ")), "indent with spaces, and write one setting a line, such as port: 8000"}
	}
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, &UsageError{"config", name + " holds more than one document", "remove the line --- between them"}
	}
	root := doc.Content[0]
	if root.Tag == "!!null" {
		return nil, nil // only comments
	}
	return root, nil
}

// fileText returns a value as it would stand in the environment; a list of
// paths may also be a list in YAML.
func fileText(s Setting, val *yaml.Node) (string, bool) {
	if val.Kind == yaml.ScalarNode {
		return val.Value, true
	}
	if val.Kind != yaml.SequenceNode || s.Type() != "paths" {
		return "", false
	}
	items := make([]string, 0, len(val.Content))
	for _, n := range val.Content {
		if n.Kind != yaml.ScalarNode {
			return "", false
		}
		items = append(items, n.Value)
	}
	return strings.Join(items, string(filepath.ListSeparator)), true
}

func unknownKey(name string, key *yaml.Node, known []string) error {
	hint := "lazyolo serve --help lists the settings"
	if near := Nearest(strings.ReplaceAll(strings.ToLower(key.Value), "-", "_"), known); near != "" {
		hint = "did you mean " + near + "?"
	}
	e := fileError(name, key, fmt.Sprintf("%.100q is no setting", key.Value), hint)
	e.Setting = key.Value
	return e
}

// fileError tells what is wrong with the setting whose key is at.
func fileError(name string, at *yaml.Node, msg, hint string) *UsageError {
	return &UsageError{strings.ToUpper(at.Value), fmt.Sprintf("%s line %d: %s", name, at.Line, msg), hint}
}
