#include "ort.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

// TRY returns the status of a call that failed.
#define TRY(call)                                                                                                      \
  do {                                                                                                                 \
    OrtStatus *status_ = (call);                                                                                       \
    if (status_ != NULL) return status_;                                                                               \
  } while (0)

#ifdef __GLIBC__
// One arena for all threads: malloc_trim gives back the top of the main arena only,
// and up to 64 MB stay at the top of each other one. A thread keeps the arena that it
// got with its first allocation, so the bound must be there before Go's runtime has
// threads.
__attribute__((constructor)) static void bound_arenas(void) { mallopt(M_ARENA_MAX, 1); }
#endif

// The official builds tell Microsoft of their use, and keep an id of the machine in the
// user's cache folder, unless this is set before they start: DisableTelemetryEvents comes
// after the first events. setenv wants a process without threads.
__attribute__((constructor)) static void tell_nobody(void) { setenv("ORT_DISABLE_TELEMETRY", "1", 1); }

void lz_trim(void) {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

const char *lz_load(const char *path, lz_runtime *r) {
  void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (lib == NULL) return dlerror();
  const OrtApiBase *(*base)(void) = (const OrtApiBase *(*)(void))dlsym(lib, "OrtGetApiBase");
  if (base == NULL) {
    dlclose(lib);
    return "it does not export OrtGetApiBase: not ONNX Runtime";
  }
  r->version = base()->GetVersionString();
  r->api = base()->GetApi(ORT_API_VERSION);
  // The library stays loaded: ONNX Runtime does not survive being unloaded.
  return r->api == NULL ? "it is too old" : NULL;
}

static OrtStatus *make_arena(lz_runtime *r, size_t arena_max, OrtArenaCfg **cfg) {
  // kSameAsRequested: what a run frees can be given back whole; powers of two
  // keep three times as much after a shrink.
  const char *keys[] = {"max_mem", "arena_extend_strategy"};
  const size_t values[] = {arena_max, 1};
  TRY(r->api->CreateArenaCfgV2(keys, values, 2, cfg));
  return r->api->CreateAndRegisterAllocator(r->env, r->memory, *cfg);
}

// A thread inherits the priority of the one that makes it, and sessions are opened at a
// low one, which their threads must not keep: they are made by a thread of this
// runtime's own.
typedef struct {
  OrtThreadWorkerFn work;
  void *param;
  pthread_t made;
  int result; // of pthread_create; -1: not yet
} thread_order;

static struct {
  pthread_mutex_t mutex;
  pthread_cond_t changed;
  thread_order *order; // NULL: none
} maker = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL};

static void *work_thread(void *arg) {
  thread_order o = *(thread_order *)arg;
  free(arg);
  o.work(o.param);
  return NULL;
}

static void *make_threads(void *unused) {
  (void)unused;
  pthread_mutex_lock(&maker.mutex);
  for (;;) {
    thread_order *o = maker.order;
    if (o == NULL || o->result >= 0) {
      pthread_cond_wait(&maker.changed, &maker.mutex);
      continue;
    }
    thread_order *copy = malloc(sizeof *copy);
    if (copy != NULL) *copy = *o;
    o->result = copy == NULL ? ENOMEM : pthread_create(&o->made, NULL, work_thread, copy);
    if (o->result != 0) free(copy);
    pthread_cond_broadcast(&maker.changed);
  }
  return NULL;
}

static OrtCustomThreadHandle make_thread(void *unused, OrtThreadWorkerFn work, void *param) {
  (void)unused;
  pthread_t *made = malloc(sizeof *made);
  if (made == NULL) return NULL; // ONNX Runtime then fails to open the session
  thread_order o = {.work = work, .param = param, .result = -1};
  pthread_mutex_lock(&maker.mutex);
  while (maker.order != NULL) pthread_cond_wait(&maker.changed, &maker.mutex);
  maker.order = &o;
  pthread_cond_broadcast(&maker.changed);
  while (o.result < 0) pthread_cond_wait(&maker.changed, &maker.mutex);
  maker.order = NULL;
  pthread_cond_broadcast(&maker.changed);
  pthread_mutex_unlock(&maker.mutex);
  if (o.result != 0) {
    free(made);
    return NULL;
  }
  *made = o.made;
  return (OrtCustomThreadHandle)made;
}

static void join_thread(OrtCustomThreadHandle t) {
  pthread_join(*(pthread_t *)t, NULL);
  free((void *)t);
}

