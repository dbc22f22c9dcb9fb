// Package torch reads the checkpoints that torch.save writes (".pt") as data:
// a zip archive with a pickle that describes a tree of modules, and the raw
// storages of their tensors. Nothing in a file is ever executed: the pickle
// machine here knows no classes and calls nothing, it builds inert values.
//
// # The format
//
// The archive holds <root>/data.pkl (pickle protocol 2 to 5), one member
// <root>/data/<number> for each storage, and <root>/byteorder. Members are
// stored or deflated; <root> is any one folder name. Sources: the zip
// application note (APPNOTE.TXT 6.3, zip64 included), Python's pickletools
// documentation for the opcodes, and files written by torch 1.8 to 2.15.
// Not read: the format before torch 1.6 (no zip), TorchScript archives, files
// with weights alone (a state_dict) and big-endian files.
//
// # What is allowed
//
// A pickle names what it is made of ("globals"). Those in the list of
// globals.go become inert values; any other one makes the file refused with the
// global's name. A file that is damaged, contradicts itself or goes beyond the
// limits below is refused too; no input makes the package panic.
//
// # Memory
//
// Open maps the file, and tensors are read where they lie; they are valid until
// Close. As with any mapping, a file that is cut short while it is open ends the
// process at the next read beyond its end: read files that others may change in
// a process of their own. Apart from the mapping a Checkpoint takes at most
// maxObjects, and as much again while the garbage collector has not run.
package torch

import (
	"errors"
	"fmt"
	"os"
)

// The limits on a file. Real checkpoints stay well below: the largest model has a
// pickle of about 700 KB, which builds 10 MB.
const (
	maxMembers    = 1 << 16  // members of the archive
	maxName       = 512      // bytes in the name of a member or a global, in a key of a dict and in an int
	maxPickle     = 16 << 20 // bytes of data.pkl, inflated
	maxObjects    = 28 << 20 // bytes of values the pickle may build, an inflated data.pkl included
	maxOps        = 8 << 20  // opcodes
	maxStack      = 1 << 18  // values on the pickle's stack, and open marks
	maxMemo       = 1 << 19  // numbered values of a pickle
	maxElements   = 1 << 31  // of a storage
	maxRank       = 8        // dimensions of a tensor
	maxDepth      = 64       // modules inside one another
	maxModules    = 1 << 15  // places in the tree; a module that stands in two places counts twice
	maxPath       = 256      // bytes in the name of a place
	maxEntries    = 1 << 22  // attributes, parameters and buffers of all places
	maxInflation  = 4        // times a deflated storage may grow beyond freeInflation bytes
	freeInflation = 4 << 20
	maxInflated   = 1 << 30 // bytes inflated in all, beside 16 times the file
)

// remedy is the way out for a file that only Python can read.
const remedy = "load it with the software that wrote it, export the model to ONNX and use that file"

// A Checkpoint is an open file. It is not safe for concurrent use.
type Checkpoint struct {
	model   *Module
	part    string
	top     *Dict
	archive *archive
	close   func() error
}

// Open opens the checkpoint at path; Close must follow.
func Open(path string) (*Checkpoint, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open checkpoint: %w", err)
	}
	defer f.Close()
	return OpenFile(f)
}

// OpenFile opens the checkpoint in f, which may be closed afterwards.
func OpenFile(f *os.File) (*Checkpoint, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("open checkpoint: %w", err)
	}
	if !st.Mode().IsRegular() {
		return nil, errors.New("open checkpoint: not a regular file")
	}
	if st.Size() == 0 {
		return nil, errors.New("open checkpoint: the file is empty")
	}
	data, unmap, err := mapFile(f, st.Size())
	if err != nil {
		return nil, fmt.Errorf("open checkpoint: %w", err)
	}
	c, err := Read(data)
	if err != nil {
		return nil, errors.Join(err, unmap())
	}
	c.close = unmap
	return c, nil
}

// Read reads the checkpoint that is data, which must not change afterwards.
func Read(data []byte) (*Checkpoint, error) {
	a, err := openArchive(data)
	if err != nil {
		return nil, fmt.Errorf("open checkpoint: %w", err)
	}
	c := &Checkpoint{archive: a, close: func() error { return nil }}
	if err := c.read(); err != nil {
		return nil, fmt.Errorf("open checkpoint: %w", err)
	}
	return c, nil
}

func (c *Checkpoint) read() error {
	pickle, held, err := c.archive.pickle()
	if err != nil {
		return err
	}
	m := newMachine(pickle, maxObjects-held)
	top, err := m.run()
	if err != nil {
		// A forbidden global says more than what goes wrong after it.
		if len(m.foreign) > 0 {
			return foreignGlobal(m.foreign[0])
		}
		return fmt.Errorf("%s: %w", c.archive.root+"data.pkl", err)
	}
	err = c.choose(top)
	if err == nil {
		err = c.build()
	}
	var own *foreignModule
	if len(m.foreign) > 0 && !errors.As(err, &own) {
		return foreignGlobal(m.foreign[0])
	}
	return err
}

// choose finds the model in the checkpoint's top value: the averaged weights
// ("ema") before the plain ones, as the software that writes them does.
func (c *Checkpoint) choose(top any) error {
	d, ok := top.(*Dict)
	if !ok {
		return fmt.Errorf("the file holds %s, not the dict of a checkpoint with its model; %s", describe(top), remedy)
	}
	c.top = d
	if v := d.Get("modelopt"); v != nil {
		return errors.New("the model was trained with quantisation (modelopt), which is not supported; " + remedy)
	}
	for _, part := range []string{"ema", "model"} {
		if o, ok := d.Get(part).(*Object); ok {
			c.part, c.model = part, &Module{object: o, Class: o.Class}
			return nil
		}
	}
	if weightsOnly(d) {
		return errors.New("the file is a state_dict: weights without the structure of their model; save the whole checkpoint, or " + remedy)
	}
	for _, part := range []string{"ema", "model"} {
		if inner, ok := d.Get(part).(*Dict); ok && weightsOnly(inner) {
			return fmt.Errorf("%q is a state_dict: weights without the structure of their model; save the whole model, or %s", part, remedy)
		}
	}
	return fmt.Errorf("neither \"ema\" nor \"model\" is a module (ema is %s, model is %s)", describe(d.Get("ema")), describe(d.Get("model")))
}

// weightsOnly reports whether d looks like a state_dict.
func weightsOnly(d *Dict) bool {
	for i := range d.Len() {
		if _, v := d.At(i); !isTensor(v) {
			return false
		}
	}
	return d.Len() > 0
}

func isTensor(v any) bool { _, ok := v.(*Tensor); return ok }

// Model returns the root of the module tree.
func (c *Checkpoint) Model() *Module { return c.model }

// Part tells where the model stood in the file: "ema" or "model".
func (c *Checkpoint) Part() string { return c.part }

// Value returns an entry of the checkpoint's dict, such as "version" or
// "train_args"; nil when there is none.
func (c *Checkpoint) Value(key string) any { return c.top.Get(key) }

// Verify reads every parameter and buffer of the model and checks it against
// the archive's checksums.
func (c *Checkpoint) Verify() error {
	return c.model.walk(func(m *Module) error {
		for name, t := range m.tensors() {
			if _, err := t.Values(); err != nil {
				return fmt.Errorf("%s: %w", join(m.Path, name), err)
			}
		}
		return nil
	})
}

// Close gives the file back; its tensors must not be read afterwards.
func (c *Checkpoint) Close() error { return c.close() }
