package imaging_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"lazyolo/internal/imaging"
	"lazyolo/internal/turbojpeg"
	"lazyolo/yolo"
)

func pngHeader(w, h uint32) []byte {
	body := binary.BigEndian.AppendUint32([]byte("IHDR"), w)
	body = binary.BigEndian.AppendUint32(body, h)
	body = append(body, 8, 2, 0, 0, 0)
	out := append([]byte("\x89PNG\r\n\x1a\n"), 0, 0, 0, 13)
	return binary.BigEndian.AppendUint32(append(out, body...), crc32.ChecksumIEEE(body))
}

func bmpHeader(w, h int32) []byte {
	b := make([]byte, 54)
	copy(b, "BM")
	put := binary.LittleEndian.PutUint32
	put(b[10:], 54)
	put(b[14:], 40)
	put(b[18:], uint32(w))
	put(b[22:], uint32(h))
	b[26], b[28] = 1, 24
	return b
}

func jpegHeader(w, h uint16) []byte {
	b := []byte("\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00\xff\xc0\x00\x0b\x08")
	b = binary.BigEndian.AppendUint16(b, h)
	b = binary.BigEndian.AppendUint16(b, w)
	return append(b, "\x01\x01\x11\x00"...)
}

func webp(id string, body []byte) []byte {
	chunk := binary.LittleEndian.AppendUint32([]byte(id), uint32(len(body)))
	chunk = append(chunk, body...)
	out := binary.LittleEndian.AppendUint32([]byte("RIFF"), uint32(len(chunk)+4))
	return append(append(out, "WEBP"...), chunk...)
}

func tiffHeader(w, h uint32) []byte {
	b := []byte("II*\x00\x08\x00\x00\x00\x05\x00")
	for _, tag := range [][2]uint32{{256, w}, {257, h}, {258, 8}, {262, 1}, {278, h}} {
		b = binary.LittleEndian.AppendUint16(b, uint16(tag[0]))
		b = append(b, "\x04\x00\x01\x00\x00\x00"...)
		b = binary.LittleEndian.AppendUint32(b, tag[1])
	}
	return append(b, 0, 0, 0, 0)
}

// TestDecodeRefuses gives headers that promise too much, and nonsense. All must
// be refused with few allocations.
func TestDecodeRefuses(t *testing.T) {
	t.Run("go", func(t *testing.T) { testDecodeRefuses(t, new(imaging.Codec)) })
	t.Run("turbo", func(t *testing.T) { testDecodeRefuses(t, turbo(t)) })
}

func testDecodeRefuses(t *testing.T, c *imaging.Codec) {
	const limit = 1_000_000
	c.MaxPixels = limit
	for _, tc := range []struct {
		name string
		data []byte
		code yolo.Code
		size string // as the message names it
	}{
		{"nothing", nil, yolo.Invalid, ""},
		{"one byte", []byte{0xff}, yolo.Invalid, ""},
		{"text", []byte("<html>not a picture</html>"), yolo.Invalid, ""},
		{"jpeg", jpegHeader(60000, 50000), yolo.TooLarge, "60000x50000"},
		{"jpeg just over", jpegHeader(1000, 1001), yolo.TooLarge, "1000x1001"},
		{"jpeg without scan", jpegHeader(1000, 1000), yolo.Invalid, ""},
		{"jpeg of no height", jpegHeader(100, 0), yolo.Invalid, ""},
		{"jpeg start only", []byte("\xff\xd8\xff"), yolo.Invalid, ""},
		{"png", pngHeader(30000, 30000), yolo.TooLarge, "30000x30000"},
		{"png at int32", pngHeader(1<<31-1, 1<<31-1), yolo.Invalid, ""},
		{"png of no width", pngHeader(0, 10), yolo.Invalid, ""},
		{"png negative", pngHeader(1<<31+5, 10), yolo.Invalid, ""},
		{"png without data", pngHeader(1000, 1000), yolo.Invalid, ""},
		{"gif", []byte("GIF89a\xff\xff\xff\xff\x00\x00\x00"), yolo.TooLarge, "65535x65535"},
		{"gif of no size", []byte("GIF89a\x00\x00\x00\x00\x00\x00\x00"), yolo.Invalid, ""},
		{"gif without frame", []byte("GIF89a\x05\x00\x05\x00\x00\x00\x00\x3b"), yolo.Invalid, ""},
		{"bmp", bmpHeader(30000, 30000), yolo.TooLarge, "30000x30000"},
		{"bmp top-down", bmpHeader(30000, -30000), yolo.TooLarge, "30000x30000"},
		{"bmp lowest height", bmpHeader(1, -1<<31), yolo.TooLarge, "1x2147483648"},
		{"bmp negative width", bmpHeader(-5, 5), yolo.Invalid, ""},
		{"bmp without size", bmpHeader(0, 0), yolo.Invalid, ""},
		{"tiff", tiffHeader(100_000, 100_000), yolo.TooLarge, "100000x100000"},
		{"tiff at uint32", tiffHeader(1<<32-1, 1<<32-1), yolo.Invalid, ""},
		{"tiff without strips", tiffHeader(10, 10), yolo.Invalid, ""},
		{"webp lossy", webp("VP8 ", []byte("\x10\x00\x00\x9d\x01\x2a\xff\x3f\xff\x3f")), yolo.TooLarge, "16383x16383"},
		{"webp lossless", webp("VP8L", []byte("\x2f\xff\xff\xff\x0f\x00\x00")), yolo.TooLarge, "16384x16384"},
		{"webp short frame", webp("ANMF", []byte("abc")), yolo.Invalid, ""},
		{"webp inter frame", webp("VP8 ", []byte("\x11\x00\x00\x9d\x01\x2a\x01\x00\x01\x00")), yolo.Invalid, ""},
		{"webp without picture", webp("EXIF", nil), yolo.Invalid, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := c.Decode(tc.data, nil)
			runtime.ReadMemStats(&after)
			var e *yolo.Error
			if !errors.As(err, &e) || e.Code != tc.code {
				t.Fatalf("error %v, want code %s", err, tc.code)
			}
			if tc.code != yolo.TooLarge {
				return
			}
			for _, part := range []string{tc.size, "1000000", "MAX_PIXELS"} {
				if !strings.Contains(e.Msg, part) {
					t.Errorf("message %q does not name %s", e.Msg, part)
				}
			}
			if n := after.TotalAlloc - before.TotalAlloc; n > 256<<10 {
				t.Errorf("allocated %d bytes before refusing", n)
			}
		})
	}
}

