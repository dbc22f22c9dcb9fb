// Package ort runs models with ONNX Runtime, whose shared library is opened at
// run time: nothing of it is needed to build, and a process that never asks for
// a model never maps it.
//
// It binds the two dozen calls of the C API that lazyolo needs (Microsoft's
// headers lie in include/, MIT) instead of a general binding, because memory is
// the point here: outputs are read where ONNX Runtime put them, all sessions
// share one arena that can be shrunk and read, runs can be ended, error codes
// survive. See docs/en/decisions.md.
package ort

/*
#cgo CFLAGS: -std=gnu11 -O2 -Wall
#cgo linux LDFLAGS: -ldl
#include <stdlib.h>
#include "ort.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"sync"
	"unsafe"
)

// A Runtime is ONNX Runtime, loaded: its environment and the one memory arena
// that every session shares. There is at most one per process and it lives as
// long as the process does: the library does not survive being unloaded. Who needs it
// no more can leave it to the next (Release).
type Runtime struct {
	c       C.lz_runtime
	library Library
	most    int64      // Options.ArenaMax
	arena   sync.Once  // guards c.arena, found through the first session
	shrink  sync.Mutex // guards c.shrinker
}

// Options configures a Runtime.
type Options struct {
	ArenaMax int64 // bytes that all runs together may hold; 0: no limit
}

// ErrAlreadyOpen is returned by Open when the process has a Runtime.
var ErrAlreadyOpen = errors.New("onnx runtime is open already")

// one is the environment that ONNX Runtime allows in a process.
var one struct {
	sync.Mutex
	taken bool
	left  *Runtime // by its last user; nil: none was
}

// Open loads lib into the process and starts it, which takes about 20 ms and
// 20 MB. A library older than MinVersion is refused. A Runtime that was released
// is used again, whatever library it is of, unless its arena may hold less than
// o.ArenaMax: that is fixed at the start.
func Open(lib Library, o Options) (*Runtime, error) {
	if err := lib.check(); err != nil {
		return nil, err
	}
	one.Lock()
	defer one.Unlock()
	if one.taken {
		return nil, ErrAlreadyOpen
	}
	if r := one.left; r != nil {
		if r.most > 0 && (o.ArenaMax == 0 || o.ArenaMax > r.most) {
			return nil, fmt.Errorf("onnx runtime was started in this process with %d MiB for all runs, which cannot be raised: begin with the largest budget", r.most>>20)
		}
		one.taken, one.left = true, nil
		return r, nil
	}
	r := &Runtime{library: lib, most: o.ArenaMax}
	path := C.CString(lib.Path)
	defer C.free(unsafe.Pointer(path))
	if msg := C.lz_load(path, &r.c); msg != nil {
		return nil, fmt.Errorf("open onnx runtime %s: %s; %s", lib.Path, C.GoString(msg), Remedy)
	}
	one.taken = true // a half-started environment cannot be taken back
	if err := r.check(C.lz_start(&r.c, C.size_t(o.ArenaMax))); err != nil {
		return nil, fmt.Errorf("start onnx runtime %s: %w", lib.Path, err)
	}
	return r, nil
}

// Release leaves r to the next Open of this process. Its sessions are closed before,
// and r is not used after.
func (r *Runtime) Release() {
	one.Lock()
	defer one.Unlock()
	one.taken, one.left = false, r
}

// Version returns the version the loaded library reports, such as "1.32.0".
func (r *Runtime) Version() string { return C.GoString(r.c.version) }

// Shrink gives back what the arena holds and no run uses, and then the C
// allocator's free pages. It may be called beside runs; the next run pays for
// new pages (0 to 20 ms).
func (r *Runtime) Shrink() error {
	r.shrink.Lock()
	defer r.shrink.Unlock()
	err := r.check(C.lz_shrink(&r.c))
	C.lz_trim()
	return err
}

// Trim gives the C allocator's free pages back to the system.
func (r *Runtime) Trim() { C.lz_trim() }

// Arena returns the bytes the arena holds and the most that runs ever had in
// use at once; -1 before the first session and where the library does not tell.
func (r *Runtime) Arena() (held, peak int64) {
	return r.arenaStat("TotalAllocated"), r.arenaStat("MaxInUse")
}

func (r *Runtime) arenaStat(key string) int64 {
	k := C.CString(key)
	defer C.free(unsafe.Pointer(k))
	var n C.int64_t
	if err := r.check(C.lz_arena_bytes(&r.c, k, &n)); err != nil {
		return -1
	}
	return int64(n)
}

// An Error is a failure that ONNX Runtime reports.
type Error struct {
	Code int // OrtErrorCode of onnxruntime_error_code.h
	Msg  string
}

// Error returns ONNX Runtime's own message.
func (e *Error) Error() string { return e.Msg }

// check turns a status into an error and releases it.
func (r *Runtime) check(s *C.OrtStatus) error {
	if s == nil {
		return nil
	}
	defer C.lz_status_free(&r.c, s)
	return &Error{
		Code: int(C.lz_status_code(&r.c, s)),
		Msg:  C.GoString(C.lz_status_message(&r.c, s)),
	}
}
