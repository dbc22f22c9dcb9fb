package oip

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"lazyolo/yolo"
)

// A ModelConfig is a model's configuration in Triton's words. Dims include the batch.
type ModelConfig struct {
	Name                 string               `json:"name"`
	Platform             string               `json:"platform"`
	Backend              string               `json:"backend"`
	VersionPolicy        VersionPolicy        `json:"version_policy"`
	MaxBatchSize         int                  `json:"max_batch_size"`
	Input                []ConfigTensor       `json:"input"`
	Output               []ConfigTensor       `json:"output"`
	InstanceGroup        []InstanceGroup      `json:"instance_group"`
	DefaultModelFilename string               `json:"default_model_filename"`
	Parameters           map[string]Parameter `json:"parameters"`
}

// A VersionPolicy says which versions are served: the latest.
type VersionPolicy struct {
	Latest struct {
		NumVersions int `json:"num_versions"`
	} `json:"latest"`
}

// A ConfigTensor describes an input or output; DataType is such as TYPE_FP32.
type ConfigTensor struct {
	Name     string  `json:"name"`
	DataType string  `json:"data_type"`
	Dims     []int64 `json:"dims"`
}

// An InstanceGroup says where a model runs.
type InstanceGroup struct {
	Name  string `json:"name"`
	Kind  string `json:"kind"`
	Count int    `json:"count"`
}

// A Parameter is a text of a configuration.
type Parameter struct {
	StringValue string `json:"string_value"`
}

// Config is a model's configuration. Its parameter metadata is what Ultralytics' client
// reads: the file's own metadata as a Python dict.
func (c *Core) Config(ctx context.Context, name, version string) (ModelConfig, error) {
	m, s, err := c.signature(ctx, name, version)
	if err != nil {
		return ModelConfig{}, err
	}
	out := ModelConfig{
		Name: m.ID, Platform: platform, Backend: "onnxruntime",
		Input: configTensors(s.Inputs), Output: configTensors(s.Outputs),
		InstanceGroup:        []InstanceGroup{{m.ID, "KIND_CPU", 1}},
		DefaultModelFilename: "model.onnx",
		Parameters:           map[string]Parameter{"metadata": {pythonMetadata(m, s.Metadata)}},
	}
	out.VersionPolicy.Latest.NumVersions = 1
	return out, nil
}

func configTensors(infos []yolo.TensorInfo) []ConfigTensor {
	out := make([]ConfigTensor, len(infos))
	for i, t := range infos {
		out[i] = ConfigTensor{t.Name, "TYPE_" + string(t.DType), t.Shape}
	}
	return out
}

// pythonMetadata is a model's metadata as a Python dict of texts, but for the names of
// classes: labels.yaml's, where it has any, win.
func pythonMetadata(m *yolo.Model, file map[string]string) string {
	var b strings.Builder
	b.WriteByte('{')
	entry := func(key, value string) {
		if b.Len() > 1 {
			b.WriteString(", ")
		}
		b.WriteString(pythonText(key) + ": " + value)
	}
	names := len(m.Labels) > 0
	for _, key := range slices.Sorted(maps.Keys(file)) {
		if key != "names" || !names {
			entry(key, pythonText(file[key]))
		}
	}
	if _, ok := file["task"]; !ok {
		entry("task", pythonText(string(m.Task)))
	}
	if names {
		var d strings.Builder
		for _, class := range slices.Sorted(maps.Keys(m.Labels)) {
			if d.Len() > 0 {
				d.WriteString(", ")
			}
			d.WriteString(strconv.Itoa(class) + ": " + pythonText(m.Labels[class]))
		}
		entry("names", "{"+d.String()+"}")
	}
	b.WriteByte('}')
	return b.String()
}

// pythonText is a Python string literal.
func pythonText(s string) string {
	var b strings.Builder
	b.WriteByte('\'')
	for _, r := range s {
		switch {
		case r == '\'' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r < 0x80 && !unicode.IsPrint(r):
			b.WriteString(`\x` + strconv.FormatInt(int64(r)+0x100, 16)[1:])
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('\'')
	return b.String()
}
