package prepare

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime/debug"
	"strings"
	"syscall"

	"lazyolo/internal/convert"
	"lazyolo/internal/machine"
	"lazyolo/internal/ort"
	"lazyolo/internal/torch"
	"lazyolo/yolo"
)

// Work is the child's side: it reads a request from stdin, prepares the weights
// it inherits into the file it inherits, measures the result and writes
// a reply to stdout. It returns the exit code, and does not return when stdin
// ends first: then the server is gone.
func Work(stdin io.Reader, stdout io.Writer) int {
	in := bufio.NewReader(stdin)
	line, err := in.ReadBytes('\n')
	var req request
	if err != nil || json.Unmarshal(line, &req) != nil {
		fmt.Fprintln(os.Stderr, "lazyolo: prepare-worker is started by lazyolo itself")
		return 2
	}
	go func() {
		_, _ = io.Copy(io.Discard, in)
		os.Exit(1)
	}()
	info, err := work(req)
	r := reply{Info: info}
	if err != nil {
		r.Err, r.Kind = describe(err)
	}
	if err := json.NewEncoder(stdout).Encode(r); err != nil {
		return 1
	}
	return 0
}

// errMachine marks failures that say nothing of the weights.
var errMachine = errors.New("")

func work(req request) (Info, error) {
	if err := limitSelf(req); err != nil {
		return Info{}, fmt.Errorf("limit the preparing process: %w%w", err, errMachine)
	}
	if req.Stage == stageConvert {
		return Info{}, convertCheckpoint(req)
	}
	lib, err := ort.Locate(req.Library)
	if err != nil {
		return Info{}, fmt.Errorf("%w%w", err, errMachine)
	}
	rt, err := ort.Open(lib, ort.Options{})
	if err != nil {
		return Info{}, fmt.Errorf("%w%w", err, errMachine)
	}
	metadata, err := rt.Optimize(descriptor(weightsFD), descriptor(outputFD))
	if err != nil {
		return Info{}, err
	}
	if err := rt.Shrink(); err != nil {
		return Info{}, err
	}
	info, err := measure(rt, os.NewFile(outputFD, "prepared"), metadata)
	info.Metadata = metadata
	return info, err
}

// convertCheckpoint writes a checkpoint as ONNX with free height and width, which
// rectangular input needs.
func convertCheckpoint(req request) error {
	ck, err := torch.OpenFile(os.NewFile(weightsFD, "checkpoint"))
	if err != nil {
		return err
	}
	defer ck.Close()
	m, err := convert.Convert(ck, convert.Options{OneToOne: req.OneToOne, Dynamic: true, Scores: true})
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(os.NewFile(outputFD, "graph"), 1<<20)
	if _, err := m.WriteTo(out); err != nil {
		return fmt.Errorf("write ONNX: %w", err)
	}
	return out.Flush()
}

// The descriptors a worker inherits.
const (
	outputFD  = 3 // to be written
	weightsFD = 4
)

// descriptor names an open descriptor as a path, for a library that takes paths.
func descriptor(fd int) string {
	if _, err := os.Stat("/proc/self/fd"); err == nil {
		return fmt.Sprintf("/proc/self/fd/%d", fd)
	}
	return fmt.Sprintf("/dev/fd/%d", fd)
}

// measure opens the prepared file as the server will, runs it once on zeros and
// notes what each step took.
func measure(rt *ort.Runtime, f *os.File, metadata map[string]string) (Info, error) {
	st, err := f.Stat()
	if err != nil {
		return Info{}, err
	}
	m, err := mapFile(f, Info{Bytes: st.Size()})
	if err != nil {
		return Info{}, err
	}
	debug.FreeOSMemory() // what Go gave back later would make the session look smaller
	before := resident()
	s, err := rt.OpenMapped(m.Data, machine.CPUs(), m.Unmap)
	if err != nil {
		return Info{}, err
	}
	defer s.Close()
	loaded := resident()
	info := Info{Inputs: s.Inputs(), Outputs: s.Outputs()}
	info.Sizes.Private = max(0, loaded.Anon-before.Anon)
	touched := loaded.RSS - loaded.Anon - (before.RSS - before.Anon) // pages of the file
	info.Sizes.LoadPeak = max(info.Sizes.Private, loaded.Peak-before.RSS-touched)
	in, err := zeros(info.Inputs, ImageSize(metadata, 640))
	if err != nil {
		return info, err
	}
	if err := s.Run(context.Background(), in, func([]yolo.Tensor) error { return nil }); err != nil {
		return info, err
	}
	held, _ := rt.Arena()
	info.Sizes.RunPeak, info.Sizes.RunShape = held, in[0].Shape
	return info, nil
}

// resident reads this process's memory and starts the peak anew; zeros where
// the system does not tell.
func resident() machine.Memory {
	m, err := machine.Process(0)
	if err != nil || machine.ResetPeak() != nil {
		return machine.Memory{}
	}
	return m
}

// zeros makes an input for each of infos; dynamic dimensions become 1, or size
// where they are a picture's height and width.
func zeros(infos []yolo.TensorInfo, size int) ([]yolo.Tensor, error) {
	in := make([]yolo.Tensor, len(infos))
	for i, info := range infos {
		if info.DType != yolo.FP32 && info.DType != yolo.FP16 {
			return nil, yolo.Errorf(yolo.Unsupported, "input %s has element type %s; float32 and float16 are served", info.Name, info.DType)
		}
		t := yolo.Tensor{Name: info.Name, Shape: make([]int64, len(info.Shape))}
		n := int64(1)
		for j, d := range info.Shape {
			switch {
			case d >= 0:
				t.Shape[j] = d
			case len(info.Shape) == 4 && j >= 2:
				t.Shape[j] = int64(size)
			default:
				t.Shape[j] = 1
			}
			n *= t.Shape[j]
			if n <= 0 || n > maxInput {
				return nil, yolo.Errorf(yolo.Unsupported, "input %s has shape %v, which is no picture", info.Name, info.Shape)
			}
		}
		t.Data = make([]float32, n)
		in[i] = t
	}
	return in, nil
}

// maxInput bounds the elements of an input: a 8192 x 8192 RGB picture.
const maxInput = 3 * 8192 * 8192

// describe tells an error and what it is put down to.
func describe(err error) (msg, kind string) {
	msg = strings.ReplaceAll(err.Error(), descriptor(weightsFD), "the file")
	for _, sign := range []string{"bad_alloc", "Failed to allocate memory", "annot allocate memory"} {
		if strings.Contains(msg, sign) {
			return msg, kindMemory
		}
	}
	// ONNX Runtime says that it could not save, never why.
	for _, sign := range []string{"SaveToOrtFormat", syscall.ENOSPC.Error(), syscall.EDQUOT.Error()} {
		if strings.Contains(msg, sign) {
			return msg, kindOutput
		}
	}
	_, files := errors.AsType[*fs.PathError](err) // reading or writing one failed
	if files || errors.Is(err, errMachine) {
		return msg, kindMachine
	}
	return msg, kindModel
}
