package prepare

import (
	"strconv"
	"strings"
)

// ImageSize returns the larger side of the input picture that Ultralytics'
// metadata names ("imgsz": "[640, 640]"), or otherwise when it names none.
func ImageSize(metadata map[string]string, otherwise int) int {
	size := 0
	for _, f := range strings.FieldsFunc(metadata["imgsz"], func(r rune) bool { return r < '0' || r > '9' }) {
		if n, err := strconv.Atoi(f); err == nil && n > 0 && n <= 8192 {
			size = max(size, n)
		}
	}
	if size == 0 {
		return otherwise
	}
	return size
}
