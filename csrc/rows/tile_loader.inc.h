/* tile_loader.inc.h: planes of classes to tiles [class][row] and back. */
#ifndef SL_TILE_LOADER_INC
#define SL_TILE_LOADER_INC
#include "rows/tile_kernels.inc.h"
#include "rows/transpose.inc.h"

enum {
    SHORT_ROW = 32,       /* rows of up to this many classes are transposed into tiles */
    TILE_VECTORS = 8,     /* vectors of rows that go through each step together: one alone would wait for its own results */
    TILE_ELEMENTS = 65536 /* of a packed tile, while at least one vector of rows fits: 256 KiB of float32 */
};

/* Columns of a tile. It depends on the shape alone, as the order of summation must. */
static ptrdiff_t tile_width(const sl_job *job) {
    ptrdiff_t limit = TILE_ELEMENTS / job->n;
    if (limit > TILE_WIDTH) limit = TILE_WIDTH;
    if (job->inner < LANES) return LANES; /* columns of several outer indices share a tile */
    if (limit > job->inner) limit = job->inner;
    limit -= limit % LANES;
    return limit > LANES ? limit : LANES;
}

/* Some columns of a job: class k of column j is at tile[(k - first class) * width + j]. */
struct packed_tile {
    const sl_job *job;
    ptrdiff_t first, columns, width; /* column j has row first + j */
    real *tile;
    real max[TILE_WIDTH]; /* of each column, over the classes that were packed last */
};

/* One class of some columns to the tile, and to their maxima. x is `to` where it has been converted. */
SL_INLINE void pack_plane(const int copies, const real *x, ptrdiff_t columns, ptrdiff_t prefetched, real *to, real *max) {
    const ptrdiff_t full = columns - columns % LANES;
    for (ptrdiff_t j = 0; j < full; j += LANES) {
        const vec v = v_load(x + j);
        if (copies) sl_prefetch(x + j + prefetched);
        if (copies) v_store(to + j, v);
        v_store(max + j, v_max(v, v_load(max + j)));
    }
    if (full == columns) return;
    const vec v = v_load_tail(x + full, columns - full, 0);
    v_store(to + full, v);
    v_store(max + full, v_max(v, v_load(max + full)));
}

/* Columns of one outer index lie side by side. */
static void pack_planes(struct packed_tile *t, ptrdiff_t k0, ptrdiff_t k1) {
    const sl_job *job = t->job;
    const ptrdiff_t at = start_of_row(job, t->first);
    for (ptrdiff_t k = k0; k < k1; k++) {
        real *to = t->tile + (k - k0) * t->width;
        const real *x = load_block(job, at + k * job->inner, t->columns, to);
        if (x == to) pack_plane(0, x, t->columns, 0, to, t->max);
        else pack_plane(1, x, t->columns, k + PLANES_AHEAD < k1 ? PLANES_AHEAD * job->inner : 0, to, t->max);
    }
}
/* Fewer columns than lanes come from several outer indices. */
static void pack_few_columns(struct packed_tile *t, ptrdiff_t k0, ptrdiff_t k1) {
    const sl_job *job = t->job;
    for (ptrdiff_t j = 0; j < LANES; j++) {
        const ptrdiff_t at = start_of_row(job, t->first + (j < t->columns ? j : 0));
        for (ptrdiff_t k = k0; k < k1; k++) {
            const real x = t->tile[(k - k0) * LANES + j] = load_element(job, at + k * job->inner);
            if (x > t->max[j]) t->max[j] = x;
        }
    }
}
/* Classes k0 to k1 */
static void pack_tile(struct packed_tile *t, ptrdiff_t k0, ptrdiff_t k1) {
    for (ptrdiff_t j = 0; j < t->width; j++) t->max[j] = -INFINITY;
    if (t->job->inner >= LANES) pack_planes(t, k0, k1);
    else pack_few_columns(t, k0, k1);
}

static void unpack_planes(const struct packed_tile *t, ptrdiff_t k0, ptrdiff_t k1) {
    const sl_job *job = t->job;
    const ptrdiff_t at = start_of_row(job, t->first), full = t->columns - t->columns % LANES;
    for (ptrdiff_t k = k0; k < k1; k++) {
        const real *from = t->tile + (k - k0) * t->width;
        const ptrdiff_t i = at + k * job->inner;
        if (!y_is_native(job)) {
            store_converted(job, i, t->columns, from);
            continue;
        }
        real *y = (real *)job->y + i;
        const real *prefetched = y + (k + PLANES_AHEAD < k1 ? PLANES_AHEAD * job->inner : 0);
        for (ptrdiff_t j = 0; j < full; j += LANES) {
            sl_prefetch(prefetched + j);
            v_store(y + j, v_load(from + j));
        }
        if (full < t->columns) v_store_tail(y + full, t->columns - full, v_load(from + full));
    }
}
static void unpack_few_columns(const struct packed_tile *t, ptrdiff_t k0, ptrdiff_t k1) {
    const sl_job *job = t->job;
    for (ptrdiff_t j = 0; j < t->columns; j++) {
        const ptrdiff_t at = start_of_row(job, t->first + j);
        for (ptrdiff_t k = k0; k < k1; k++) {
            const real *from = t->tile + (k - k0) * LANES + j;
            if (y_is_native(job)) ((real *)job->y)[at + k * job->inner] = *from;
            else store_converted(job, at + k * job->inner, 1, from);
        }
    }
}
/* Results in the tile, to y */
static void unpack_tile(const struct packed_tile *t, ptrdiff_t k0, ptrdiff_t k1) {
    if (t->job->inner >= LANES) unpack_planes(t, k0, k1);
    else unpack_few_columns(t, k0, k1);
}

#endif
