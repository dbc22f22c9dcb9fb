package detect

import (
	"math"
	"slices"
	"strings"
	"testing"

	"lazyolo/yolo"
)

func TestQueries(t *testing.T) {
	d := New(nil, nil, Options{Conf: 0.25, IoU: 0.45})
	num := func(v float64) *float64 { return &v }
	q, err := d.query(yolo.Request{})
	if err != nil || q.conf != 0.25 || q.iou != 0.45 || q.most != 300 || q.classes != nil || q.agnostic {
		t.Errorf("the server's defaults: %+v, %v", q, err)
	}
	q, err = d.query(yolo.Request{Conf: num(0), IoU: num(1), MaxDet: 7, Classes: []int{3}, AgnosticNMS: true, ImgSz: 2048})
	if err != nil || q.conf != 0 || q.iou != 1 || q.most != 7 || !slices.Equal(q.classes, []int{3}) || !q.agnostic {
		t.Errorf("the request's own: %+v, %v", q, err)
	}
	for want, r := range map[string]yolo.Request{
		"conf must lie in 0..1, got 1.5":        {Conf: num(1.5)},
		"iou must lie in 0..1, got NaN":         {IoU: num(math.NaN())},
		"max_det must lie in 0..30000, got -1":  {MaxDet: -1},
		"imgsz must lie in 0..2048, got 100000": {ImgSz: 100000},
	} {
		if _, err := d.query(r); err == nil || yolo.CodeOf(err) != yolo.Invalid || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
