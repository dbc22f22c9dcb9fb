#include "resize.h"

#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>

// mixed is one output pixel as red, green, blue and nothing, in 1/128. It reads the two
// source pixels and two bytes more.
static inline __m128i mixed(const uint8_t *s, const uint16_t w[2]) {
  int32_t both;
  memcpy(&both, w, sizeof both);
  const __m128i v = _mm_unpacklo_epi8(_mm_loadl_epi64((const __m128i *)s), _mm_setzero_si128());
  const __m128i pairs = _mm_unpacklo_epi16(v, _mm_srli_si128(v, 6)); // left and right of each colour
  return _mm_srli_epi32(_mm_madd_epi16(pairs, _mm_set1_epi32(both)), 4);
}

// fours is lz_across for outputs four at a time, as long as nothing behind the last
// source pixel is read; it returns how many it wrote.
static int fours(uint16_t *red, uint16_t *green, uint16_t *blue, const uint8_t *src, const int32_t *at,
                 const uint16_t (*w)[2], int edge) {
  int i = 0;
  for (; i + 4 <= edge && at[i + 3] + 2 <= at[edge - 1]; i += 4) {
    const __m128i a = mixed(src + at[i], w[i]), b = mixed(src + at[i + 1], w[i + 1]);
    const __m128i c = mixed(src + at[i + 2], w[i + 2]), d = mixed(src + at[i + 3], w[i + 3]);
    const __m128i ab = _mm_unpacklo_epi32(a, b), cd = _mm_unpacklo_epi32(c, d); // two reds, two greens
    const __m128i r = _mm_unpacklo_epi64(ab, cd), g = _mm_unpackhi_epi64(ab, cd);
    const __m128i bl = _mm_unpacklo_epi64(_mm_unpackhi_epi32(a, b), _mm_unpackhi_epi32(c, d));
    _mm_storel_epi64((__m128i *)(red + i), _mm_packs_epi32(r, r));
    _mm_storel_epi64((__m128i *)(green + i), _mm_packs_epi32(g, g));
    _mm_storel_epi64((__m128i *)(blue + i), _mm_packs_epi32(bl, bl));
  }
  return i;
}
#else
static int fours(uint16_t *red, uint16_t *green, uint16_t *blue, const uint8_t *src, const int32_t *at,
                 const uint16_t (*w)[2], int edge) {
  return 0;
}
#endif

void lz_across(uint16_t *restrict line, const uint8_t *restrict src, const int32_t *restrict at,
               const uint16_t (*restrict w)[2], int edge, int n) {
  uint16_t *red = line, *green = line + n, *blue = line + 2 * n;
  for (int i = fours(red, green, blue, src, at, w, edge); i < edge; i++) {
    const uint8_t *s = src + at[i];
    const uint32_t w0 = w[i][0], w1 = w[i][1];
    red[i] = (s[0] * w0 + s[3] * w1) >> 4;
    green[i] = (s[1] * w0 + s[4] * w1) >> 4;
    blue[i] = (s[2] * w0 + s[5] * w1) >> 4;
  }
  for (int i = edge; i < n; i++) {
    const uint8_t *s = src + at[i];
    red[i] = s[0] << 7;
    green[i] = s[1] << 7;
    blue[i] = s[2] << 7;
  }
}

// The vertical pass is VResizeLinear's ((b0*(S0>>4))>>16 + (b1*(S1>>4))>>16 + 2) >> 2.
// Products of 16 bits whose upper half is kept are one instruction.
static void down(float *restrict dst, const uint16_t *restrict upper, const uint16_t *restrict lower, uint16_t w0,
                 uint16_t w1, int n) {
  for (int i = 0; i < n; i++) {
    const uint16_t a = (uint32_t)upper[i] * w0 >> 16, b = (uint32_t)lower[i] * w1 >> 16;
    dst[i] = (float)(uint16_t)((uint16_t)(a + b + 2) >> 2) / 255;
  }
}

void lz_down(float *dst, int stride, const uint16_t *upper, const uint16_t *lower, uint16_t w0, uint16_t w1, int n) {
  for (int c = 0; c < 3; c++) down(dst + c * stride, upper + c * n, lower + c * n, w0, w1, n);
}
