package httpapi

import (
	"bytes"
	"context"
	"net/http"
	"strconv"

	"lazyolo/yolo"
)

// What the option format can ask for.
const (
	formatJSON  = "json"           // the old server's answer
	formatImage = "image"          // the annotated picture, a JPEG
	formatBoth  = "image_and_json" // the answer with the picture in it
)

// render draws the annotated picture if the request asks for one.
func (s *server) render(ctx context.Context, format string, picture []byte, r *yolo.Result, a *answer) error {
	if format != formatImage && format != formatBoth {
		return nil
	}
	if s.o.Render == nil {
		return yolo.Errorf(yolo.Unsupported, "format=%s is not available, use format=json", format)
	}
	var b bytes.Buffer
	if err := s.o.Render(ctx, &b, "answer.jpg", picture, r); err != nil {
		return err
	}
	if format == formatImage {
		a.picture = b.Bytes()
	} else {
		a.Image = b.Bytes()
	}
	return nil
}

// writePicture answers with a JPEG.
func writePicture(w http.ResponseWriter, jpeg []byte) error {
	w.Header().Set("Content-Type", "image/jpeg")
	w.Header().Set("Content-Length", strconv.Itoa(len(jpeg)))
	_, err := w.Write(jpeg)
	return err
}
