package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
)

// telling finds a request whose answer tells something of a model: the threshold
// is moved until some objects, and not all that may be, pass it.
func (p *process) telling(ctx context.Context, picture []byte, model int) (detection, []byte, error) {
	low, high := -5.0, 0.0 // log10 of the threshold
	best, bestAnswer, most := detection{}, []byte(nil), 0
	for range 16 {
		conf := math.Pow(10, (low+high)/2)
		d, err := newDetection(picture, model, "conf", strconv.FormatFloat(conf, 'g', 9, 64))
		if err != nil {
			return d, nil, err
		}
		_, answer, err := p.ask(ctx, d)
		if err != nil {
			return d, nil, err
		}
		switch n := bytes.Count(answer, []byte(`"class_id"`)); {
		case n > 250:
			low = (low + high) / 2
			continue
		case n > most:
			best, bestAnswer, most = d, answer, n
		}
		if most >= 3 {
			return best, bestAnswer, nil
		}
		high = (low + high) / 2
	}
	if most == 0 {
		return best, nil, errors.Join(errNothing, fmt.Errorf("model %d; see %s", model, p.log))
	}
	return best, bestAnswer, nil
}

var errNothing = errors.New("no threshold gives an answer with some objects")