OrtStatus *lz_start(lz_runtime *r, size_t arena_max) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, make_threads, NULL) != 0) return r->api->CreateStatus(ORT_FAIL, "no thread to be had");
  pthread_detach(thread);
  TRY(r->api->CreateEnv(ORT_LOGGING_LEVEL_FATAL, "lazyolo", &r->env));
  TRY(r->api->DisableTelemetryEvents(r->env));
  TRY(r->api->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &r->memory));
  OrtArenaCfg *cfg = NULL;
  OrtStatus *status = make_arena(r, arena_max, &cfg);
  if (cfg != NULL) r->api->ReleaseArenaCfg(cfg);
  return status;
}

OrtStatus *lz_find_arena(lz_runtime *r, OrtSession *s) { return r->api->CreateAllocator(s, r->memory, &r->arena); }

// identity is an ONNX model whose one node returns its one-element input.
static const char identity[] =
    "\x08\x08\x3a\x37\x0a\x10\x0a\x01x\x12\x01y\x22\x08Identity\x12\x01g"
    "Z\x0f\x0a\x01x\x12\x0a\x0a\x08\x08\x01\x12\x04\x0a\x02\x08\x01"
    "b\x0f\x0a\x01y\x12\x0a\x0a\x08\x08\x01\x12\x04\x0a\x02\x08\x01\x42\x04\x0a\x00\x10\x11";

OrtStatus *lz_shrink(lz_runtime *r) {
  // An arena made by CreateAndRegisterAllocator has no Shrink of its own as of
  // 1.32; the run option shrinks every arena of the session it is given to.
  if (r->shrinker == NULL) {
    const lz_session_options o = {0};
    TRY(lz_open_bytes(r, identity, sizeof identity - 1, &o, &r->shrinker));
  }
  OrtRunOptions *ro = NULL;
  TRY(r->api->CreateRunOptions(&ro));
  OrtStatus *status = r->api->AddRunConfigEntry(ro, "memory.enable_memory_arena_shrinkage", "cpu:0");
  float x = 0;
  const int64_t shape = 1;
  const lz_tensor in = {.data = &x, .bytes = sizeof x, .shape = &shape, .rank = 1, .type = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT};
  const char *in_name = "x", *out_name = "y";
  // The output lies here: one that the arena gives would keep its region.
  float y = 0;
  OrtValue *out = NULL;
  if (status == NULL)
    status = r->api->CreateTensorWithDataAsOrtValue(r->memory, &y, sizeof y, &shape, 1, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &out);
  if (status == NULL) status = lz_run(r, r->shrinker, ro, &in_name, &in, 1, &out_name, 1, &out);
  if (out != NULL) r->api->ReleaseValue(out);
  r->api->ReleaseRunOptions(ro);
  return status;
}

OrtStatus *lz_arena_bytes(lz_runtime *r, const char *key, int64_t *out) {
  *out = -1;
  if (r->arena == NULL || r->arena->version < 23 || r->arena->GetStats == NULL) return NULL;
  OrtKeyValuePairs *stats = NULL;
  TRY(r->arena->GetStats(r->arena, &stats));
  const char *value = r->api->GetKeyValue(stats, key);
  if (value != NULL) *out = strtoll(value, NULL, 10);
  r->api->ReleaseKeyValuePairs(stats);
  return NULL;
}

// set_threads gives a session n threads, its caller among them. They spin for work
// within a run only, and no longer than an operator that is not parallel takes: 13 %
// faster than sleeping at once (YOLOv8n, 2 cores), for no more processor time, and a
// session that does not run takes none.
static OrtStatus *set_threads(const OrtApi *a, OrtSessionOptions *so, int n) {
  TRY(a->SetIntraOpNumThreads(so, n > 1 ? n : 1));
  TRY(a->SetInterOpNumThreads(so, 1));
  TRY(a->SessionOptionsSetCustomCreateThreadFn(so, make_thread));
  TRY(a->SessionOptionsSetCustomJoinThreadFn(so, join_thread));
  TRY(a->AddSessionConfigEntry(so, "session.intra_op.spin_duration_us", "200"));
  return a->AddSessionConfigEntry(so, "session.force_spinning_stop", "1");
}

