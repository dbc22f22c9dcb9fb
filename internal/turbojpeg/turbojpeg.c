#define _GNU_SOURCE // dladdr
#include "turbojpeg.h"

#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

// Values of turbojpeg.h that are part of its ABI.
enum {
  TJERR_WARNING = 0,
  TJPF_RGB = 0,
  TJSAMP_420 = 2,
  TJFLAG_NOREALLOC = 1024,
  TJFLAG_ACCURATEDCT = 4096,
};

// SYMBOL looks a function up; it completes an expression that is true when all were found.
#define SYMBOL(field, name) ((*(void **)&t->field = dlsym(lib, name)) != NULL)

int lz_tj_open(const char *name, lz_turbojpeg *t) {
  memset(t, 0, sizeof *t);
  void *lib = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (lib == NULL) {
    const char *why = dlerror();
    snprintf(t->reason, sizeof t->reason, "%s", why == NULL ? name : why);
    return -1;
  }
  if (!(SYMBOL(init_decompress, "tjInitDecompress") && SYMBOL(header, "tjDecompressHeader3") &&
        SYMBOL(decompress, "tjDecompress2") && SYMBOL(init_compress, "tjInitCompress") &&
        SYMBOL(compress, "tjCompress2") && SYMBOL(buffer_size, "tjBufSize") && SYMBOL(error, "tjGetErrorStr2") &&
        SYMBOL(error_code, "tjGetErrorCode") && SYMBOL(destroy, "tjDestroy"))) {
    snprintf(t->reason, sizeof t->reason, "%s: older than libjpeg-turbo 2.0, or something else", name);
    dlclose(lib);
    return -1;
  }
  t->major = dlsym(lib, "tj3Init") == NULL ? 2 : 3;
  Dl_info info;
  if (dladdr(*(void **)&t->decompress, &info) != 0 && info.dli_fname != NULL)
    snprintf(t->path, sizeof t->path, "%s", info.dli_fname);
  return 0;
}

void *lz_tj_decoder(lz_turbojpeg *t) { return t->init_decompress(); }

void *lz_tj_encoder(lz_turbojpeg *t) { return t->init_compress(); }

void lz_tj_destroy(lz_turbojpeg *t, void *handle) { t->destroy(handle); }

// warns reports whether a message is a warning after which libjpeg went on. The
// library's code for the outcome does not tell: an error that follows a warning is
// reported as a warning too, with the error's message and pixels not written.
// These are the warnings of libjpeg's jerror.h but for the end of the data.
static int warns(const char *message) {
  static const char *const beginnings[] = {
      "Corrupt JPEG data: ",
      "Inconsistent progression sequence",
      "Invalid SOS parameters for sequential JPEG",
      "Unknown Adobe color transform code",
      "Warning: unknown JFIF revision number",
  };
  for (size_t i = 0; i < sizeof beginnings / sizeof *beginnings; i++)
    if (strncmp(message, beginnings[i], strlen(beginnings[i])) == 0) return 1;
  return 0;
}

// finish tells how a call went that returned status. The library keeps messages
// per thread, so they must be read before C is left.
static void finish(lz_turbojpeg *t, void *handle, int status, lz_tj_result *r) {
  r->outcome = LZ_TJ_OK;
  r->message[0] = 0;
  if (status == 0) return;
  snprintf(r->message, sizeof r->message, "%s", t->error(handle));
  r->outcome = t->error_code(handle) == TJERR_WARNING && warns(r->message) ? LZ_TJ_WARNING : LZ_TJ_FATAL;
}

void lz_tj_header(lz_turbojpeg *t, void *decoder, const unsigned char *jpeg, unsigned long n, int *width, int *height,
                  int *colours, lz_tj_result *r) {
  int subsampling;
  *width = *height = 0;
  *colours = -1;
  int status = t->header(decoder, jpeg, n, width, height, &subsampling, colours);
  finish(t, decoder, status, r);
  // Factors that have no name in the API are an error here and none to decompress.
  if (r->outcome == LZ_TJ_FATAL && strstr(r->message, "subsampling") != NULL) r->outcome = LZ_TJ_OK;
  if (r->outcome == LZ_TJ_FATAL) *width = *height = 0;
}

void lz_tj_decode(lz_turbojpeg *t, void *decoder, const unsigned char *jpeg, unsigned long n, unsigned char *dst,
                  int width, int height, lz_tj_result *r) {
  // Flags of 0 are the accurate inverse DCT and the smooth upsampling that are
  // libjpeg's defaults and what OpenCV uses.
  finish(t, decoder, t->decompress(decoder, jpeg, n, dst, width, 3 * width, height, TJPF_RGB, 0), r);
}

unsigned long lz_tj_bound(lz_turbojpeg *t, int width, int height) {
  unsigned long n = t->buffer_size(width, height, TJSAMP_420);
  return n == (unsigned long)-1 ? 0 : n;
}

void lz_tj_encode(lz_turbojpeg *t, void *encoder, const unsigned char *rgb, int width, int height, int quality,
                  unsigned char *dst, unsigned long *n, lz_tj_result *r) {
  // Pointers of our own: the library keeps their addresses past this call.
  unsigned char *out = dst;
  unsigned long size = *n;
  int status = t->compress(encoder, rgb, width, 3 * width, height, TJPF_RGB, &out, &size, TJSAMP_420, quality,
                           TJFLAG_NOREALLOC | TJFLAG_ACCURATEDCT);
  finish(t, encoder, status, r);
  *n = size;
}
