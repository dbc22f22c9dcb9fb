package httpapi

import (
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"lazyolo/internal/bodies"
	"lazyolo/yolo"
)

// The limits are Starlette's.
const (
	maxFields    = 1000
	maxFiles     = 1000
	maxFieldSize = 1 << 20 // bytes of a field that is not a file
)

// A field is one part of a form. Its bytes are the request body's.
type field struct {
	name     string
	file     bool // it has a filename parameter
	filename string
	data     []byte
}

// A form is what detection looks at of a form.
type form struct {
	files  []*field            // the parts named file, in order; the last decides
	fields map[string][]*field // the parts with an option's name
	query  url.Values          // of the URL: options stand there too
	raw    bool                // the body is the picture itself
	body   int                 // bytes the whole body occupies
}

// detectInput is a form that passed.
type detectInput struct {
	pictures []picture // at least one, in order
	model    string    // a whole number in its shortest decimal form, or, if named, an id or name
	named    bool
	request  yolo.Request // its options
	masks    string       // "polygon", "rle", "none"
	format   string       // formatJSON, formatImage, formatBoth
	body     int          // bytes of the buffer the pictures are part of
}

// A picture is one file of a request.
type picture struct {
	image    []byte
	filename string // as the client gave it
}

// fieldError is one line of a 422 answer, as pydantic writes it.
type fieldError struct {
	Type  string `json:"type"`
	Loc   []any  `json:"loc"`
	Msg   string `json:"msg"`
	Input any    `json:"input"`
	Ctx   any    `json:"ctx,omitempty"`
}

// readForm reads the body as its Content-Type says: a form, or the picture itself
// (image/*). A body that is neither counts as an empty form and is not read. What
// is read is charged to held.
func (s *server) readForm(w http.ResponseWriter, r *http.Request, held *bodies.Claim) (*form, error) {
	media, params := parseOptions(r.Header.Get("Content-Type"))
	f := &form{query: r.URL.Query(), raw: strings.HasPrefix(media, "image/")}
	switch {
	case f.raw, media == "multipart/form-data", media == "application/x-www-form-urlencoded":
	default:
		return f, nil
	}
	body, err := s.readBody(w, r, held)
	if err != nil {
		return nil, err
	}
	f.body = cap(body)
	if f.raw {
		f.files = []*field{{name: "file", file: true, data: body}}
		return f, nil
	}
	if media == "multipart/form-data" {
		boundary, ok := params["boundary"]
		if !ok {
			return nil, badForm("Missing boundary in multipart.")
		}
		return f, parseMultipart(body, boundary, f.add)
	}
	return f, parseURLEncoded(body, f.add)
}

// badForm refuses a body that cannot be read as a form.
func badForm(text string) error { return detail(http.StatusBadRequest, text) }

// add keeps what detection looks at.
func (f *form) add(p field) {
	switch p.name {
	case "file":
		f.files = append(f.files, &p)
	case "model_id", "model", "conf", "iou", "max_det", "classes", "agnostic_nms", "nms", "imgsz", "keep_alive", "format", "masks":
		if f.fields == nil {
			f.fields = make(map[string][]*field)
		}
		f.fields[p.name] = append(f.fields[p.name], &p)
	}
}

// last returns the last part with a name, which wins, or nil.
func (f *form) last(name string) *field {
	if all := f.fields[name]; len(all) > 0 {
		return all[len(all)-1]
	}
	return nil
}

// detectInput checks the form as FastAPI checks `file: UploadFile = File(...)`,
// if withModel, `model_id: int = Form(0)`, and the options: every complaint at
// once, in that order.
func (f *form) detectInput(withModel bool) (detectInput, error) {
	in := detectInput{model: "0", body: f.body}
	a := &asker{form: f}
	f.pictures(&in, a)
	if withModel {
		f.model(&in, a)
	}
	a.options(&in)
	a.shadowed().options(new(detectInput)) // what the form overrules must be right, too
	if len(a.bad) > 0 {
		return detectInput{}, &wireError{http.StatusUnprocessableEntity, detailBody{a.bad}, nil}
	}
	return in, nil
}

