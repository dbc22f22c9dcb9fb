package compare

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// Copies makes n folders of models out of one ONNX file in dir, for who has one model
// and wants to see many. Each file says in its metadata which copy it is, so that none
// shares its prepared file, or a page of memory, with another one. Labels makes the
// labels.yaml of the copy with a number from 1 on; its weights are best.onnx beside it.
func Copies(dir string, weights []byte, n int, labels func(number int) []byte) error {
	for i := 1; i <= n; i++ {
		folder := filepath.Join(dir, fmt.Sprintf("copy-%02d", i))
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return fmt.Errorf("make model folder: %w", err)
		}
		for name, data := range map[string][]byte{"best.onnx": marked(weights, i), "labels.yaml": labels(i)} {
			if err := os.WriteFile(filepath.Join(folder, name), data, 0o644); err != nil {
				return fmt.Errorf("write copy of a model: %w", err)
			}
		}
	}
	return nil
}

// marked is an ONNX file with one more entry of metadata: protobuf takes fields that
// stand behind the others, and adds them to their list.
func marked(weights []byte, copy int) []byte {
	field := func(number int, data []byte) []byte { // of wire type 2
		b := binary.AppendUvarint(nil, uint64(number)<<3|2)
		b = binary.AppendUvarint(b, uint64(len(data)))
		return append(b, data...)
	}
	const metadata = 14 // ModelProto.metadata_props: StringStringEntryProto
	entry := append(field(1, []byte("copy")), field(2, fmt.Append(nil, copy))...)
	return append(slices.Clone(weights), field(metadata, entry)...)
}
