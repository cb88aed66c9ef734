/* convert.inc.h: dtypes and masks. Loads vectors and blocks of any dtype as the compute type, and stores results. */
#ifndef SL_CONVERT_INC
#define SL_CONVERT_INC
#include "isa/compute_type.h"

/* One vector at x, of a dtype that is known where this is compiled */
#if SL_REAL == 32
SL_INLINE size_t element_size(const sl_dtype dtype) {
    return dtype == SL_FLOAT32 ? 4 : dtype == SL_INT8 || dtype == SL_UINT8 || dtype == SL_BOOL ? 1 : 2;
}
SL_INLINE vec load_converted(const sl_dtype dtype, const void *x) {
    switch (dtype) {
        case SL_FLOAT16: return f32_from_float16((const uint16_t *)x);
        case SL_BFLOAT16: return f32_from_bfloat16((const uint16_t *)x);
        case SL_INT8: return f32_from_int8((const int8_t *)x);
        case SL_UINT8: return f32_from_uint8((const uint8_t *)x);
        case SL_INT16: return f32_from_int16((const int16_t *)x);
        case SL_UINT16: return f32_from_uint16((const uint16_t *)x);
        case SL_BOOL: return v_select_eq(f32_from_uint8((const uint8_t *)x), v_set1(0), v_set1(0), v_set1(1)); /* any byte but 0 is true */
        default: return v_load((const real *)x);
    }
}
SL_INLINE void store_narrowed(const sl_dtype dtype, void *y, vec v) {
    if (dtype == SL_FLOAT16) f32_to_float16((uint16_t *)y, v);
    else if (dtype == SL_BFLOAT16) f32_to_bfloat16((uint16_t *)y, v);
    else v_store((real *)y, v);
}
#else
SL_INLINE size_t element_size(const sl_dtype dtype) {
    (void)dtype;
    return 8;
}
SL_INLINE vec load_converted(const sl_dtype dtype, const void *x) {
    (void)dtype;
    return v_load((const real *)x);
}
SL_INLINE void store_narrowed(const sl_dtype dtype, void *y, vec v) {
    (void)dtype;
    v_store((real *)y, v);
}
#endif
SL_INLINE void store_vector(const sl_dtype dtype, void *y, ptrdiff_t i, ptrdiff_t count, vec v) {
    char *at = (char *)y + i * (ptrdiff_t)element_size(dtype);
    if (count >= LANES) {
        store_narrowed(dtype, at, v);
        return;
    }
    if (dtype == OWN_DTYPE) {
        v_store_tail((real *)at, count, v);
        return;
    }
    char some[LANES * sizeof(real)];
    store_narrowed(dtype, some, v);
    memcpy(at, some, (size_t)count * element_size(dtype));
}

/* A whole vector, of many that follow each other. A y of real has been fetched where e was written. */
SL_INLINE void store_ahead(const sl_dtype dtype, void *y, ptrdiff_t i, vec v) {
    if (dtype != OWN_DTYPE) sl_prefetch((const char *)y + i * (ptrdiff_t)element_size(dtype) + PREFETCH_DISTANCE / 2);
    store_vector(dtype, y, i, LANES, v);
}

/* Fewer elements than lanes, at `at`: once for a row or a block, so that one function serves all dtypes */
SL_NOINLINE vec load_visible_tail(sl_dtype dtype, int negate, const char *at, const unsigned char *mask, ptrdiff_t count) {
    char raw[LANES * sizeof(real)] = {0};
    real some[LANES];
    memcpy(raw, at, (size_t)count * element_size(dtype));
    v_store(some, load_converted(dtype, raw));
    for (ptrdiff_t j = 0; j < LANES; j++) {
        const real visible = negate ? -some[j] : some[j];
        some[j] = j < count && (!mask || mask[j]) ? visible : (real)-INFINITY;
    }
    return v_load(some);
}
/* The vector from element i on: -inf in lanes from count on, and where the mask, if there is one, hides an element */
SL_INLINE vec load_visible(const sl_dtype dtype, const int negate, const void *x, const unsigned char *mask, ptrdiff_t i, ptrdiff_t count) {
    const char *at = (const char *)x + i * (ptrdiff_t)element_size(dtype);
    if (count >= LANES) {
        vec v = load_converted(dtype, at);
        if (negate) v = v_sub(v_set1(0), v);
        return mask ? v_hide(mask + i, v) : v;
    }
    if (dtype == OWN_DTYPE && !negate && !mask) return v_load_tail((const real *)at, count, -INFINITY);
    return load_visible_tail(dtype, negate, at, mask ? mask + i : NULL, count);
}

