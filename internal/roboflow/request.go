package roboflow

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"lazyolo/yolo"
)

// Limits of one request.
const (
	maxPictures   = 64    // in a list; they are looked at one after the other
	maxDetections = 30000 // objects of one picture
	maxFilter     = 10000 // names in class_filter
)

// How the pixels of an object may be told.
const (
	maskPolygon = "polygon"
	maskRLE     = "rle"
)

// An ask is what a request asks for.
type ask struct {
	model    string
	pictures []picture
	list     bool // pictures came as a list, and so are the answers

	conf, iou *float64 // nil: the server's
	maxDet    int      // 0: the server's
	agnostic  bool
	only      []string // class_filter; nil: all
	draw      bool     // visualize_predictions
	mask      string   // maskPolygon or maskRLE
	keypoint  float64  // keypoints less sure than this are left out
}

// A picture is one picture of a request.
type picture struct {
	field string // image, or image[3]
	url   bool
	value []byte // base64 text or a URL, part of the body
}

// parseInfer reads the body of a POST /infer/*. The ask keeps parts of the body.
// Fields that are not known are ignored, as the dialect does.
func parseInfer(body []byte) (*ask, error) {
	a := &ask{mask: maskPolygon}
	object, err := parseObject(body)
	if err != nil {
		return nil, err
	}
	if err := members(object, a.field); err != nil {
		return nil, err
	}
	switch {
	case a.model == "":
		return nil, wrong("model_id", "is missing: name a model's folder, such as \"model_0\" or \"model_0/1\"")
	case len(a.pictures) == 0 && !a.list:
		return nil, wrong("image", `is missing: send {"type": "base64", "value": "…"} or a list of such`)
	}
	return a, nil
}

// parseObject checks that a body is one JSON object and returns it.
func parseObject(body []byte) ([]byte, error) {
	body = bytes.Trim(body, " \t\r\n")
	if len(body) == 0 || body[0] != '{' || !json.Valid(body) {
		return nil, yolo.Errorf(yolo.Invalid, "the request body must be a JSON object")
	}
	return body, nil
}

// field reads one member of a request.
func (a *ask) field(key string, value []byte) (err error) {
	switch key {
	case "model_id":
		a.model, err = word(key, value)
	case "image":
		err = a.image(value)
	case "confidence":
		if s := string(value[:min(len(value), 12)]); s == `"best"` || s == `"default"` {
			a.conf = nil
			return nil
		}
		if a.conf, err = number(key, value, 0, 1); err != nil {
			err = wrong(key, `must be a number from 0 to 1, "best" or "default"`)
		}
	case "iou_threshold":
		a.iou, err = number(key, value, 0, 1)
	case "max_detections":
		a.maxDet, err = whole(key, value, 1, maxDetections)
	case "class_agnostic_nms":
		a.agnostic, err = truth(key, value)
	case "class_filter":
		err = a.filter(value)
	case "visualize_predictions":
		a.draw, err = truth(key, value)
	case "response_mask_format":
		a.mask, err = maskFormat(key, value)
	case "keypoint_confidence":
		var v *float64
		if v, err = number(key, value, 0, 1); v != nil {
			a.keypoint = *v
		}
	}
	return err
}

func maskFormat(key string, value []byte) (string, error) {
	s, err := word(key, value)
	switch {
	case err == nil && s == "":
		return maskPolygon, nil
	case err != nil || s != maskPolygon && s != maskRLE:
		return "", wrong(key, `must be "polygon" or "rle"`)
	}
	return s, nil
}

// filter reads class_filter.
func (a *ask) filter(value []byte) error {
	const must = "must be a list of class names"
	if a.only = nil; isNull(value) {
		return nil
	}
	if value[0] != '[' {
		return wrong("class_filter", must)
	}
	a.only = []string{}
	return elements(value, func(v []byte) error {
		switch {
		case len(a.only) == maxFilter:
			return wrong("class_filter", "has more than %d names", maxFilter)
		case !isString(v) || len(v) > maxWord:
			return wrong("class_filter", must)
		}
		a.only = append(a.only, text(v))
		return nil
	})
}

// image reads one picture or a list of them.
func (a *ask) image(value []byte) error {
	a.pictures, a.list = nil, value[0] == '['
	if !a.list {
		p, err := readPicture("image", value)
		a.pictures = append(a.pictures, p)
		return err
	}
	return elements(value, func(v []byte) error {
		if len(a.pictures) == maxPictures {
			return wrong("image", "has more than %d pictures: send them in several requests", maxPictures)
		}
		p, err := readPicture(fmt.Sprintf("image[%d]", len(a.pictures)), v)
		a.pictures = append(a.pictures, p)
		return err
	})
}

// readPicture reads {"type": …, "value": …}.
func readPicture(field string, value []byte) (picture, error) {
	p := picture{field: field}
	if value[0] != '{' {
		return p, wrong(field, `must be an object such as {"type": "base64", "value": "…"}`)
	}
	kind := ""
	err := members(value, func(key string, v []byte) (err error) {
		switch key {
		case "type":
			kind, err = word(field+".type", v)
		case "value":
			if isString(v) {
				p.value = inside(v)
			} else {
				p.value = nil
			}
		}
		return err
	})
	switch {
	case err != nil:
		return p, err
	case kind == "numpy":
		return p, wrong(field+".type", `"numpy" is not served, because it takes running a pickle: send the picture as base64`)
	case kind != "base64" && kind != "url":
		return p, wrong(field+".type", `must be "base64" or "url"`)
	case len(p.value) == 0:
		return p, wrong(field+".value", "must be a text that is not empty")
	}
	p.url = kind == "url"
	return p, nil
}

// errBase64 says what a picture's text is not.
var errBase64 = errors.New("not base64")

// decodeBase64 decodes text into its own place: what it decodes to is shorter. It
// takes a data: URL, too, line breaks, and text without padding.
func decodeBase64(b []byte) ([]byte, error) {
	if bytes.HasPrefix(b, []byte("data:")) {
		comma := bytes.IndexByte(b[:min(len(b), maxWord)], ',')
		if comma < 0 || !bytes.HasSuffix(b[:comma], []byte(";base64")) {
			return nil, errBase64
		}
		b = b[comma+1:]
	}
	b = bytes.TrimRight(bytes.TrimLeft(b, " \t\r\n"), "= \t\r\n")
	// The decoder reads a piece into a buffer of its own before it decodes that.
	from := base64.NewDecoder(base64.RawStdEncoding, bytes.NewReader(b))
	n := 0
	for {
		k, err := from.Read(b[n:])
		n += k
		switch {
		case err == io.EOF:
			return b[:n], nil
		case err != nil || k == 0:
			return nil, errBase64
		}
	}
}
