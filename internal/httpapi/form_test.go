package httpapi_test

import (
	"io"
	"strings"
	"testing"

	"lazyolo/internal/httpapi"
)

func TestUnquotePlus(t *testing.T) {
	tests := []struct{ in, want string }{
		{"", ""},
		{"a+b%20c", "a b c"},
		{"%C3%A9%e5%9b%be", "é图"},
		{"%zz%4%", "%zz%4%"},
		{"%41", "A"},
		{"\xc3\xa9", "Ã©"},     // raw bytes are Latin-1
		{"%c3\xa9", "\ufffd©"}, // and end a run of %XX
		{"%ff%fe", "\ufffd\ufffd"},
	}
	for _, tt := range tests {
		if got := httpapi.UnquotePlus([]byte(tt.in)); got != tt.want {
			t.Errorf("UnquotePlus(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestParseInt(t *testing.T) {
	long := strings.Repeat("7", 4300)
	tests := []struct {
		in, want string
		ok       bool
	}{
		{"0", "0", true},
		{" \u00a0\u3000\u20281\t\n", "1", true},
		{"-0", "0", true},
		{"+00_1_2.000", "12", true},
		{"-" + long, "-" + long, true},
		{"00" + long, long, true},
		{long + "7", "", false},
		{"", "", false},
		{"-", "", false},
		{"0-7", "", false}, // pydantic: -7
		{"0__1", "", false},
		{"1.", "", false},
		{"1.0_0", "", false},
		{"1_.0", "", false},
		{"１", "", false},
		{"1\u200b", "", false},
	}
	for _, tt := range tests {
		got, problem := httpapi.ParseInt(tt.in)
		if got != tt.want || (problem == 0) != tt.ok {
			t.Errorf("ParseInt(%.20q) = %.20q, %d; want %.20q, ok %v", tt.in, got, problem, tt.want, tt.ok)
		}
	}
}

// FuzzMultipart: the parser must survive every body, keep its limits, and hand
// out nothing but pieces of the body.
func FuzzMultipart(f *testing.F) {
	const good = "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.jpg\"\r\nContent-Type: image/jpeg\r\n\r\nDATA\r\n" +
		"--B\r\nContent-Disposition: form-data; name=\"model_id\"\r\n\r\n1\r\n--B--\r\n"
	f.Add("multipart/form-data; boundary=B", []byte(good))
	f.Add("multipart/form-data; boundary=\"B\"", []byte("\r\n"+good[:100]))
	f.Add("multipart/form-data; boundary=", []byte("--\r\nA: b\r\n\r\n\r\n----"))
	f.Add("x; boundary=B; boundary=\"\\\"", []byte("--B \t\r\n\r\n--B\r\n\r\r\n--B-\r\n--B\t\r\n"))
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		_, params := httpapi.ParseOptions(contentType)
		files, fields, bytes := 0, 0, 0
		err := httpapi.ParseMultipart(body, params["boundary"], func(p httpapi.Field) {
			bytes += len(p.Data())
			if p.File() {
				files++
				return
			}
			fields++
			if len(p.Data()) > httpapi.MaxFieldSize {
				t.Errorf("a field of %d bytes", len(p.Data()))
			}
		})
		if files > httpapi.MaxFiles || fields > httpapi.MaxFields || bytes > len(body) {
			t.Errorf("%d files, %d fields, %d of %d bytes; error %v", files, fields, bytes, len(body), err)
		}
	})
}

// FuzzRequest: no body makes the whole door answer anything but its own statuses.
func FuzzRequest(f *testing.F) {
	h := handler(f, found(), shapes(), options(io.Discard))
	f.Add("multipart/form-data; boundary=B", []byte("--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nx\r\n--B--"))
	f.Add("application/x-www-form-urlencoded", []byte("file=%zz&model_id=%31+"))
	f.Add("", []byte{})
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		status := record(h, contentType, body)
		switch status {
		case 200, 400, 413, 422:
		default:
			t.Errorf("status %d", status)
		}
	})
}
