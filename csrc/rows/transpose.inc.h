/* transpose.inc.h: between classes in memory and one row per lane, LANES rows at a time: short rows to columns and back, and few columns
   (fewer than LANES) to rows and back. */
#ifndef SL_TRANSPOSE_INC
#define SL_TRANSPOSE_INC
#include "math/convert.inc.h"

/* ---- short rows to columns and back: width <= LANES classes from c on ------------------------------------------- */

SL_INLINE void load_part(const real *x, ptrdiff_t n, ptrdiff_t rows, ptrdiff_t c, ptrdiff_t width, real *tile, ptrdiff_t stride) {
    vec v[LANES];
    if (rows == LANES && width == LANES)
        for (int i = 0; i < LANES; i++) v[i] = v_load(x + i * n + c);
    else if (rows == LANES)
        for (int i = 0; i < LANES; i++) v[i] = v_load_tail(x + i * n + c, width, 0);
    else
        for (int i = 0; i < LANES; i++) v[i] = v_load_tail(x + (i < rows ? i : rows - 1) * n + c, width, 0); /* repeats the last row */
    v_transpose(v);
    for (int i = 0; i < LANES && i < width; i++) v_store(tile + (c + i) * stride, v[i]);
}
/* rows <= LANES rows of n classes, one after the other, to columns: class k of row i is tile[k * stride + i] */
SL_INLINE void load_rows(const real *x, ptrdiff_t n, ptrdiff_t rows, real *tile, ptrdiff_t stride) {
    if (rows == LANES && v_load_few(x, (int)n, tile, stride)) return;
    for (ptrdiff_t c = 0; c < n; c += LANES) load_part(x, n, rows, c, n - c < LANES ? n - c : LANES, tile, stride);
}
SL_INLINE void store_part(const real *tile, ptrdiff_t stride, ptrdiff_t n, ptrdiff_t rows, ptrdiff_t c, ptrdiff_t width, real *y) {
    vec v[LANES];
    for (int i = 0; i < LANES; i++) v[i] = v_load(tile + (c + (i < width ? i : 0)) * stride);
    v_transpose(v);
    if (rows == LANES && width == LANES)
        for (int i = 0; i < LANES; i++) v_store(y + i * n + c, v[i]);
    else
        for (int i = 0; i < rows; i++) v_store_tail(y + i * n + c, width, v[i]);
}
static void store_rows(const real *tile, ptrdiff_t stride, ptrdiff_t n, ptrdiff_t rows, real *y) {
    if (rows == LANES && v_store_few(tile, stride, (int)n, y)) return;
    for (ptrdiff_t c = 0; c < n; c += LANES) store_part(tile, stride, n, rows, c, n - c < LANES ? n - c : LANES, y);
}

/* ---- few columns to rows and back ------------------------------------------------------------------------------ */

/* n classes of the columns of one outer index, from element at of x on, to rows. A vector reaches past the end of its row where n is not a
   multiple of LANES: stride has room for it. */
static void transpose_to_rows(const sl_job *job, ptrdiff_t at, ptrdiff_t n, real *rows, ptrdiff_t stride) {
    real raw[LANES * LANES];
    for (ptrdiff_t k = 0; k < n; k += LANES) {
        const ptrdiff_t count = n - k < LANES ? n - k : LANES;
        load_rows(load_block(job, at + k * job->inner, count * job->inner, raw), job->inner, count, rows + k, stride);
    }
}
static void transpose_from_rows(const sl_job *job, const real *rows, ptrdiff_t stride, ptrdiff_t at, ptrdiff_t n) {
    real raw[LANES * LANES];
    for (ptrdiff_t k = 0; k < n; k += LANES) {
        const ptrdiff_t count = n - k < LANES ? n - k : LANES;
        store_rows(rows + k, stride, job->inner, count, output_at(job, at + k * job->inner, raw));
        store_converted(job, at + k * job->inner, count * job->inner, raw);
    }
}

#endif
