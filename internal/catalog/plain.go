package catalog

import (
	"bytes"
	"strconv"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"lazyolo/yolo"
)

// parsePlain is parseLabels for the way nearly every labels.yaml is written:
// names last, and below it one plain "  0: name" a line. It gives the YAML
// parser, whose time and garbage make up most of a start with many models, only
// what is above names. It reports false, and nothing else, for a file that is
// written otherwise or has a fault; parseLabels reads that as a whole.
func parsePlain(data []byte) (*labels, bool) {
	head, block, ok := bytes.Cut(data, []byte("\nnames:\n"))
	// A second document or a directive could put names elsewhere.
	if !ok || bytes.Contains(head, []byte("---")) || bytes.Contains(head, []byte("...")) || bytes.ContainsRune(head, '%') {
		return nil, false
	}
	names, ok := plainNames(block)
	if !ok {
		return nil, false
	}
	// In a block mapping that begins in the first column, a line that begins
	// there, too, is its next key: what came before was complete, or the head
	// alone is not YAML.
	var doc yaml.Node
	if yaml.Unmarshal(head, &doc) != nil || len(doc.Content) == 0 {
		return nil, false
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode || root.Style&yaml.FlowStyle != 0 || len(root.Content) == 0 || root.Content[0].Column != 1 {
		return nil, false
	}
	l, p := readFields(root)
	if p != nil || l.names != nil {
		return nil, false
	}
	l.names = names
	return l, true
}

// plainNames reads lines of "  0: name" that are all indented alike.
func plainNames(block []byte) (yolo.Labels, bool) {
	names := make(yolo.Labels, min(bytes.Count(block, []byte("\n"))+1, maxNames))
	margin := len(block) - len(bytes.TrimLeft(block, " "))
	if margin == 0 {
		return nil, false
	}
	for line := range bytes.Lines(block) {
		line = bytes.TrimSuffix(line, []byte("\n"))
		key, name, ok := bytes.Cut(line, []byte(": "))
		if !ok || len(key) <= margin || len(key) > margin+9 || len(bytes.TrimLeft(key, " ")) != len(key)-margin {
			return nil, false
		}
		class, err := strconv.ParseUint(string(key[margin:]), 10, 32)
		if err != nil || !plain(name) {
			return nil, false
		}
		if _, twice := names[int(class)]; twice || len(names) == maxNames {
			return nil, false
		}
		names[int(class)] = string(name)
	}
	return names, true
}

// plain reports whether YAML reads this text as exactly itself, wherever a
// value may stand.
func plain(text []byte) bool {
	if len(text) == 0 || len(text) > maxText || text[len(text)-1] == ' ' || bytes.EqualFold(text, []byte("null")) {
		return false
	}
	for i, r := range string(text) {
		switch {
		case r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsDigit(r)):
		case i > 0 && (r == ' ' || r == '_' || r == '-' || r == '.' || r == '/'):
		default:
			return false
		}
	}
	return true
}
