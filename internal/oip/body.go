package oip

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"lazyolo/internal/bodies"
	"lazyolo/internal/door"
	"lazyolo/yolo"
)

// headerLength is the header that says how long the JSON before binary data is.
const headerLength = "Inference-Header-Content-Length"

// maxSmall bounds the body of a call that takes hardly any, in bytes.
const maxSmall = 64 << 10

// small reads the JSON of such a call; an empty body is one, too.
func (d *Door) small(w http.ResponseWriter, r *http.Request, read func(*scanner) error) error {
	if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(d.o.UploadTimeout)); err != nil {
		return fmt.Errorf("set read deadline: %w", err)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxSmall))
	if err != nil {
		return d.unread(w, r, err, maxSmall)
	}
	if err := uploaded(w); err != nil {
		return err
	}
	s := &scanner{b: body}
	if s.next() == 0 && s.at == len(body) {
		return nil
	}
	if err := read(s); err != nil {
		return err
	}
	return s.end()
}

// uploaded ends the time of an upload. Later the deadline would look as if the client
// had left.
func uploaded(w http.ResponseWriter) error {
	if err := http.NewResponseController(w).SetReadDeadline(time.Time{}); err != nil {
		return fmt.Errorf("clear read deadline: %w", err)
	}
	return nil
}

// unread maps an error of reading a body, of which something may still come.
func (d *Door) unread(w http.ResponseWriter, r *http.Request, err error, limit int64) error {
	w.Header().Set("Connection", "close") // what is left would be taken for the next request
	var tooLarge *http.MaxBytesError
	var known *yolo.Error
	switch {
	case errors.As(err, &tooLarge):
		err = d.tooLarge(limit)
	case errors.As(err, &known):
	case errors.Is(err, os.ErrDeadlineExceeded):
		return statusError{http.StatusRequestTimeout, fmt.Sprintf("the upload took longer than %v (UPLOAD_TIMEOUT)", d.o.UploadTimeout)}
	case r.Context().Err() != nil:
		return r.Context().Err()
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		err = yolo.Errorf(yolo.Invalid, "the body is shorter than it says")
	default:
		err = &yolo.Error{Code: yolo.Invalid, Msg: "the body cannot be read", Err: err}
	}
	door.Drain(r, d.o.MaxBody)
	return err
}

func (d *Door) tooLarge(limit int64) error {
	return yolo.Errorf(yolo.TooLarge, "the request body is larger than %d bytes (MAX_BODY_MB, MAX_QUEUE_MB)", limit)
}

// infer answers POST .../infer.
func (d *Door) infer(w http.ResponseWriter, r *http.Request, name, version string) error {
	held := d.core.o.Bodies.Claim()
	defer held.Release()
	conn := http.NewResponseController(w)
	if err := conn.SetReadDeadline(time.Now().Add(d.o.UploadTimeout)); err != nil {
		return fmt.Errorf("set read deadline: %w", err)
	}
	q, err := d.request(w, r, held)
	if err != nil {
		held.Release() // what is left is read without it
		return d.unread(w, r, err, d.core.o.Bodies.Largest(d.o.MaxBody))
	}
	if err := uploaded(w); err != nil {
		return err
	}
	q.Model, q.Version = name, version
	if err := q.read(r.Context(), held); err != nil {
		return err
	}
	answer, err := d.core.Infer(r.Context(), &q.Request, held)
	if err != nil {
		return err
	}
	return writeInference(w, q, answer)
}

