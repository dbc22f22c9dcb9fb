package httpapi

import (
	"net/http"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"lazyolo/internal/door"
)

// maxName is the longest file name we make, in bytes: file systems take 255, and
// a temporary name beside it needs some.
const maxName = 200

// safeName makes a base name for the file system from what a client calls its
// picture: no folder, no control or invisible character, no leading dot or blank,
// at most maxName bytes, the extension kept. Nothing left: a name is made up.
func safeName(client string, image []byte) string {
	name := client[strings.LastIndexAny(client, `/\`)+1:]
	name = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co, unicode.Cs) {
			return -1
		}
		return r
	}, name)
	name = strings.TrimLeftFunc(name, func(r rune) bool { return r == '.' || unicode.IsSpace(r) })
	name = strings.TrimRightFunc(name, unicode.IsSpace)
	if name == "" {
		return "image-" + door.NewID() + extension(image)
	}
	if len(name) <= maxName {
		return name
	}
	ext := path.Ext(name)
	if len(ext) > 20 { // no extension, just a dot somewhere
		ext = ""
	}
	stem := name[:maxName-len(ext)]
	for !utf8.ValidString(stem) { // the cut went through a character
		stem = stem[:len(stem)-1]
	}
	return stem + ext
}

// extension guesses a picture's file extension from its first bytes.
func extension(image []byte) string {
	switch http.DetectContentType(image) {
	case "image/png":
		return ".png"
	case "image/bmp":
		return ".bmp"
	case "image/webp":
		return ".webp"
	}
	return ".jpg"
}
