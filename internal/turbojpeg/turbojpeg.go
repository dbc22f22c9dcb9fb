// Package turbojpeg reads and writes JPEG with libjpeg-turbo, through the
// TurboJPEG API of its libturbojpeg, whose shared library is opened at run time,
// on the first use: nothing of it is needed to build, and that it is missing is
// normal.
//
// The TurboJPEG API and not libjpeg's: its functions take plain values and return
// errors, where libjpeg's structs differ between distributions and its errors end
// the process. Pixels equal those of OpenCV, which uses the same library, bit for
// bit.
package turbojpeg

/*
#cgo CFLAGS: -std=gnu11 -O2 -Wall
#cgo linux LDFLAGS: -ldl
#include <stdlib.h>
#include "turbojpeg.h"
*/
import "C"

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"unsafe"

	"lazyolo/internal/buffers"
)

// A Library is libturbojpeg, opened on first use and for as long as the process
// lives. The zero Library is ready to use; its methods may be called concurrently.
// Where it cannot be opened, every method returns an error that is
// errors.ErrUnsupported.
type Library struct {
	Buffers *buffers.Store // lends what Encode writes to; nil: it lies in Go's heap

	open sync.Once
	c    C.lz_turbojpeg // once opened read-only
	err  error          // why it is not open

	decoders, encoders handles
}

// Open opens the library if it is not yet. There is no need to call it before the
// other methods; it tells whether they can work.
func (l *Library) Open() error {
	l.open.Do(func() {
		var reasons []string
		for _, name := range names() {
			c := C.CString(name)
			ok := C.lz_tj_open(c, &l.c) == 0
			C.free(unsafe.Pointer(c))
			if ok {
				return
			}
			reasons = append(reasons, C.GoString(&l.c.reason[0]))
		}
		// The last reason is that of the loader's own search, which says most.
		l.err = fmt.Errorf("open libturbojpeg: %s: %w", reasons[len(reasons)-1], errors.ErrUnsupported)
	})
	return l.err
}