// options reads what may be asked of a detection.
func (a *asker) options(in *detectInput) {
	in.request.Conf = a.float("conf", 0, 1)
	in.request.IoU = a.float("iou", 0, 1)
	in.request.MaxDet = a.int("max_det", 1, 30000)
	in.request.Classes = a.ints("classes")
	in.request.AgnosticNMS = a.yes("agnostic_nms")
	in.request.NMS = a.bool("nms")
	in.request.ImgSz = a.int("imgsz", 32, 2048)
	in.request.KeepAlive = a.keepAlive("keep_alive")
	var loc []any
	in.format, loc = a.choice("format", formatJSON, formatImage, formatBoth)
	if in.format == formatImage && len(in.pictures) > 1 {
		a.complain(fieldError{Type: "value_error", Loc: loc, Msg: "Value error, an answer that is a picture takes one file; use format=image_and_json", Input: in.format})
	}
	in.masks, _ = a.choice("masks", "polygon", "rle", "none")
}

// pictures takes every file, if the last part of that name is one: the only one
// that the old server looked at.
func (f *form) pictures(in *detectInput, a *asker) {
	var last *field
	if len(f.files) > 0 {
		last = f.files[len(f.files)-1]
	}
	switch {
	case last.absent():
		a.complain(fieldError{Type: "missing", Loc: at("file"), Msg: "Field required"})
	case !last.file:
		a.complain(fieldError{
			Type: "value_error", Loc: at("file"),
			Msg:   "Value error, Expected UploadFile, received: <class 'str'>",
			Input: decodeText(last.data),
			Ctx:   map[string]struct{}{"error": {}},
		})
	}
	for _, p := range f.files {
		if p.file && !p.absent() {
			in.pictures = append(in.pictures, picture{p.data, p.filename})
		}
	}
}

// model reads which model is asked for: model wins over model_id, and the old
// server's model_id counts in a form, or, where there is none, in the query.
func (f *form) model(in *detectInput, a *asker) {
	if p := f.last("model_id"); !p.absent() {
		id, err := modelNumber(p)
		if err != nil {
			a.complain(*err)
		}
		in.model = id
	} else if text := f.query.Get("model_id"); f.raw && text != "" {
		id, err := wholeNumber(text, []any{"query", "model_id"})
		if err != nil {
			a.complain(*err)
		}
		in.model = id
	}
	if name, _, ok := a.text("model", "string_type", "Input should be a valid string"); ok {
		in.model, in.named = name, true
	}
}

// absent reports whether FastAPI would take the default: no part, an empty
// text, or the empty nameless file a browser sends when none was chosen.
func (p *field) absent() bool {
	return p == nil || len(p.data) == 0 && p.filename == ""
}

// modelNumber reads a model_id; one of the two results is empty.
func modelNumber(p *field) (string, *fieldError) {
	if p.file {
		return "", p.notText("int_type", "Input should be a valid integer")
	}
	return wholeNumber(decodeText(p.data), at("model_id"))
}

// notText refuses a file where a value should be.
func (p *field) notText(kind, msg string) *fieldError {
	return &fieldError{
		Type: kind, Loc: at(p.name), Msg: msg,
		Input: struct {
			Filename string `json:"filename"`
			Size     int    `json:"size"`
		}{p.filename, len(p.data)},
	}
}

// wholeNumber reads a whole number of any size.
func wholeNumber(text string, loc []any) (string, *fieldError) {
	id, problem := parseInt(text)
	switch problem {
	case intSize:
		return "", &fieldError{
			Type: "int_parsing_size", Loc: loc, Input: text,
			Msg: "Unable to parse input string as an integer, exceeded maximum size",
		}
	case intSyntax:
		return "", &fieldError{
			Type: "int_parsing", Loc: loc, Input: text,
			Msg: "Input should be a valid integer, unable to parse string as an integer",
		}
	}
	return id, nil
}

func at(name string) []any { return []any{"body", name} }

// decodeText reads bytes as UTF-8 or, where they are not, as Latin-1.
func decodeText(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	var s strings.Builder
	for _, c := range b {
		s.WriteRune(rune(c))
	}
	return s.String()
}
