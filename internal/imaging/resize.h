// The two inner loops of a resize, in C for its vector instructions: 60 % of the time
// that Go takes. Nothing is checked here; package imaging passes slices of the right lengths.
#ifndef LAZYOLO_RESIZE_H
#define LAZYOLO_RESIZE_H

#include <stdint.h>

// lz_across resizes one row of n RGB pixels horizontally: three planes of n values in
// 1/128 to line, from src at byte offsets at, mixed by weights w in 1/2048. Outputs
// from edge on have no right neighbour.
void lz_across(uint16_t *line, const uint8_t *src, const int32_t *at, const uint16_t (*w)[2], int edge, int n);

// lz_down mixes two lines of n values into one row of the input, divided by 255, with
// weights in 1/2048; a plane begins stride values after the one before.
void lz_down(float *dst, int stride, const uint16_t *upper, const uint16_t *lower, uint16_t w0, uint16_t w1, int n);

#endif
