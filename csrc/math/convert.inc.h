/* convert.inc.h: dtypes and masks. Loads vectors and blocks of any dtype as the compute type, and stores results. */
#ifndef SL_CONVERT_INC
#define SL_CONVERT_INC
#include "isa/compute_type.h"

/* ---- storage ---------------------------------------------------------------------------------------------- */

/* One vector of elements from index i on, of any storage that is known where this is compiled; count < LANES at the end. */
#if SL_REAL == 32
SL_INLINE size_t element_size(const sl_storage storage) {
    return storage == SL_FLOAT32 ? 4 : storage == SL_INT8 || storage == SL_UINT8 || storage == SL_BOOL ? 1 : 2;
}
SL_INLINE vec load_converted(const sl_storage storage, const void *x) {
    switch (storage) {
        case SL_FLOAT16: return f32_from_float16((const uint16_t *)x);
        case SL_BFLOAT16: return f32_from_bfloat16((const uint16_t *)x);
        case SL_INT8: return f32_from_int8((const int8_t *)x);
        case SL_UINT8: return f32_from_uint8((const uint8_t *)x);
        case SL_INT16: return f32_from_int16((const int16_t *)x);
        case SL_UINT16: return f32_from_uint16((const uint16_t *)x);
        case SL_BOOL: return v_select_eq(f32_from_uint8((const uint8_t *)x), v_set1(0), v_set1(0), v_set1(1)); /* any byte but 0 is true */
        default: return v_load((const R *)x);
    }
}
SL_INLINE void store_narrowed(const sl_storage storage, void *y, vec v) {
    if (storage == SL_FLOAT16) f32_to_float16((uint16_t *)y, v);
    else if (storage == SL_BFLOAT16) f32_to_bfloat16((uint16_t *)y, v);
    else v_store((R *)y, v);
}
#else
SL_INLINE size_t element_size(const sl_storage storage) {
    (void)storage;
    return 8;
}
SL_INLINE vec load_converted(const sl_storage storage, const void *x) {
    (void)storage;
    return v_load((const R *)x);
}
SL_INLINE void store_narrowed(const sl_storage storage, void *y, vec v) {
    (void)storage;
    v_store((R *)y, v);
}
#endif
SL_INLINE void store_vector(const sl_storage storage, void *y, ptrdiff_t i, ptrdiff_t count, vec v) {
    char *at = (char *)y + i * (ptrdiff_t)element_size(storage);
    if (count >= LANES) {
        store_narrowed(storage, at, v);
        return;
    }
    if (storage == OWN_STORAGE) {
        v_store_tail((R *)at, count, v);
        return;
    }
    char some[LANES * sizeof(R)];
    store_narrowed(storage, some, v);
    memcpy(at, some, (size_t)count * element_size(storage));
}

/* A whole vector, of many that follow each other. A y of R has been fetched where e was written. */
SL_INLINE void store_ahead(const sl_storage storage, void *y, ptrdiff_t i, vec v) {
    if (storage != OWN_STORAGE) sl_prefetch((const char *)y + i * (ptrdiff_t)element_size(storage) + SL_PREFETCH / 2);
    store_vector(storage, y, i, LANES, v);
}

/* One vector of them, with -inf beyond count and where the mask, if there is one, hides them. */
SL_INLINE vec load_visible(const sl_storage storage, const void *x, const unsigned char *mask, ptrdiff_t i, ptrdiff_t count) {
    const char *at = (const char *)x + i * (ptrdiff_t)element_size(storage);
    if (count >= LANES) {
        const vec v = load_converted(storage, at);
        return mask ? v_hide(mask + i, v) : v;
    }
    if (storage == OWN_STORAGE && !mask) return v_load_tail((const R *)at, count, -INFINITY);
    char raw[LANES * sizeof(R)] = {0};
    R some[LANES];
    memcpy(raw, at, (size_t)count * element_size(storage));
    v_store(some, load_converted(storage, raw));
    for (ptrdiff_t j = 0; j < LANES; j++) some[j] = j < count && (!mask || mask[i + j]) ? some[j] : (R)-INFINITY;
    return v_load(some);
}