// request reads a whole inference: JSON, and perhaps binary data behind it.
func (d *Door) request(w http.ResponseWriter, r *http.Request, held *bodies.Claim) (*draft, error) {
	limit := d.core.o.Bodies.Largest(d.o.MaxBody)
	if r.ContentLength > limit {
		return nil, d.tooLarge(limit)
	}
	body, size := io.Reader(http.MaxBytesReader(w, r.Body, limit)), r.ContentLength
	switch how := strings.ToLower(r.Header.Get("Content-Encoding")); how {
	case "", "identity":
	case "gzip", "deflate":
		plain, err := inflate(body, how)
		if err != nil {
			return nil, &yolo.Error{Code: yolo.Invalid, Msg: "the body is not of Content-Encoding " + how, Err: err}
		}
		body, size = http.MaxBytesReader(w, io.NopCloser(plain), limit), -1
	default:
		return nil, yolo.Errorf(yolo.Unsupported, "Content-Encoding %q is not served: send gzip, deflate or none", clip(how))
	}
	h := r.Header.Get(headerLength)
	if h == "" {
		text, err := held.ReadAll(r.Context(), body, size, limit)
		if err != nil {
			return nil, err
		}
		q, err := parse(text)
		if err != nil {
			return nil, err
		}
		return q, q.inJSON()
	}
	n, err := strconv.ParseInt(h, 10, 64)
	if err != nil || n < 0 || n > limit || size >= 0 && n > size {
		return nil, yolo.Errorf(yolo.Invalid, "%s is %q, it must be the length of the JSON at the beginning of the body", headerLength, clip(h))
	}
	if n == 0 {
		return d.rawRequest(r, body, size, held)
	}
	text, err := held.ReadFull(r.Context(), body, n)
	if err != nil {
		return nil, err
	}
	q, err := parse(text)
	if err != nil {
		return nil, err
	}
	return q, q.binary(r, body, size-n, held)
}

// inflate decompresses a body. deflate means zlib's format, as HTTP defines it.
func inflate(body io.Reader, how string) (io.Reader, error) {
	if how == "gzip" {
		return gzip.NewReader(body)
	}
	return zlib.NewReader(body)
}

// inJSON refuses inputs whose data is not in the JSON, where nothing is behind it.
func (d *draft) inJSON() error {
	for i, at := range d.data {
		if at.binary >= 0 {
			return yolo.Errorf(yolo.Invalid, "input %q: binary_data_size takes the header %s", clip(d.Inputs[i].Name), headerLength)
		}
	}
	return nil
}

// binary reads the data behind the JSON; left is how much there is, or negative.
func (d *draft) binary(r *http.Request, body io.Reader, left int64, held *bodies.Claim) error {
	if len(d.data) == 1 && d.data[0].to == 0 && d.data[0].binary < 0 && left >= 0 {
		d.data[0].binary = left // of a single input it may be left out
	}
	total := int64(0)
	for _, at := range d.data {
		if at.binary > math.MaxInt64-total {
			total = math.MaxInt64
		} else {
			total += max(0, at.binary)
		}
	}
	if left >= 0 && total != left {
		return yolo.Errorf(yolo.Invalid, "%d bytes follow the JSON, the inputs' binary_data_size come to %d", left, total)
	}
	for i, at := range d.data {
		if at.binary < 0 {
			continue
		}
		if total > 1<<40 { // no body is
			return io.ErrUnexpectedEOF
		}
		raw, err := held.ReadFull(r.Context(), body, at.binary)
		if err != nil {
			return err
		}
		if raw == nil {
			raw = []byte{}
		}
		d.Inputs[i].Raw = raw
	}
	switch n, err := body.Read(make([]byte, 1)); {
	case n > 0:
		return yolo.Errorf(yolo.Invalid, "more bytes follow the JSON than the inputs' binary_data_size come to, %d", total)
	case err != io.EOF && err != nil:
		return err
	}
	return nil
}

