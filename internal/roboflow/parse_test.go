package roboflow

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"

	"lazyolo/yolo"
)

// FuzzParseInfer compares what is read of a request with what encoding/json reads.
func FuzzParseInfer(f *testing.F) {
	for _, s := range []string{
		`{"model_id":"a/1","image":{"type":"base64","value":"QQ=="},"confidence":0.5}`,
		`{"model_id":"a","image":[{"type":"url","value":"http:\/\/h\/p"},{"type":"base64","value":"Q\nQ="}],"class_filter":["x","\u0041"]}`,
		` { "image" : { "value" : "QQ" , "type" : "base64" } , "max_detections" : 1e2 , "model_id" : "\"" } `,
		`{"a":[[{"b":"]}"},1.5e-3,true,null]],"model_id":"x\\","image":[]}`,
		`{"confidence":` + strings.Repeat("9", 400) + `}`, `{"confidence":1e99999}`, `{"x":` + strings.Repeat("[", 12000), `{}`, `[]`, `"`, `{"":""}`,
		`{"model_id":"m","image":{"type":"numpy","value":{"a":"}"}}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		a, err := parseInfer(bytes.Clone(body))
		if err != nil {
			if yolo.CodeOf(err) != yolo.Invalid {
				t.Errorf("%q: %v", body, err)
			}
			return
		}
		var want map[string]any
		if err := json.Unmarshal(body, &want); err != nil {
			t.Fatalf("%q was taken: %v", body, err)
		}
		if want["model_id"] != strings.ToValidUTF8(a.model, "\ufffd") && !strings.Contains(a.model, "\ufffd") && validText(a.model) {
			t.Errorf("%q: model %q, want %q", body, a.model, want["model_id"])
		}
		if v, ok := want["confidence"].(float64); ok && (a.conf == nil || *a.conf != v) {
			t.Errorf("%q: confidence %v, want %v", body, a.conf, v)
		}
		if all, ok := want["image"].([]any); ok && (len(all) != len(a.pictures) || !a.list) {
			t.Errorf("%q: %d pictures, want %d", body, len(a.pictures), len(all))
		}
		for _, p := range a.pictures {
			_, _ = decodeBase64(p.value) // must not panic
		}
	})
}

// validText reports whether a text is UTF-8; what encoding/json makes of others is
// its own matter.
func validText(s string) bool { return strings.ToValidUTF8(s, "") == s }

// FuzzDecodeBase64 compares decoding in place with encoding/base64.
func FuzzDecodeBase64(f *testing.F) {
	f.Add([]byte("cGljdHVyZQ=="))
	f.Add([]byte("data:image/png;base64,cGlj\r\ndHVyZQ"))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := decodeBase64(bytes.Clone(text))
		if bytes.HasPrefix(text, []byte("data:")) {
			return
		}
		clean := strings.NewReplacer("\r", "", "\n", "").Replace(strings.TrimRight(strings.TrimLeft(string(text), " \t\r\n"), "= \t\r\n"))
		want, wantErr := base64.RawStdEncoding.DecodeString(clean)
		if (err == nil) != (wantErr == nil) || err == nil && !bytes.Equal(got, want) {
			t.Errorf("%q: %q, %v, want %q, %v", text, got, err, want, wantErr)
		}
	})
}

// TestLargePicturesAreDecodedInPlace would see a decoder that overtakes itself.
func TestLargePicturesAreDecodedInPlace(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int{1, 2, 3, 1023, 1024, 1025, 4096, 1 << 20} {
		want := make([]byte, size)
		for i := range want {
			want[i] = byte(random.Uint32())
		}
		for _, line := range []int{size * 2, 76, 1} {
			text := base64.StdEncoding.EncodeToString(want)
			var b strings.Builder
			for len(text) > line {
				b.WriteString(text[:line] + "\n")
				text = text[line:]
			}
			b.WriteString(text)
			got, err := decodeBase64([]byte(b.String()))
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes in lines of %d: %v", size, line, err)
			}
		}
	}
}

// bitmap is a picture of dots and hashes.
func bitmap(rows ...string) yolo.Bitmap {
	b := yolo.Bitmap{Window: yolo.Window{W: len(rows[0]), H: len(rows)}}
	for _, c := range strings.Join(rows, "") {
		b.Pix = append(b.Pix, map[rune]byte{'#': 1, '.': 0}[c])
	}
	return b
}

// TestRLEIsCOCOs compares with what pycocotools writes.
func TestRLEIsCOCOs(t *testing.T) {
	holed := make([]string, 37)
	for y := range holed {
		row := []byte(strings.Repeat(".", 51))
		for x := range row {
			in := y >= 5 && y < 30 && x >= 7 && x < 44 && !(y >= 10 && y < 20 && x >= 10 && x < 30)
			if in || y == 33 {
				row[x] = '#'
			}
		}
		holed[y] = string(row)
	}
	far := yolo.Bitmap{Window: yolo.Window{X: 650, Y: 0, W: 50, H: 600}, Pix: bytes.Repeat([]byte{1}, 50*600)}
	for name, tt := range map[string]struct {
		bits yolo.Bitmap
		w, h int
		want string
	}{
		"right half": {bitmap("..##", "..##", "..##", "..##"), 4, 4, "88"},
		"nothing":    {yolo.Bitmap{}, 3, 3, "9"},
		"everything": {bitmap("###", "###", "###"), 3, 3, "09"},
		"a column":   {yolo.Bitmap{Window: yolo.Window{X: 2, Y: 1, W: 1, H: 2}, Pix: []byte{1, 1}}, 4, 4, "925"},
		"far right":  {far, 700, 600, "`kl;`Ym0"},
		"holed": {bitmap(holed...), 51, 37, "Q11T100000000000TOh0KXO5h0KXO5h0KXO5425IG5425IG5425IG5425IG5425IG5425IG5425IG5425IG5425IG5425IG5425IG5425IG5425IG5425IG5425IG" +
			"5425IG5425IG5425IG5425IG5425IG5h0KXO5h0KXO5h0KXO5h0KXO5h0KXO5h0KXO5h0KXO5h0KXO5h0KXO5h0KXO5h0KXO5h0KXO5h0KXO5h0KXOQ10000000000000oN"},
	} {
		if got := newRLE(tt.bits, tt.w, tt.h); got.Counts != tt.want || got.Size != [2]int{tt.h, tt.w} {
			t.Errorf("%s: %v, want %s", name, got, tt.want)
		}
	}
}
