package httpapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"lazyolo/web"
	"lazyolo/yolo"
)

// A node is an object of the OpenAPI document.
type node = map[string]any

// openAPI reads the document.
func openAPI(t *testing.T) node {
	t.Helper()
	b, err := fs.ReadFile(web.Docs, "docs/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var doc node
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

// in goes down the document by keys; the result is nil where one is missing.
func in(n node, keys ...string) node {
	for _, k := range keys {
		n, _ = n[k].(node)
	}
	return n
}

// A spec is the document, to look references up in.
type spec struct{ doc node }

// resolve follows a node's reference, if it is one.
func (s spec) resolve(n node) node {
	for {
		ref, ok := n["$ref"].(string)
		if !ok {
			return n
		}
		n = in(s.doc, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
	}
}

// check says what of v a schema does not allow, members that it does not name
// included; empty: nothing.
func (s spec) check(schema node, v any) string {
	schema = s.resolve(schema)
	if schema == nil {
		return "no schema"
	}
	if choices := s.list(schema["oneOf"]); choices != nil {
		var bad []string
		for _, one := range choices {
			if b := s.check(one, v); b != "" {
				bad = append(bad, b)
			}
		}
		if len(bad) == len(choices)-1 {
			return ""
		}
		return fmt.Sprintf("%d of %d fit: %s", len(choices)-len(bad), len(choices), strings.Join(bad, "; "))
	}
	if all := s.list(schema["allOf"]); all != nil {
		whole := node{"type": "object", "properties": node{}}
		for _, one := range all {
			for k, p := range in(one, "properties") {
				in(whole, "properties")[k] = p
			}
			required, _ := one["required"].([]any)
			before, _ := whole["required"].([]any)
			whole["required"] = append(before, required...)
		}
		schema = whole
	}
	if words, ok := schema["enum"].([]any); ok && !slices.Contains(words, v) {
		return fmt.Sprintf("%v is none of %v", v, words)
	}
	if !typed(schema["type"], v) {
		return fmt.Sprintf("%v is no %v", v, schema["type"])
	}
	switch v := v.(type) {
	case node:
		return s.checkMembers(schema, v)
	case []any:
		for i, e := range v {
			if b := s.check(in(schema, "items"), e); b != "" {
				return fmt.Sprintf("[%d]: %s", i, b)
			}
		}
	}
	return ""
}

func (s spec) checkMembers(schema, v node) string {
	required, _ := schema["required"].([]any)
	for _, k := range required {
		if _, ok := v[k.(string)]; !ok {
			return fmt.Sprintf("%s is missing", k)
		}
	}
	for k, m := range v {
		member, ok := in(schema, "properties")[k].(node)
		if !ok {
			member = in(schema, "additionalProperties")
		}
		if member == nil && schema["properties"] != nil {
			return k + " is not documented"
		}
		if member == nil {
			continue
		}
		if b := s.check(member, m); b != "" {
			return k + ": " + b
		}
	}
	return ""
}

// list reads a list of schemas; nil: there is none.
func (s spec) list(v any) []node {
	var out []node
	list, _ := v.([]any)
	for _, e := range list {
		out = append(out, s.resolve(e.(node)))
	}
	return out
}

// typed reports whether v has one of the types, or any where there is none.
func typed(types, v any) bool {
	names, ok := types.([]any)
	if !ok {
		names = []any{types}
	}
	return slices.ContainsFunc(names, func(name any) bool {
		switch v := v.(type) {
		case string:
			return name == "string" || name == nil
		case float64:
			return name == "number" || name == nil || name == "integer" && v == float64(int64(v))
		case bool:
			return name == "boolean" || name == nil
		case []any:
			return name == "array" || name == nil
		case node:
			return name == "object" || name == nil
		}
		return name == "null" || name == nil
	})
}

// each calls f for every object of the document, with the keys that lead to it.
func each(v any, path string, f func(path string, n node)) {
	switch v := v.(type) {
	case node:
		f(path, v)
		for k, e := range v {
			each(e, path+"/"+k, f)
		}
	case []any:
		for i, e := range v {
			each(e, fmt.Sprintf("%s/%d", path, i), f)
		}
	}
}

// TestOpenAPIExamples: every example is what its schema says.
func TestOpenAPIExamples(t *testing.T) {
	doc := openAPI(t)
	s, seen := spec{doc}, 0
	each(doc, "", func(path string, n node) {
		schema := in(n, "schema")
		if schema == nil {
			return
		}
		examples := node{"": node{"value": n["example"]}}
		if n["example"] == nil {
			examples = in(n, "examples")
		}
		for name, e := range examples {
			seen++
			if bad := s.check(schema, e.(node)["value"]); bad != "" {
				t.Errorf("%s %s: %s", path, name, bad)
			}
		}
	})
	if seen < 30 {
		t.Errorf("only %d examples", seen)
	}
}

// TestOpenAPIFields: every field, parameter and answer says what it is.
func TestOpenAPIFields(t *testing.T) {
	doc := openAPI(t)
	s := spec{doc}
	described := func(path string, n any) {
		if d, _ := s.resolve(n.(node))["description"].(string); d == "" {
			t.Errorf("%s has no description", path)
		}
	}
	each(doc, "", func(path string, n node) {
		for k, p := range in(n, "properties") {
			described(path+"."+k, p)
		}
		for k, r := range in(n, "responses") {
			described(path+" "+k, r)
		}
		if n["in"] != nil && n["description"] == nil {
			described(path, in(n, "schema"))
		}
	})
}

// TestOpenAPIOptions: both detections name every option, in the form and in the
// query, and take the picture as the body.
func TestOpenAPIOptions(t *testing.T) {
	doc := openAPI(t)
	s := spec{doc}
	options := []string{"agnostic_nms", "classes", "conf", "format", "imgsz", "iou", "keep_alive", "masks", "max_det", "nms"}
	for path, more := range map[string][]string{"/api/v1/detect": nil, "/api/v2/detect": {"model", "model_id"}} {
		post := in(doc, "paths", path, "post")
		want := append(slices.Clone(options), more...)
		slices.Sort(want)
		var query, form []string
		for _, p := range s.list(post["parameters"]) {
			if p["in"] == "query" {
				query = append(query, p["name"].(string))
			}
		}
		for name := range in(post, "requestBody", "content", "multipart/form-data", "schema", "properties") {
			if name != "file" {
				form = append(form, name)
			}
		}
		slices.Sort(query)
		slices.Sort(form)
		if !slices.Equal(query, want) || !slices.Equal(form, want) {
			t.Errorf("%s: query %v, form %v, want %v", path, query, form, want)
		}
		if in(post, "requestBody", "content", "image/*", "schema") == nil {
			t.Errorf("%s takes no picture as the body", path)
		}
		content := in(s.resolve(in(post, "responses", "200")), "content")
		if content["application/json"] == nil || content["image/jpeg"] == nil {
			t.Errorf("%s answers only %v", path, content)
		}
	}
	for _, name := range options {
		if in(doc, "components", "schemas", "option_"+name) == nil {
			t.Errorf("option %s has no schema", name)
		}
	}
}

// TestOpenAPIAnswers: what a detection answers is documented, member by member.
func TestOpenAPIAnswers(t *testing.T) {
	s := spec{openAPI(t)}
	schema := in(s.resolve(in(s.doc, "paths", "/api/v2/detect", "post", "responses", "200")), "content", "application/json", "schema")
	mask := &yolo.Mask{Width: 2, Height: 2, Window: yolo.Window{W: 2, H: 2}, Runs: []int{1, 1, 2}, Polygon: []yolo.Point{{X: 1, Y: 2}}}
	everything := &yolo.Result{
		Width: 4, Height: 4,
		Objects: []yolo.Object{{
			Name: "a", Confidence: 0.5, Mask: mask, Rotated: &yolo.Rotated{W: 1, H: 1},
			Keypoints: []yolo.Keypoint{{Visible: 0.5}}, KeypointNames: []string{"nose"},
		}},
		Probs:   []yolo.Prob{{Name: "a", Confidence: 1}},
		Regions: []yolo.Region{{Name: "a", Share: 0.5, Mask: mask}},
	}
	detect := detectFunc(func(_ context.Context, r yolo.Request) (*yolo.Result, error) {
		switch string(r.Image) {
		case "broken":
			return nil, yolo.Errorf(yolo.Invalid, "cannot decode JPEG")
		case "huge":
			return nil, yolo.Errorf(yolo.TooLarge, "over the limit")
		}
		return everything, nil
	})
	o := options(io.Discard)
	o.Render = func(_ context.Context, w io.Writer, _ string, _ []byte, _ *yolo.Result) error {
		_, err := w.Write([]byte("JPEG"))
		return err
	}
	addr := serve(t, handler(t, detect, shapes(), o))
	broken, huge := part{"file", "b.jpg", "broken"}, part{"file", "c.jpg", "huge"}
	for name, parts := range map[string][]part{
		"polygon": {photo}, "rle": {photo, {name: "masks", value: "rle"}},
		"both": {photo, {name: "format", value: "image_and_json"}}, "broken": {broken},
		"several": {photo, broken, huge, photo, {name: "format", value: "image_and_json"}}, "several, the last broken": {photo, broken},
		"no model": {photo, {name: "model_id", value: "9"}},
	} {
		res, body := exchange(t, addr, "POST", upload("/api/v2/detect", parts...))
		var got any
		if err := json.Unmarshal(body, &got); err != nil || res.StatusCode != 200 {
			t.Errorf("%s: %d %s", name, res.StatusCode, body)
		} else if bad := s.check(schema, got); bad != "" {
			t.Errorf("%s: %s in %s", name, bad, body)
		}
	}
}