// names lists where the library may be: beside the executable, where archives
// bring it, then where the system's loader looks.
func names() []string {
	name, dirs := "libturbojpeg.so.0", []string{}
	if exe, err := os.Executable(); err == nil {
		dirs = append(dirs, filepath.Dir(exe))
	}
	if runtime.GOOS == "darwin" {
		// Homebrew's folders are not among the loader's.
		name, dirs = "libturbojpeg.0.dylib", append(dirs, "/opt/homebrew/lib", "/usr/local/lib", "/opt/homebrew/opt/jpeg-turbo/lib", "/usr/local/opt/jpeg-turbo/lib")
	}
	var out []string
	for _, dir := range dirs {
		// A name that does not exist would make the loader search folders.
		if path := filepath.Join(dir, name); exists(path) {
			out = append(out, path)
		}
	}
	return append(out, name)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Version opens the library and returns its major version and path, as in
// "2.x, /usr/lib/x86_64-linux-gnu/libturbojpeg.so.0".
func (l *Library) Version() (string, error) {
	if err := l.Open(); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d.x, %s", int(l.c.major), C.GoString(&l.c.path[0])), nil
}

// Colour spaces of a JPEG, TJCS in turbojpeg.h, that can become RGB.
const (
	coloursRGB   = 0
	coloursYCbCr = 1
	coloursGrey  = 2
)

// Header returns the size in pixels of the JPEG in data, as stored: it knows
// nothing of EXIF. The error is errors.ErrUnsupported for colours that Decode does
// not convert (CMYK and YCCK), too.
func (l *Library) Header(data []byte) (width, height int, err error) {
	if len(data) == 0 {
		return 0, 0, errors.New("no data")
	}
	h, err := l.decoder()
	if err != nil {
		return 0, 0, err
	}
	var w, ht, colours C.int
	var r C.lz_tj_result
	C.lz_tj_header(&l.c, h, bytesOf(data), C.ulong(len(data)), &w, &ht, &colours, &r)
	l.putDecoder(h, r.outcome)
	switch {
	case r.outcome == C.LZ_TJ_FATAL:
		return 0, 0, errors.New(C.GoString(&r.message[0]))
	case w < 1 || ht < 1:
		return 0, 0, fmt.Errorf("%d x %d pixels", int(w), int(ht))
	case colours != coloursRGB && colours != coloursYCbCr && colours != coloursGrey:
		return 0, 0, fmt.Errorf("colour space %d: %w", int(colours), errors.ErrUnsupported)
	}
	return int(w), int(ht), nil
}

// Decode writes the pixels of the JPEG in data to dst: RGB, interleaved, rows
// top-down without padding. width and height are what Header said or that divided
// by 2, 4 or 8 and rounded up, which scales inside the DCT; dst must have
// 3*width*height bytes. Its contents are arbitrary after an error.
//
// A file that ends too early is an error, and one that breaks the rules of the
// format; damaged pixel data gives what libjpeg makes of it, as with OpenCV.
func (l *Library) Decode(dst, data []byte, width, height int) error {
	ownW, ownH, err := l.Header(data)
	if err != nil {
		return err
	}
	// The library takes sizes it can scale down to and leaves the rest of dst as
	// it was, which in a reused buffer would be somebody else's picture.
	if !scales(ownW, ownH, width, height) || len(dst) != 3*width*height {
		return fmt.Errorf("cannot decode %d x %d pixels as %d x %d into %d bytes", ownW, ownH, width, height, len(dst))
	}
	h, err := l.decoder()
	if err != nil {
		return err
	}
	var r C.lz_tj_result
	C.lz_tj_decode(&l.c, h, bytesOf(data), C.ulong(len(data)), bytesOf(dst), C.int(width), C.int(height), &r)
	l.putDecoder(h, r.outcome)
	if r.outcome == C.LZ_TJ_OK {
		return nil
	}
	if r.outcome == C.LZ_TJ_WARNING && !endsEarly(data) {
		return nil
	}
	return errors.New(C.GoString(&r.message[0]))
}

// scales reports whether w x h is one of the sizes Decode offers. Pictures so
// small that two factors give one size are not scaled.
func scales(ownW, ownH, w, h int) bool {
	for _, f := range []int{1, 2, 4, 8} {
		if f > 1 && min(ownW, ownH) < 64 {
			return false
		}
		if (ownW+f-1)/f == w && (ownH+f-1)/f == h {
			return true
		}
	}
	return false
}

// endsEarly reports whether a decoder that warned of something else ran out of data
// later: the library keeps only its first warning. Without an end of image marker
// after the last scan's start (a thumbnail has both, before) the data cannot have
// sufficed.
func endsEarly(data []byte) bool {
	return bytes.LastIndex(data, []byte("\xff\xd9")) < bytes.LastIndex(data, []byte("\xff\xda"))
}

// Encode writes pix, RGB of width x height pixels without padding, to w as a JPEG
// with 4:2:0 chroma: the bytes cv2.imwrite makes at the same quality (1..100).
func (l *Library) Encode(w io.Writer, pix []byte, width, height, quality int) error {
	if width < 1 || height < 1 || width > math.MaxUint16 || height > math.MaxUint16 || len(pix) != 3*width*height {
		return fmt.Errorf("cannot encode %d bytes as %d x %d pixels", len(pix), width, height)
	}
	if err := l.Open(); err != nil {
		return err
	}
	h, err := l.encoders.get(func() unsafe.Pointer { return C.lz_tj_encoder(&l.c) })
	if err != nil {
		return err
	}
	buf := buffers.Get[byte](l.Buffers, int(C.lz_tj_bound(&l.c, C.int(width), C.int(height))))
	defer buffers.Put(l.Buffers, buf)
	n := C.ulong(len(buf))
	var r C.lz_tj_result
	C.lz_tj_encode(&l.c, h, bytesOf(pix), C.int(width), C.int(height), C.int(quality), bytesOf(buf), &n, &r)
	if r.outcome == C.LZ_TJ_FATAL {
		C.lz_tj_destroy(&l.c, h)
		return errors.New(C.GoString(&r.message[0]))
	}
	if !l.encoders.put(h) {
		C.lz_tj_destroy(&l.c, h)
	}
	_, err = w.Write(buf[:n])
	return err
}

// decoder lends a decoder; putDecoder takes it back.
func (l *Library) decoder() (unsafe.Pointer, error) {
	if err := l.Open(); err != nil {
		return nil, err
	}
	return l.decoders.get(func() unsafe.Pointer { return C.lz_tj_decoder(&l.c) })
}

func (l *Library) putDecoder(h unsafe.Pointer, outcome C.int) {
	// After an error libjpeg-turbo 2.1 may leave a decoder in the midst of that
	// picture, so that it fails on the next. A new one costs little.
	if outcome != C.LZ_TJ_OK || !l.decoders.put(h) {
		C.lz_tj_destroy(&l.c, h)
	}
}

// handles keeps a few of the library's objects (some KB each) for the next caller;
// each serves one at a time.
type handles struct {
	mu   sync.Mutex
	idle []unsafe.Pointer
}

const maxIdle = 4

func (p *handles) get(create func() unsafe.Pointer) (unsafe.Pointer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.idle); n > 0 {
		h := p.idle[n-1]
		p.idle = p.idle[:n-1]
		return h, nil
	}
	h := create()
	if h == nil {
		return nil, errors.New("libturbojpeg: out of memory")
	}
	return h, nil
}

// put reports whether h was kept; if not the caller destroys it.
func (p *handles) put(h unsafe.Pointer) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) == maxIdle {
		return false
	}
	p.idle = append(p.idle, h)
	return true
}

func bytesOf(b []byte) *C.uchar { return (*C.uchar)(unsafe.SliceData(b)) }