static OrtStatus *configure(lz_runtime *r, OrtSessionOptions *so, const lz_session_options *o) {
  const OrtApi *a = r->api;
  TRY(set_threads(a, so, o->threads));
  if (o->plain) return NULL;
  TRY(a->DisableMemPattern(so)); // it holds a run's memory for ever
  TRY(a->AddSessionConfigEntry(so, "session.use_env_allocators", "1"));
  // A session's own few constants must not sit in the arena, where they would
  // keep a whole region from being given back.
  TRY(a->AddSessionConfigEntry(so, "session.use_device_allocator_for_initializers", "1"));
  if (o->optimized_path != NULL) {
    TRY(a->SetSessionGraphOptimizationLevel(so, ORT_ENABLE_ALL));
#ifdef __aarch64__
    // It puts half-precision models into a domain of ONNX Runtime's own, which a saved
    // model does not import: as of 1.32 it could not be opened again.
    TRY(a->AddSessionConfigEntry(so, "optimization.disable_specified_optimizers", "NhwcTransformer"));
#endif
    TRY(a->AddSessionConfigEntry(so, "session.save_model_format", "ORT"));
    return a->SetOptimizedModelFilePath(so, o->optimized_path);
  }
  if (!o->mapped) return NULL;
  TRY(a->SetSessionGraphOptimizationLevel(so, ORT_DISABLE_ALL)); // it was done when the file was made
  TRY(a->AddSessionConfigEntry(so, "session.load_model_format", "ORT"));
  TRY(a->AddSessionConfigEntry(so, "session.use_ort_model_bytes_directly", "1"));
  return a->AddSessionConfigEntry(so, "session.use_ort_model_bytes_for_initializers", "1");
}

static OrtStatus *open_session(lz_runtime *r, const char *path, const void *data, size_t n, const lz_session_options *o,
                               OrtSession **out) {
  OrtSessionOptions *so = NULL;
  TRY(r->api->CreateSessionOptions(&so));
  OrtStatus *status = configure(r, so, o);
  if (status == NULL && path != NULL) status = r->api->CreateSession(r->env, path, so, out);
  else if (status == NULL) status = r->api->CreateSessionFromArray(r->env, data, n, so, out);
  r->api->ReleaseSessionOptions(so);
  return status;
}

OrtStatus *lz_open_bytes(lz_runtime *r, const void *data, size_t n, const lz_session_options *o, OrtSession **out) {
  return open_session(r, NULL, data, n, o, out);
}

OrtStatus *lz_open_path(lz_runtime *r, const char *path, const lz_session_options *o, OrtSession **out) {
  return open_session(r, path, NULL, 0, o, out);
}

void lz_close(lz_runtime *r, OrtSession *s) { r->api->ReleaseSession(s); }

OrtStatus *lz_count(lz_runtime *r, OrtSession *s, int output, size_t *n) {
  return output ? r->api->SessionGetOutputCount(s, n) : r->api->SessionGetInputCount(s, n);
}

static OrtStatus *tensor_info(lz_runtime *r, const OrtTypeInfo *info, int *type, int64_t *shape, size_t *rank) {
  const OrtTensorTypeAndShapeInfo *tensor = NULL;
  TRY(r->api->CastTypeInfoToTensorInfo(info, &tensor));
  *type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
  if (tensor == NULL) {
    *rank = 0;
    return NULL;
  }
  enum ONNXTensorElementDataType t;
  TRY(r->api->GetTensorElementType(tensor, &t));
  *type = t;
  size_t n = 0;
  TRY(r->api->GetDimensionsCount(tensor, &n));
  if (n > *rank) n = *rank;
  *rank = n;
  return n == 0 ? NULL : r->api->GetDimensions(tensor, shape, n);
}

OrtStatus *lz_describe(lz_runtime *r, OrtSession *s, int output, size_t i, char **name, int *type, int64_t *shape,
                       size_t *rank) {
  OrtAllocator *alloc = NULL;
  TRY(r->api->GetAllocatorWithDefaultOptions(&alloc));
  TRY(output ? r->api->SessionGetOutputName(s, i, alloc, name) : r->api->SessionGetInputName(s, i, alloc, name));
  OrtTypeInfo *info = NULL;
  TRY(output ? r->api->SessionGetOutputTypeInfo(s, i, &info) : r->api->SessionGetInputTypeInfo(s, i, &info));
  OrtStatus *status = tensor_info(r, info, type, shape, rank);
  r->api->ReleaseTypeInfo(info);
  return status;
}

