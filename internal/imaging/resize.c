#include "resize.h"

void lz_across(uint16_t *restrict line, const uint8_t *restrict src, const int32_t *restrict at,
               const uint16_t (*restrict w)[2], int edge, int n) {
  uint16_t *red = line, *green = line + n, *blue = line + 2 * n;
  for (int i = 0; i < edge; i++) {
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