/* ---- blocks of elements --------------------------------------------------------------------------------------- */

/* An input array: elements that the mask hides count as -inf. */
struct source {
    sl_dtype dtype;
    int negate; /* are the elements -x? */
    const void *x;
    const unsigned char *mask;
};
SL_INLINE struct source source_of(const sl_job *job) { return (struct source){job->x_dtype, job->negate, job->x, job->mask}; }

SL_INLINE real convert_as(const sl_dtype dtype, const int negate, const struct source *s, const unsigned char *mask, ptrdiff_t i,
                          ptrdiff_t n, real *restrict to) {
    vec a = v_set1(-INFINITY), b = a;
    ptrdiff_t k = 0;
    for (; k + 2 * LANES <= n; k += 2 * LANES) {
        const vec u = load_visible(dtype, negate, s->x, mask, i + k, LANES);
        const vec v = load_visible(dtype, negate, s->x, mask, i + k + LANES, LANES);
        const char *at = (const char *)s->x + (i + k) * (ptrdiff_t)element_size(dtype) + PREFETCH_DISTANCE;
        sl_prefetch(at);
        if (element_size(dtype) * LANES >= 64) sl_prefetch(at + 64);
        if (mask) sl_prefetch(mask + i + k + PREFETCH_DISTANCE / 4);
        v_store(to + k, u);
        v_store(to + k + LANES, v);
        a = v_max(u, a);
        b = v_max(v, b);
    }
    for (; k < n; k += LANES) {
        const vec u = load_visible(dtype, negate, s->x, mask, i + k, n - k);
        if (k + LANES <= n) v_store(to + k, u);
        else v_store_tail(to + k, n - k, u);
        a = v_max(u, a);
    }
    return v_reduce_max(v_max(a, b));
}
SL_INLINE real convert_dtype(const sl_dtype dtype, const struct source *s, ptrdiff_t i, ptrdiff_t n, real *restrict to) {
    return s->mask ? convert_as(dtype, 0, s, s->mask, i, n, to) : convert_as(dtype, 0, s, NULL, i, n, to);
}
/* The same of what is rare, such as masked small integers: the dtype is looked up for each vector. */
static real convert_any(const struct source *s, ptrdiff_t i, ptrdiff_t n, real *restrict to) {
    return convert_as(s->dtype, s->negate, s, s->mask, i, n, to);
}
static real convert_negated(const struct source *s, ptrdiff_t i, ptrdiff_t n, real *restrict to) {
    return s->dtype == OWN_DTYPE && !s->mask ? convert_as(OWN_DTYPE, 1, s, NULL, i, n, to) : convert_any(s, i, n, to);
}
/* n elements from index i on, as the compute type; returns their maximum, without NaN. */
static real convert_block(const struct source *s, ptrdiff_t i, ptrdiff_t n, real *restrict to) {
    if (s->negate) return convert_negated(s, i, n, to);
    switch (s->dtype) {
#if SL_REAL == 32
        case SL_FLOAT16: return convert_dtype(SL_FLOAT16, s, i, n, to);
        case SL_BFLOAT16: return convert_dtype(SL_BFLOAT16, s, i, n, to);
        case SL_UINT8: return s->mask ? convert_any(s, i, n, to) : convert_as(SL_UINT8, 0, s, NULL, i, n, to);
        case SL_INT8:
        case SL_INT16:
        case SL_UINT16:
        case SL_BOOL: return convert_any(s, i, n, to);
#endif
        default: return convert_dtype(OWN_DTYPE, s, i, n, to);
    }
}

