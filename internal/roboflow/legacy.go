package roboflow

import (
	"bytes"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"lazyolo/internal/bodies"
	"lazyolo/yolo"
)

// maxParts bounds the parts of a multipart form that are looked at.
const maxParts = 100

// legacyModel takes /{model}/{version} apart; false: the path is no such, or the
// older paths are switched off.
func (d *Door) legacyModel(path string) (m *yolo.Model, version string, ok bool) {
	if !d.o.Legacy || !strings.HasPrefix(path, "/") {
		return nil, "", false
	}
	name, version, two := strings.Cut(path[1:], "/")
	if !two || version == "" || strings.Contains(version, "/") || d.reserved[name] {
		return nil, "", false
	}
	m, err := d.named(name)
	return m, version, m != nil && err == nil
}

// legacy answers POST and GET /{model}/{version}.
func (d *Door) legacy(w http.ResponseWriter, r *http.Request, m *yolo.Model, version string) error {
	if r.Method != http.MethodPost && r.Method != http.MethodGet {
		return notAllowed(w, "GET, POST")
	}
	if err := ofVersion(m, version); err != nil {
		return err
	}
	if taskOf(m).path == "" {
		return wrongTask(m, "")
	}
	held := d.o.Bodies.Claim()
	defer held.Release()
	body, err := d.readBody(w, r, held)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	a, format, err := legacyAsk(q)
	if err != nil {
		return err
	}
	p, raw, err := legacyPicture(r, q, body, held)
	if err != nil {
		return err
	}
	ctx, cancel := d.deadline(r.Context())
	defer cancel()
	if !raw {
		if p.value, err = d.open(ctx, p, held); err != nil {
			return err
		}
	}
	classes, err := classesOf(m, a.only)
	if err != nil {
		return err
	}
	out, err := d.lookOnce(ctx, yolo.Request{
		Model: m.ID, Image: p.value, Conf: a.conf, IoU: a.iou, MaxDet: a.maxDet, AgnosticNMS: a.agnostic, Classes: classes,
	}, a)
	if err != nil {
		return ofPicture(p.field, err)
	}
	if format == "image" {
		w.Header().Set("Content-Type", "image/jpeg")
		w.Header().Set("Content-Length", strconv.Itoa(len(out.Visualization)))
		_, err := w.Write(out.Visualization)
		return err
	}
	return writeJSON(w, http.StatusOK, out)
}

// legacyPicture finds the picture: the query's URL, the form's file, as it is (raw),
// or the body as base64.
func legacyPicture(r *http.Request, q url.Values, body []byte, held *bodies.Claim) (p picture, raw bool, err error) {
	if at := q.Get("image"); at != "" {
		return picture{field: "image", url: true, value: []byte(at)}, false, nil
	}
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err == nil && kind == "multipart/form-data" {
		if err := held.Grow(r.Context(), int64(len(body))); err != nil {
			return p, false, err
		}
		data, err := formFile(body, params["boundary"])
		return picture{field: "file", value: data}, true, err
	}
	if len(body) == 0 {
		return p, false, yolo.Errorf(yolo.Invalid, "there is no picture: send it as base64 text in the body, or as the file of a multipart form")
	}
	return picture{field: "the body", value: body}, false, nil
}

// formFile returns the part called file.
func formFile(body []byte, boundary string) ([]byte, error) {
	form := multipart.NewReader(bytes.NewReader(body), boundary)
	for range maxParts {
		part, err := form.NextRawPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, yolo.Errorf(yolo.Invalid, "the multipart form cannot be read")
		}
		if part.FormName() != "file" {
			continue
		}
		data, err := io.ReadAll(part)
		if err != nil || len(data) == 0 {
			return nil, wrong("file", "is empty or cut off")
		}
		return data, nil
	}
	return nil, wrong("file", "is missing from the multipart form")
}

// legacyAsk reads the query of an older request.
func legacyAsk(q url.Values) (a *ask, format string, err error) {
	a = &ask{mask: maskPolygon}
	if a.conf, err = share(q, "confidence"); err != nil {
		return nil, "", err
	}
	if a.iou, err = share(q, "overlap"); err != nil {
		return nil, "", err
	}
	least, err := share(q, "keypoint_confidence")
	if err != nil {
		return nil, "", err
	}
	if least != nil {
		a.keypoint = *least
	}
	if s := q.Get("max_detections"); s != "" {
		if a.maxDet, err = whole("max_detections", []byte(s), 1, maxDetections); err != nil || a.maxDet == 0 {
			return nil, "", wrong("max_detections", "must be a whole number from 1 to %d", maxDetections)
		}
	}
	if s := q.Get("class_agnostic_nms"); s != "" {
		if a.agnostic, err = truth("class_agnostic_nms", []byte(strings.ToLower(s))); err != nil {
			return nil, "", err
		}
	}
	if s := q.Get("classes"); s != "" {
		a.only = strings.Split(s, ",")
		if len(a.only) > maxFilter {
			return nil, "", wrong("classes", "has more than %d names", maxFilter)
		}
	}
	if s := q.Get("response_mask_format"); s == maskRLE {
		a.mask = maskRLE
	}
	switch format = q.Get("format"); format {
	case "", "json":
	case "image", "image_and_json":
		a.draw = true
	default:
		return nil, "", wrong("format", "must be json, image or image_and_json")
	}
	return a, format, nil
}

// share reads a share of one: 0.4, or 40 for as many percent; nil: not given.
func share(q url.Values, name string) (*float64, error) {
	s := q.Get(name)
	if s == "" {
		return nil, nil
	}
	v, err := number(name, []byte(s), 0, 100)
	if err != nil || v == nil {
		return nil, wrong(name, "must be a number from 0 to 1, or a percentage up to 100")
	}
	if *v >= 1 {
		*v /= 100
	}
	return v, nil
}
