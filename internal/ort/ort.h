// The few calls into ONNX Runtime's C API that lazyolo makes, as plain C
// functions: cgo cannot call the function pointers of an OrtApi itself.
//
// Every function that can fail returns an OrtStatus that the caller releases
// (NULL: success), or, before the API is there, a static message.
#ifndef LAZYOLO_ORT_H
#define LAZYOLO_ORT_H

#include "include/onnxruntime_c_api.h"

typedef struct {
  const OrtApi *api;
  const char *version; // owned by the library
  OrtEnv *env;
  OrtMemoryInfo *memory;
  OrtAllocator *arena; // the shared CPU arena, once a session led to it; NULL before
  OrtSession *shrinker; // a one-node model whose runs shrink the arena; NULL before the first
} lz_runtime;

typedef struct {
  const char *optimized_path; // not NULL: optimise fully and save there in ORT format
  int mapped;                 // the bytes are a mapped ORT-format file that outlives the session
  int plain;                  // as programs open a file that change no option: optimised now, arena and weights of its own
  int threads;                // of a run, its caller among them; less than 1: 1
} lz_session_options;

typedef struct {
  void *data; // row-major, owned by the caller during the run
  size_t bytes;
  const int64_t *shape;
  size_t rank;
  int type; // ONNXTensorElementDataType
} lz_tensor;

const char *lz_load(const char *path, lz_runtime *r);
OrtStatus *lz_start(lz_runtime *r, size_t arena_max);
// lz_find_arena sets r->arena by way of a session that uses it: GetSharedAllocator
// knows only allocators of other kinds. It outlives the session.
OrtStatus *lz_find_arena(lz_runtime *r, OrtSession *s);
// lz_shrink gives back what the arena holds and no run uses; not from two threads at once.
OrtStatus *lz_shrink(lz_runtime *r);
OrtStatus *lz_arena_bytes(lz_runtime *r, const char *key, int64_t *out);

OrtStatus *lz_open_bytes(lz_runtime *r, const void *data, size_t n, const lz_session_options *o, OrtSession **out);
OrtStatus *lz_open_path(lz_runtime *r, const char *path, const lz_session_options *o, OrtSession **out);
void lz_close(lz_runtime *r, OrtSession *s);
OrtStatus *lz_count(lz_runtime *r, OrtSession *s, int output, size_t *n);
// lz_describe gives name (released with lz_free_string), element type and
// shape (at most *rank dimensions, -1: dynamic) of one input or output.
OrtStatus *lz_describe(lz_runtime *r, OrtSession *s, int output, size_t i, char **name, int *type, int64_t *shape, size_t *rank);
OrtStatus *lz_metadata_keys(lz_runtime *r, OrtSession *s, OrtModelMetadata **m, char ***keys, int64_t *n);
OrtStatus *lz_metadata_value(lz_runtime *r, OrtModelMetadata *m, const char *key, char **value);
void lz_metadata_free(lz_runtime *r, OrtModelMetadata *m, char **keys, int64_t n);
void lz_free_string(lz_runtime *r, char *s);

OrtStatus *lz_run_options(lz_runtime *r, OrtRunOptions **out);
OrtStatus *lz_terminate(lz_runtime *r, OrtRunOptions *o);
void lz_run_options_free(lz_runtime *r, OrtRunOptions *o);
// lz_run runs the session once; outs receives n_out values that the caller releases.
OrtStatus *lz_run(lz_runtime *r, OrtSession *s, OrtRunOptions *o, const char *const *in_names, const lz_tensor *ins,
                  size_t n_in, const char *const *out_names, size_t n_out, OrtValue **outs);
OrtStatus *lz_value(lz_runtime *r, OrtValue *v, lz_tensor *t, int64_t *shape, size_t max_rank);
void lz_value_free(lz_runtime *r, OrtValue *v);

const char *lz_status_message(lz_runtime *r, OrtStatus *s);
int lz_status_code(lz_runtime *r, OrtStatus *s);
void lz_status_free(lz_runtime *r, OrtStatus *s);

// lz_trim gives the C allocator's free pages back to the system.
void lz_trim(void);

#endif