// rawRequest is a body without JSON: a picture, where its type says so, or the tensor of
// a model with one input of fixed shape. All outputs come as binary data.
func (d *Door) rawRequest(r *http.Request, body io.Reader, size int64, held *bodies.Claim) (*draft, error) {
	raw, err := held.ReadAll(r.Context(), body, size, d.core.o.Bodies.Largest(d.o.MaxBody))
	if err != nil {
		return nil, err
	}
	q := &draft{data: []span{{}}}
	q.Parameters = map[string]any{"binary_data_output": true}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "image/") {
		q.Inputs = []Input{{Name: pictureInput, DataType: bytesType, Shape: []int64{1}, Texts: [][]byte{raw}}}
		return q, nil
	}
	parts := strings.Split(r.URL.Path, "/")
	_, s, err := d.core.signature(r.Context(), parts[3], "") // the path was found by find
	if err != nil {
		return nil, err
	}
	if n, ok := elements(s.Inputs[0].Shape); len(s.Inputs) != 1 || !ok || n <= 0 {
		return nil, yolo.Errorf(yolo.Invalid, "a raw request needs a model with one input of fixed shape: send JSON before the data, or a picture as Content-Type: image/...")
	}
	q.Inputs = []Input{{Name: s.Inputs[0].Name, DataType: string(s.Inputs[0].DType), Shape: s.Inputs[0].Shape, Raw: raw}}
	return q, nil
}

// wireOutput is an output in an answer's JSON; its data follows the other fields.
type wireOutput struct {
	Name       string         `json:"name"`
	DataType   string         `json:"datatype"`
	Shape      []int64        `json:"shape"`
	Parameters map[string]any `json:"parameters,omitempty"`
}

// writeInference answers an inference: as JSON, or with binary data behind it where the
// request asks for that.
func writeInference(w http.ResponseWriter, q *draft, a *Response) error {
	all, _ := q.Parameters["binary_data_output"].(bool)
	binary := make([]bool, len(a.Outputs))
	size, some := 0, all
	for i := range a.Outputs {
		binary[i] = all
		for _, o := range q.Outputs {
			if b, ok := o.Parameters["binary_data"].(bool); ok && o.Name == a.Outputs[i].Name {
				binary[i] = b
			}
		}
		switch {
		case binary[i]:
			size, some = size+len(a.Outputs[i].Raw), true
		case a.Outputs[i].DataType == "FP16":
			return yolo.Errorf(yolo.Invalid, "output %q: FP16 has no form in JSON: ask for binary_data", a.Outputs[i].Name)
		}
	}
	head := &bytes.Buffer{}
	if !some { // the data may be much: it is written as it is made
		w.Header().Set("Content-Type", "application/json")
		out := bufio.NewWriterSize(w, 64<<10)
		writeHead(out, a, binary)
		_ = out.Flush() // a client that has left is not an error
		return nil
	}
	buffered := bufio.NewWriter(head)
	writeHead(buffered, a, binary)
	if err := buffered.Flush(); err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set(headerLength, strconv.Itoa(head.Len()))
	h.Set("Content-Length", strconv.Itoa(head.Len()+size))
	_, _ = w.Write(head.Bytes())
	for i := range a.Outputs {
		if binary[i] {
			_, _ = w.Write(a.Outputs[i].Raw)
		}
	}
	return nil
}

// writeHead writes the JSON of an answer.
func writeHead(out *bufio.Writer, a *Response, binary []bool) {
	// A bufio.Writer remembers its first error.
	fmt.Fprintf(out, `{"model_name":%s,"model_version":%s`, rawJSON(a.Model), rawJSON(a.Version))
	if a.ID != "" {
		fmt.Fprintf(out, `,"id":%s`, rawJSON(a.ID))
	}
	if len(a.Parameters) > 0 {
		fmt.Fprintf(out, `,"parameters":%s`, rawJSON(a.Parameters))
	}
	out.WriteString(`,"outputs":[`)
	for i, o := range a.Outputs {
		if i > 0 {
			out.WriteByte(',')
		}
		wire := wireOutput{Name: o.Name, DataType: o.DataType, Shape: o.Shape}
		if binary[i] {
			wire.Parameters = map[string]any{"binary_data_size": len(o.Raw)}
			out.Write(rawJSON(wire))
			continue
		}
		text := rawJSON(wire)
		out.Write(text[:len(text)-1])
		out.WriteString(`,"data":`)
		writeData(out, o)
		out.WriteByte('}')
	}
	out.WriteString(`]}`)
}