/* Can x be read, and y be written, where it is? */
SL_INLINE int source_is_native(const struct source *s) { return s->dtype == OWN_DTYPE && !s->mask && !s->negate; }
SL_INLINE int x_is_native(const sl_job *job) { return job->x_dtype == OWN_DTYPE && !job->mask && !job->negate; }
SL_INLINE int y_is_native(const sl_job *job) { return job->y_dtype == OWN_DTYPE; }

/* n elements from index i on: where they are, or converted into scratch */
static const real *load_source(const struct source *s, ptrdiff_t i, ptrdiff_t n, real *scratch) {
    if (source_is_native(s)) return (const real *)s->x + i;
    convert_block(s, i, n, scratch);
    return scratch;
}
static const real *load_block(const sl_job *job, ptrdiff_t i, ptrdiff_t n, real *scratch) {
    const struct source s = source_of(job);
    return load_source(&s, i, n, scratch);
}
SL_INLINE real load_element(const sl_job *job, ptrdiff_t i) {
    real one = 0;
    return *load_block(job, i, 1, &one);
}

/* Class 0 of a row, as an index into x */
SL_INLINE ptrdiff_t start_of_row(const sl_job *job, ptrdiff_t row) {
    return job->inner == 1 ? row * job->n : row / job->inner * job->n * job->inner + row % job->inner;
}
SL_INLINE real logit_at(const sl_job *job, ptrdiff_t row, int64_t k) {
    const ptrdiff_t at = start_of_row(job, row) + (ptrdiff_t)k * job->inner;
    return x_is_native(job) ? ((const real *)job->x)[at] : load_element(job, at);
}
SL_INLINE int is_hidden(const sl_job *job, ptrdiff_t row, int64_t k) {
    return job->mask && !job->mask[start_of_row(job, row) + (ptrdiff_t)k * job->inner];
}

/* n elements of a column from index `at` on, side by side in scratch */
static const real *load_column(const sl_job *job, ptrdiff_t at, ptrdiff_t n, real *scratch) {
    for (ptrdiff_t i = 0; i < n; i++) scratch[i] = load_element(job, at + i * job->inner);
    return scratch;
}
/* n classes of a row from class k on, side by side */
static const real *load_row_block(const sl_job *job, ptrdiff_t row, ptrdiff_t k, ptrdiff_t n, real *scratch) {
    const ptrdiff_t at = start_of_row(job, row) + k * job->inner;
    return job->inner == 1 ? load_block(job, at, n, scratch) : load_column(job, at, n, scratch);
}

/* ---- results -------------------------------------------------------------------------------------------------- */

/* Where n results for y from index i on go: y itself, or scratch, from which store_converted takes them */
SL_INLINE real *output_at(const sl_job *job, ptrdiff_t i, real *scratch) { return y_is_native(job) ? (real *)job->y + i : scratch; }
SL_INLINE void store_converted_as(const sl_dtype dtype, void *y, ptrdiff_t i, ptrdiff_t n, const real *scratch) {
    ptrdiff_t k = 0;
    for (; k + LANES <= n; k += LANES) store_ahead(dtype, y, i + k, v_load(scratch + k));
    if (k < n) store_vector(dtype, y, i + k, n - k, v_load_tail(scratch + k, n - k, 0));
}
static void store_converted(const sl_job *job, ptrdiff_t i, ptrdiff_t n, const real *scratch) {
    if (job->y_dtype == SL_FLOAT16) store_converted_as(SL_FLOAT16, job->y, i, n, scratch);
    if (job->y_dtype == SL_BFLOAT16) store_converted_as(SL_BFLOAT16, job->y, i, n, scratch);
}

/* Do the caches likely hold the whole output? */
static int output_is_cached(const sl_job *job) {
    const size_t size = job->y_dtype == SL_FLOAT64 ? 8 : job->y_dtype == SL_FLOAT32 ? 4 : 2;
    return (size_t)job->outer * job->n * job->inner * size < (1 << 23);
}

/* n results from index i on, from elsewhere */
static void store_results(const sl_job *job, ptrdiff_t i, ptrdiff_t n, const real *from) {
    if (y_is_native(job)) memcpy((real *)job->y + i, from, (size_t)n * sizeof(real));
    else store_converted(job, i, n, from);
}

#endif