/* n elements from index i on, with -inf where the mask hides them; returns their maximum, without NaN. */
SL_INLINE R convert_as(const sl_storage storage, const void *x, const unsigned char *mask, ptrdiff_t i, ptrdiff_t n, R *restrict to) {
    vec a = v_set1(-INFINITY), b = a;
    ptrdiff_t k = 0;
    for (; k + 2 * LANES <= n; k += 2 * LANES) {
        const vec u = load_visible(storage, x, mask, i + k, LANES), v = load_visible(storage, x, mask, i + k + LANES, LANES);
        const char *at = (const char *)x + (i + k) * (ptrdiff_t)element_size(storage) + SL_PREFETCH;
        sl_prefetch(at);
        if (element_size(storage) * LANES >= 64) sl_prefetch(at + 64);
        if (mask) sl_prefetch(mask + i + k + SL_PREFETCH / 4);
        v_store(to + k, u);
        v_store(to + k + LANES, v);
        a = v_max(u, a);
        b = v_max(v, b);
    }
    for (; k < n; k += LANES) {
        const vec u = load_visible(storage, x, mask, i + k, n - k);
        if (k + LANES <= n) v_store(to + k, u);
        else v_store_tail(to + k, n - k, u);
        a = v_max(u, a);
    }
    return v_reduce_max(v_max(a, b));
}
static R convert_block(sl_storage storage, const void *x, const unsigned char *mask, ptrdiff_t i, ptrdiff_t n, R *restrict to) {
#define CASE(storage) \
    case storage: return mask ? convert_as(storage, x, mask, i, n, to) : convert_as(storage, x, NULL, i, n, to)
    switch (storage) {
#if SL_REAL == 32
        CASE(SL_FLOAT16);
        CASE(SL_BFLOAT16);
        CASE(SL_INT8);
        CASE(SL_UINT8);
        CASE(SL_INT16);
        CASE(SL_UINT16);
        CASE(SL_BOOL);
#endif
        default: return mask ? convert_as(OWN_STORAGE, x, mask, i, n, to) : convert_as(OWN_STORAGE, x, NULL, i, n, to);
    }
#undef CASE
}

/* Can x be read, and y be written, where it is? */
SL_INLINE int x_is_native(const sl_job *job) { return job->x_storage == OWN_STORAGE && !job->mask; }
SL_INLINE int y_is_native(const sl_job *job) { return job->y_storage == OWN_STORAGE; }

/* n elements of x from index i on, as R: in place, or converted into scratch, with -inf for what does not count. */
static const R *load_block(const sl_job *job, ptrdiff_t i, ptrdiff_t n, R *scratch) {
    if (x_is_native(job)) return (const R *)job->x + i;
    convert_block(job->x_storage, job->x, job->mask, i, n, scratch);
    return scratch;
}

/* Class 0 of a row, as an index into x. */
SL_INLINE ptrdiff_t start_of_row(const sl_job *job, ptrdiff_t column) {
    return column / job->inner * job->n * job->inner + column % job->inner;
}

/* n classes from class k on of one row, which may run across memory, side by side. */
static const R *load_row_block(const sl_job *job, ptrdiff_t row, ptrdiff_t k, ptrdiff_t n, R *scratch) {
    if (job->inner == 1) return load_block(job, row * job->n + k, n, scratch);
    const ptrdiff_t at = start_of_row(job, row) + k * job->inner;
    for (ptrdiff_t i = 0; i < n; i++) {
        R one = 0;
        scratch[i] = *load_block(job, at + i * job->inner, 1, &one);
    }
    return scratch;
}

/* Where n results for y from index i on go: y itself, or scratch, from which written() converts them. */
SL_INLINE R *output_at(const sl_job *job, ptrdiff_t i, R *scratch) { return y_is_native(job) ? (R *)job->y + i : scratch; }
SL_INLINE void store_converted_as(const sl_storage storage, void *y, ptrdiff_t i, ptrdiff_t n, const R *scratch) {
    ptrdiff_t k = 0;
    for (; k + LANES <= n; k += LANES) store_ahead(storage, y, i + k, v_load(scratch + k));
    if (k < n) store_vector(storage, y, i + k, n - k, v_load_tail(scratch + k, n - k, 0));
}
static void store_converted(const sl_job *job, ptrdiff_t i, ptrdiff_t n, const R *scratch) {
    if (job->y_storage == SL_FLOAT16) store_converted_as(SL_FLOAT16, job->y, i, n, scratch);
    if (job->y_storage == SL_BFLOAT16) store_converted_as(SL_BFLOAT16, job->y, i, n, scratch);
}

/* n results from index i on, from elsewhere */
static void store_results(const sl_job *job, ptrdiff_t i, ptrdiff_t n, const R *from) {
    if (y_is_native(job)) memcpy((R *)job->y + i, from, (size_t)n * sizeof(R));
    else store_converted(job, i, n, from);
}

/* Results of a row without a finite maximum: NaN, but what does not count is as in any other row. y are n of them, from
   index at on at distances of step; its own elements lie side by side. */
static void fill_nonfinite(const sl_job *job, ptrdiff_t at, ptrdiff_t step, ptrdiff_t n, R *y, ptrdiff_t y_step) {
    const R hidden = job->op == SL_LOG_SOFTMAX ? (R)-INFINITY : 0;
    for (ptrdiff_t k = 0; k < n; k++) y[k * y_step] = job->mask && !job->mask[at + k * step] ? hidden : (R)NAN;
}

/* R to float64 and back, as HALVES vectors of 8 lanes */
SL_INLINE void to_double(vec x, f64_v *d) {
#if SL_REAL == 32
    f32_widen(x, &d[0], &d[1]);
#else
    d[0] = x;
#endif
}
SL_INLINE vec from_double(const f64_v *d) {
#if SL_REAL == 32
    return f32_narrow(d[0], d[1]);
#else
    return d[0];
#endif
}

#endif