OrtStatus *lz_metadata_keys(lz_runtime *r, OrtSession *s, OrtModelMetadata **m, char ***keys, int64_t *n) {
  OrtAllocator *alloc = NULL;
  TRY(r->api->GetAllocatorWithDefaultOptions(&alloc));
  TRY(r->api->SessionGetModelMetadata(s, m));
  return r->api->ModelMetadataGetCustomMetadataMapKeys(*m, alloc, keys, n);
}

OrtStatus *lz_metadata_value(lz_runtime *r, OrtModelMetadata *m, const char *key, char **value) {
  OrtAllocator *alloc = NULL;
  TRY(r->api->GetAllocatorWithDefaultOptions(&alloc));
  return r->api->ModelMetadataLookupCustomMetadataMap(m, alloc, key, value);
}

void lz_metadata_free(lz_runtime *r, OrtModelMetadata *m, char **keys, int64_t n) {
  for (int64_t i = 0; i < n; i++) lz_free_string(r, keys[i]);
  lz_free_string(r, (char *)keys);
  if (m != NULL) r->api->ReleaseModelMetadata(m);
}

void lz_free_string(lz_runtime *r, char *s) {
  OrtAllocator *alloc = NULL;
  OrtStatus *status = r->api->GetAllocatorWithDefaultOptions(&alloc);
  if (status == NULL && s != NULL) status = r->api->AllocatorFree(alloc, s);
  if (status != NULL) r->api->ReleaseStatus(status);
}

OrtStatus *lz_run_options(lz_runtime *r, OrtRunOptions **out) { return r->api->CreateRunOptions(out); }
OrtStatus *lz_terminate(lz_runtime *r, OrtRunOptions *o) { return r->api->RunOptionsSetTerminate(o); }
void lz_run_options_free(lz_runtime *r, OrtRunOptions *o) { r->api->ReleaseRunOptions(o); }

OrtStatus *lz_run(lz_runtime *r, OrtSession *s, OrtRunOptions *o, const char *const *in_names, const lz_tensor *ins,
                  size_t n_in, const char *const *out_names, size_t n_out, OrtValue **outs) {
  OrtValue **values = calloc(n_in + 1, sizeof *values);
  if (values == NULL) return r->api->CreateStatus(ORT_FAIL, "out of memory");
  OrtStatus *status = NULL;
  for (size_t i = 0; i < n_in && status == NULL; i++)
    status = r->api->CreateTensorWithDataAsOrtValue(r->memory, ins[i].data, ins[i].bytes, ins[i].shape, ins[i].rank,
                                                    ins[i].type, &values[i]);
  if (status == NULL)
    status = r->api->Run(s, o, in_names, (const OrtValue *const *)values, n_in, out_names, n_out, outs);
  for (size_t i = 0; i < n_in; i++)
    if (values[i] != NULL) r->api->ReleaseValue(values[i]);
  free(values);
  return status;
}

OrtStatus *lz_value(lz_runtime *r, OrtValue *v, lz_tensor *t, int64_t *shape, size_t max_rank) {
  int is_tensor = 0;
  TRY(r->api->IsTensor(v, &is_tensor));
  if (!is_tensor) return r->api->CreateStatus(ORT_INVALID_ARGUMENT, "an output is not a tensor");
  OrtTensorTypeAndShapeInfo *info = NULL;
  TRY(r->api->GetTensorTypeAndShape(v, &info));
  enum ONNXTensorElementDataType type;
  OrtStatus *status = r->api->GetTensorElementType(info, &type);
  if (status == NULL) status = r->api->GetDimensionsCount(info, &t->rank);
  if (status == NULL && t->rank > max_rank)
    status = r->api->CreateStatus(ORT_INVALID_ARGUMENT, "an output has too many dimensions");
  if (status == NULL) status = r->api->GetDimensions(info, shape, t->rank);
  r->api->ReleaseTensorTypeAndShapeInfo(info);
  t->type = type;
  return status != NULL ? status : r->api->GetTensorMutableData(v, &t->data);
}

void lz_value_free(lz_runtime *r, OrtValue *v) { r->api->ReleaseValue(v); }

const char *lz_status_message(lz_runtime *r, OrtStatus *s) { return r->api->GetErrorMessage(s); }
int lz_status_code(lz_runtime *r, OrtStatus *s) { return r->api->GetErrorCode(s); }
void lz_status_free(lz_runtime *r, OrtStatus *s) { r->api->ReleaseStatus(s); }
