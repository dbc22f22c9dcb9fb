package httpapi

import (
	"bytes"
	"context"
	"net/http"
	"strconv"
	"time"

	"lazyolo/yolo"
)

// detectV2 answers POST /api/v2/detect: a picture and, perhaps, a model_id.
func (s *server) detectV2(w http.ResponseWriter, r *http.Request) error {
	return s.detect(w, r, true)
}

// detectV1 answers POST /api/v1/detect: a picture, through model 0.
func (s *server) detectV1(w http.ResponseWriter, r *http.Request) error {
	return s.detect(w, r, false)
}

func (s *server) detect(w http.ResponseWriter, r *http.Request, withModel bool) error {
	held := s.bodies.Claim()
	defer held.Release()
	times := &timing{start: time.Now()}
	f, err := s.readForm(w, r, held)
	if err != nil {
		return err
	}
	times.body = time.Since(times.start)
	in, err := f.detectInput(withModel)
	if err != nil {
		return err
	}
	if in.request.LoadWait, err = loadWait(r.Header); err != nil {
		return err
	}
	if s.o.Annotate != nil {
		held.Keep()
	}
	s.requests.Add(1)
	m, err := s.find(in)
	if err != nil {
		return err
	}
	ctx, cancel := s.deadline(r.Context())
	defer cancel()
	// The last picture is the one the old server answered for; with several, there
	// is a list of all beside that answer.
	var last answer
	var all []answer
	for _, p := range in.pictures {
		last, err = s.look(ctx, m, in, p, times)
		if err != nil {
			alone, ok := ofPicture(err)
			if !ok || len(in.pictures) == 1 {
				return err
			}
			last = alone
		}
		one := last
		one.Filename = p.filename
		all = append(all, one)
	}
	times.tell(w.Header())
	if in.format == formatImage {
		return writePicture(w, last.picture)
	}
	if len(all) > 1 {
		last.Results = all
	}
	return writeJSON(w, http.StatusOK, last)
}

// An answer is what is said of one picture. Results is set in an answer to
// several, Filename in those it consists of.
type answer struct {
	Filename    string       `json:"filename,omitempty"`
	Predictions []prediction `json:"predictions,omitzero"`
	Probs       *probs       `json:"probs,omitempty"`
	Error       string       `json:"error,omitempty"`
	Reason      string       `json:"reason,omitempty"` // beside an error of few words
	Results     []answer     `json:"results,omitempty"`
	Image       []byte       `json:"image,omitempty"` // the annotated picture, as base64

	picture []byte // the same, when it is the whole answer
}

// ofPicture is what is said of one picture of several that err concerns alone, so
// that its neighbours are answered; false: err concerns them all.
func ofPicture(err error) (answer, bool) {
	switch yolo.CodeOf(err) {
	case yolo.Invalid:
		return answer{Error: undecodable, Reason: publicText(err)}, true
	case yolo.TooLarge:
		return answer{Error: publicText(err)}, true
	}
	return answer{}, false
}

// look detects in one picture and hands it to the annotator.
func (s *server) look(ctx context.Context, m *yolo.Model, in detectInput, p picture, times *timing) (answer, error) {
	req := in.request
	req.Model, req.Image = m.ID, p.image
	res, err := s.detector.Detect(ctx, req)
	switch {
	case err == nil:
	case yolo.CodeOf(err) == yolo.NotFound: // removed since we looked
		return answer{}, notFound(in.model)
	default:
		return answer{}, err
	}
	a := answer{Predictions: predictions(res, in.masks), Probs: probsOf(res)}
	if err := s.render(ctx, in.format, p.image, res, &a); err != nil {
		return answer{}, err
	}
	times.add(res)
	if s.o.Annotate != nil {
		s.o.Annotate.Save(safeName(p.filename, p.image), p.own(in.body), res)
	}
	return a, nil
}

// find returns the model that is asked for.
func (s *server) find(in detectInput) (*yolo.Model, error) {
	if !in.named {
		if m := s.model(in.model); m != nil {
			return m, nil
		}
		return nil, notFound(in.model)
	}
	var named []*yolo.Model
	for _, m := range s.models.All() {
		if m.ID == in.model {
			return m, nil
		}
		if m.Name == in.model {
			named = append(named, m)
		}
	}
	switch len(named) {
	case 1:
		return named[0], nil
	case 0:
		if m := s.model(in.model); m != nil {
			return m, nil
		}
		return nil, yolo.Errorf(yolo.NotFound, "Model %s not found", in.model)
	}
	return nil, yolo.Errorf(yolo.NotFound, "Model name %s is not unique, use a folder name such as %s", in.model, named[0].ID)
}

// model returns the model with that model_id, or nil. The number may be of any
// size. The catalog is asked by ID afterwards: a folder may be called "1".
func (s *server) model(id string) *yolo.Model {
	n, err := strconv.Atoi(id)
	if err != nil {
		return nil
	}
	for _, m := range s.models.All() {
		if m.Index == n {
			return m
		}
	}
	return nil
}

// notFound says so in the old server's words.
func notFound(id string) error {
	return yolo.Errorf(yolo.NotFound, "Model ID %s not found", id)
}

// deadline limits a detection to Options.RequestTimeout.
func (s *server) deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if s.o.RequestTimeout == 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, s.o.RequestTimeout)
}

// own returns the picture for someone who keeps it: a copy if keeping it would
// also keep a body that is much larger.
func (p picture) own(body int) []byte {
	if body/2 > len(p.image) {
		return bytes.Clone(p.image)
	}
	return p.image
}
