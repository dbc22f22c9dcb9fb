package imaging

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"

	"golang.org/x/image/vp8"
	"golang.org/x/image/vp8l"
)

// A riffChunk is one chunk of a WebP file, without its header and padding.
type riffChunk struct {
	id   string
	data []byte
}

// nextChunk cuts the first chunk off b. io.EOF means there is none.
func nextChunk(b []byte) (c riffChunk, rest []byte, err error) {
	const header = 8
	if len(b) < header {
		return c, nil, io.EOF
	}
	n := uint64(binary.LittleEndian.Uint32(b[4:]))
	if n > uint64(len(b)-header) {
		return c, nil, io.ErrUnexpectedEOF
	}
	c = riffChunk{string(b[:4]), b[header : header+n]}
	return c, b[min(header+n+n%2, uint64(len(b))):], nil
}

// webpChunks returns the file's chunks; bytes after its end are no part of it.
func webpChunks(data []byte) ([]byte, error) {
	const start = 12 // "RIFF", the size of what follows, "WEBP"
	end := uint64(binary.LittleEndian.Uint32(data[4:])) + 8
	if end < start || end > uint64(len(data)) {
		return nil, io.ErrUnexpectedEOF
	}
	return data[start:end], nil
}

// decodeWebP takes the first picture of the file, in an animation the first
// frame, and hands its bare VP8 or VP8L chunk to golang.org/x/image. Alpha chunks
// are not even read, as alpha is dropped.
func decodeWebP(data []byte, c job) (*Image, orientation, error) {
	rest, err := webpChunks(data)
	if err != nil {
		return nil, 0, err
	}
	var img *Image
	for {
		chunk, r, err := nextChunk(rest)
		if err == io.EOF && img != nil {
			return img, webpOrientation(data), nil
		}
		if err != nil {
			return nil, 0, err
		}
		rest = r
		switch chunk.id {
		case "VP8 ", "VP8L", "ANMF":
			if img != nil {
				continue // a later frame
			}
			if img, err = decodeFrame(chunk, c); err != nil {
				return nil, 0, err
			}
		}
	}
}

// webpOrientation looks for EXIF chunks, of which the last counts.
func webpOrientation(data []byte) orientation {
	turn := orientation(1)
	rest, err := webpChunks(data)
	for err == nil {
		var chunk riffChunk
		if chunk, rest, err = nextChunk(rest); err == nil && chunk.id == "EXIF" {
			exif, _ := bytes.CutPrefix(chunk.data, []byte("Exif\x00\x00"))
			turn = tiffOrientation(exif)
		}
	}
	return turn
}

// decodeFrame decodes a VP8 or VP8L chunk, or the one inside an ANMF chunk.
func decodeFrame(chunk riffChunk, c job) (*Image, error) {
	switch chunk.id {
	case "VP8 ":
		return decodeVP8(chunk.data, c)
	case "VP8L":
		return decodeVP8L(chunk.data, c)
	}
	const frameHeader = 16 // position, size, duration and flags of the frame
	if len(chunk.data) < frameHeader {
		return nil, io.ErrUnexpectedEOF
	}
	for rest := chunk.data[frameHeader:]; ; {
		inner, r, err := nextChunk(rest)
		if err != nil {
			return nil, err
		}
		if inner.id == "VP8 " || inner.id == "VP8L" {
			return decodeFrame(inner, c)
		}
		rest = r
	}
}

func decodeVP8(data []byte, c job) (*Image, error) {
	d := vp8.NewDecoder()
	d.Init(bytes.NewReader(data), len(data))
	h, err := d.DecodeFrameHeader()
	if err != nil {
		return nil, err
	}
	if !h.KeyFrame {
		return nil, errors.New("not a key frame")
	}
	if err := c.check(h.Width, h.Height); err != nil {
		return nil, err
	}
	planes, err := d.DecodeFrame()
	if err != nil {
		return nil, err
	}
	return fromVP8(planes, c), nil
}

func decodeVP8L(data []byte, c job) (*Image, error) {
	head, err := vp8l.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	if err := c.check(head.Width, head.Height); err != nil {
		return nil, err
	}
	src, err := vp8l.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return toRGB(src, c)
}
