package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"lazyolo/internal/imaging"
	"lazyolo/internal/machine"
	"lazyolo/internal/ort"
	"lazyolo/internal/turbojpeg"
	"lazyolo/yolo"
)

// A bare is ONNX Runtime and nothing else: the session the server has, with its
// options and threads, on the prepared file it maps, fed from one tensor that is
// there before. It also does a request's other steps one by one, to tell their time.
type bare struct {
	session *ort.Session
	fit     imaging.Fit
	codec   *imaging.Codec
	picture []byte
	image   *imaging.Image
	input   yolo.Tensor
}

// runtime opens ONNX Runtime, once in the process.
func (b *work) runtime() (*ort.Runtime, error) {
	if b.ort != nil {
		return b.ort, nil
	}
	var err error
	b.ort, err = ort.Open(b.library, ort.Options{})
	return b.ort, err
}

// weights is the file of the only model of a set.
func (b *work) weights(set string) string {
	return filepath.Join(b.models(set, "onnx"), "model_0", "best.onnx")
}

// openBare opens the only model of a set, for a picture.
func (b *work) openBare(set string, picture []byte) (*bare, error) {
	file, err := b.prepared(b.weights(set))
	if err != nil {
		return nil, err
	}
	data, err := mapFile(file)
	if err != nil {
		return nil, err
	}
	unmap := func() error { return unix.Munmap(data) }
	rt, err := b.runtime()
	if err != nil {
		return nil, errors.Join(err, unmap())
	}
	session, err := rt.OpenMapped(data, cmp.Or(b.threads, machine.CPUs()), unmap)
	if err != nil {
		return nil, err
	}
	codec := &imaging.Codec{JPEG: new(turbojpeg.Library)}
	img, err := codec.Decode(picture, nil)
	if err != nil {
		return nil, errors.Join(err, session.Close())
	}
	in := session.Inputs()[0].Shape
	r := &bare{session: session, codec: codec, picture: picture, image: img}
	if r.fit = imaging.Letterbox(img.Width, img.Height, int(in[3]), int(in[2])); in[3] < 0 { // dynamic
		r.fit = imaging.LetterboxAuto(img.Width, img.Height, 640, 32)
	}
	r.input = yolo.Tensor{Shape: []int64{1, 3, int64(r.fit.Height), int64(r.fit.Width)}, Data: make([]float32, 3*r.fit.Width*r.fit.Height)}
	r.fit.Fill(r.input.Data, img, 0)
	return r, nil
}

// run is one inference.
func (r *bare) run(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	err := r.session.Run(ctx, []yolo.Tensor{r.input}, func(out []yolo.Tensor) error {
		if len(out[0].Data) == 0 {
			return errors.New("empty output")
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("bare run: %w", err)
	}
	return time.Since(began), nil
}

// decode reads the picture.
func (r *bare) decode(context.Context) (time.Duration, error) {
	began := time.Now()
	img, err := r.codec.Decode(r.picture, nil)
	if err != nil {
		return 0, err
	}
	img.Free()
	return time.Since(began), nil
}

// letterbox fills the input tensor.
func (r *bare) letterbox(context.Context) (time.Duration, error) {
	began := time.Now()
	r.fit.Fill(r.input.Data, r.image, 0)
	return time.Since(began), nil
}

// prepared finds the prepared file of weights in the servers' cache.
func (b *work) prepared(weights string) (string, error) {
	content, err := os.ReadFile(weights)
	if err != nil {
		return "", err
	}
	digest := fmt.Sprintf("%x", sha256.Sum256(content))
	infos, err := filepath.Glob(b.path("cache", "*", "info.json"))
	if err != nil {
		return "", err
	}
	for _, name := range infos {
		text, err := os.ReadFile(name)
		if err != nil {
			return "", err
		}
		var info struct{ Digest, Runtime string }
		if err := json.Unmarshal(text, &info); err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
		if info.Digest == digest && info.Runtime == b.library.Version {
			return filepath.Join(filepath.Dir(name), "model.ort"), nil
		}
	}
	return "", fmt.Errorf("no prepared file of %s among %d in %s", weights, len(infos), b.path("cache"))
}

// mapFile maps a file as the server does.
func mapFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close() // the mapping stays
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ, unix.MAP_SHARED)
}
