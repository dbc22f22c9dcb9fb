// The calls of the TurboJPEG API that lazyolo makes, for a library opened at run
// time. They exist alike in libjpeg-turbo 2.0 and later, 3.x included, so their
// few prototypes stand here and nothing of it is needed to build.
#ifndef LAZYOLO_TURBOJPEG_H
#define LAZYOLO_TURBOJPEG_H

typedef struct {
  void *(*init_decompress)(void);
  int (*header)(void *handle, const unsigned char *jpeg, unsigned long n, int *width, int *height, int *subsampling,
                int *colours);
  int (*decompress)(void *handle, const unsigned char *jpeg, unsigned long n, unsigned char *dst, int width, int pitch,
                    int height, int format, int flags);
  void *(*init_compress)(void);
  int (*compress)(void *handle, const unsigned char *src, int width, int pitch, int height, int format,
                  unsigned char **jpeg, unsigned long *n, int subsampling, int quality, int flags);
  unsigned long (*buffer_size)(int width, int height, int subsampling);
  char *(*error)(void *handle);
  int (*error_code)(void *handle);
  int (*destroy)(void *handle);
  int major;        // 2 or 3
  char path[1024];  // of the library; "" when the loader does not tell
  char reason[512]; // why it could not be opened
} lz_turbojpeg;

// How a call went.
enum { LZ_TJ_OK, LZ_TJ_WARNING, LZ_TJ_FATAL };

typedef struct {
  int outcome;
  char message[256]; // of the first warning, or of the error
} lz_tj_result;

// lz_tj_open opens the library called name, a path or a name for the loader. It
// returns 0 and fills t, or -1 and t->reason.
int lz_tj_open(const char *name, lz_turbojpeg *t);

void *lz_tj_decoder(lz_turbojpeg *t);
void *lz_tj_encoder(lz_turbojpeg *t);
void lz_tj_destroy(lz_turbojpeg *t, void *handle);

// lz_tj_header reads size and colour space (TJCS) of a JPEG. They are given beside
// warnings too; width is 0 after an error.
void lz_tj_header(lz_turbojpeg *t, void *decoder, const unsigned char *jpeg, unsigned long n, int *width, int *height,
                  int *colours, lz_tj_result *r);
// lz_tj_decode writes width x height RGB pixels without padding to dst, scaled down
// when that is not the JPEG's own size.
void lz_tj_decode(lz_turbojpeg *t, void *decoder, const unsigned char *jpeg, unsigned long n, unsigned char *dst,
                  int width, int height, lz_tj_result *r);
// lz_tj_bound is the largest JPEG that lz_tj_encode can make of so many pixels; 0: too many.
unsigned long lz_tj_bound(lz_turbojpeg *t, int width, int height);
// lz_tj_encode writes a JPEG to dst, which has lz_tj_bound bytes, and sets n to its size.
void lz_tj_encode(lz_turbojpeg *t, void *encoder, const unsigned char *rgb, int width, int height, int quality,
                  unsigned char *dst, unsigned long *n, lz_tj_result *r);

#endif