// TestManyScans: a scan costs a few bytes to send and a pass over all blocks to
// decode.
func TestManyScans(t *testing.T) {
	whole := read(t, "pictures/progressive.jpg")
	last := bytes.LastIndex(whole, []byte("\xff\xda"))
	scan := whole[last : len(whole)-2]
	data := append([]byte{}, whole[:last]...)
	for range 300 {
		data = append(data, scan...)
	}
	for _, c := range []*imaging.Codec{{}, {JPEG: new(turbojpeg.Library)}} {
		_, err := c.Decode(append(data, 0xff, 0xd9), nil)
		if err == nil || !strings.Contains(err.Error(), "scans") {
			t.Errorf("error %v, want one about scans", err)
		}
	}
}

// TestDefaultLimit: no limit given is not no limit.
func TestDefaultLimit(t *testing.T) {
	for _, limit := range []int64{0, -1} {
		_, err := (&imaging.Codec{MaxPixels: limit}).Decode(pngHeader(30000, 30000), nil)
		if err == nil || yolo.CodeOf(err) != yolo.TooLarge || !strings.Contains(err.Error(), "100000000") {
			t.Errorf("MaxPixels %d: error %v", limit, err)
		}
	}
}

// TestReason: the message tells the client why, in words about its file.
func TestReason(t *testing.T) {
	deep := bmpHeader(9, 9)
	deep[28] = 16
	for _, tc := range []struct{ name, data, want string }{
		{"nothing", "", "empty picture"},
		{"text", "hello", "not a picture that can be read, expected JPEG, PNG, WebP, BMP, GIF or TIFF"},
		{"heic", "\x00\x00\x00\x18ftypheic\x00\x00\x00\x00", "HEIC is not read, expected JPEG, PNG, WebP, BMP, GIF or TIFF"},
		{"heif", "\x00\x00\x00\x18ftypmif1", "HEIF is not read, expected "},
		{"avif", "\x00\x00\x00\x1cftypavif", "AVIF is not read, expected "},
		{"jpeg xl", "\xff\x0a\x00", "JPEG XL is not read, expected "},
		{"big tiff", "II+\x00", "BigTIFF is not read, expected "},
		{"truncated", string(read(t, "pictures/truncated.jpg")), "cannot decode JPEG: "},
		{"bmp of 16 bits", string(deep), "cannot decode BMP: bmp: unsupported BMP image"},
		{"no size", string(pngHeader(0, 9)), "cannot decode PNG: "},
	} {
		_, err := new(imaging.Codec).Decode([]byte(tc.data), nil)
		var e *yolo.Error
		if !errors.As(err, &e) || e.Code != yolo.Invalid || !strings.HasPrefix(e.Msg, tc.want) || strings.HasSuffix(e.Msg, ": ") {
			t.Errorf("%s: error %#v, want %q", tc.name, err, tc.want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	files, err := filepath.Glob("testdata/pictures/*")
	if err != nil || len(files) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, header := range [][]byte{pngHeader(300, 300), bmpHeader(9, -9), jpegHeader(9, 9), tiffHeader(9, 9)} {
		f.Add(header)
	}
	const limit = 1 << 16
	codecs := []*imaging.Codec{{MaxPixels: limit}}
	if l := new(turbojpeg.Library); l.Open() == nil {
		codecs = append(codecs, &imaging.Codec{MaxPixels: limit, JPEG: l}, &imaging.Codec{MaxPixels: limit, JPEG: l, Fast: true})
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, c := range codecs {
			fuzzDecode(t, c, data, limit)
		}
	})
}

func fuzzDecode(t *testing.T, c *imaging.Codec, data []byte, limit int) {
	kept := bytes.Clone(data)
	img, err := c.Decode(data, square(32))
	if !bytes.Equal(kept, data) {
		t.Error("Decode wrote to its input")
	}
	if err != nil {
		var e *yolo.Error
		if !errors.As(err, &e) || e.Code != yolo.Invalid && e.Code != yolo.TooLarge {
			t.Errorf("error %v is not for a client", err)
		}
		return
	}
	w, h := img.Size()
	if n := img.Width * img.Height; img.Width < 1 || img.Height < 1 || w*h > limit || len(img.Pix) != 3*n {
		t.Errorf("%dx%d pixels in %d bytes, limit %d", img.Width, img.Height, len(img.Pix), limit)
	}
	imaging.Letterbox(w, h, 32, 32).Fill(make([]float32, 3*32*32), img, 0)
	img.Free()
}
