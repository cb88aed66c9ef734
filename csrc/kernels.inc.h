/* kernels.inc.h: compute. Every algorithm, written once over the virtual vector of vec_<isa>.h.

   Included twice by each isa_<name>.c, with SL_REAL 32 and 64. It knows nothing of Python, threads or processors.

   The three steps of a row are the same everywhere: its maximum; the sum of e(x), which is exp(x) up to a factor
   (math.inc.h); the result. What differs is where rows lie in the vectors:

     rows        one row along the lanes, a few rows together so that what is done once per row is done for a vector of rows
     long rows   the same in blocks of SL_BLOCK, which threads may share
     columns     one row per lane, in a packed tile [class][row]; short rows are transposed into such tiles

   Sums are kept as unevaluated pairs high + low, so their error is far below u and the order of summation, fixed by
   the lengths alone, is the only thing that decides their bits. */

#if SL_REAL == 32
#define R float
#define V(name) f32_##name
#define C(name) F32_##name
#define LANES 16
#else
#define R double
#define V(name) f64_##name
#define C(name) F64_##name
#define LANES 8
#endif
#define vec V(v)
#define OWN_STORAGE (SL_REAL == 32 ? SL_FLOAT32 : SL_FLOAT64)

/* ---- storage ---------------------------------------------------------------------------------------------- */

/* One vector of elements from index i on, of any storage that is known where this is compiled; count < LANES at the end. */
#if SL_REAL == 32
SL_INLINE size_t V(size_of)(const sl_storage storage) {
    return storage == SL_FLOAT32 ? 4 : storage == SL_INT8 || storage == SL_UINT8 || storage == SL_BOOL ? 1 : 2;
}
SL_INLINE vec V(load_whole)(const sl_storage storage, const void *x) {
    switch (storage) {
        case SL_FLOAT16: return f32_from_float16((const uint16_t *)x);
        case SL_BFLOAT16: return f32_from_bfloat16((const uint16_t *)x);
        case SL_INT8: return f32_from_int8((const int8_t *)x);
        case SL_UINT8: return f32_from_uint8((const uint8_t *)x);
        case SL_INT16: return f32_from_int16((const int16_t *)x);
        case SL_UINT16: return f32_from_uint16((const uint16_t *)x);
        case SL_BOOL:
            return V(select_eq)(f32_from_uint8((const uint8_t *)x), V(set1)(0), V(set1)(0), V(set1)(1)); /* any byte but 0 is true */
        default: return V(load)((const R *)x);
    }
}
SL_INLINE void V(store_whole)(const sl_storage storage, void *y, vec v) {
    if (storage == SL_FLOAT16) f32_to_float16((uint16_t *)y, v);
    else if (storage == SL_BFLOAT16) f32_to_bfloat16((uint16_t *)y, v);
    else V(store)((R *)y, v);
}
#else
SL_INLINE size_t V(size_of)(const sl_storage storage) {
    (void)storage;
    return 8;
}
SL_INLINE vec V(load_whole)(const sl_storage storage, const void *x) {
    (void)storage;
    return V(load)((const R *)x);
}
SL_INLINE void V(store_whole)(const sl_storage storage, void *y, vec v) {
    (void)storage;
    V(store)((R *)y, v);
}
#endif
SL_INLINE void V(store_as)(const sl_storage storage, void *y, ptrdiff_t i, ptrdiff_t count, vec v) {
    char *at = (char *)y + i * (ptrdiff_t)V(size_of)(storage);
    if (count >= LANES) {
        V(store_whole)(storage, at, v);
        return;
    }
    if (storage == OWN_STORAGE) {
        V(store_tail)((R *)at, count, v);
        return;
    }
    char some[LANES * sizeof(R)];
    V(store_whole)(storage, some, v);
    memcpy(at, some, (size_t)count * V(size_of)(storage));
}

/* A whole vector, of many that follow each other. A y of R has been fetched where e was written. */
SL_INLINE void V(store_ahead)(const sl_storage storage, void *y, ptrdiff_t i, vec v) {
    if (storage != OWN_STORAGE) sl_prefetch((const char *)y + i * (ptrdiff_t)V(size_of)(storage) + SL_PREFETCH / 2);
    V(store_as)(storage, y, i, LANES, v);
}

/* One vector of them, with -inf beyond count and where the mask, if there is one, hides them. */
SL_INLINE vec V(load_visible)(const sl_storage storage, const void *x, const unsigned char *mask, ptrdiff_t i, ptrdiff_t count) {
    const char *at = (const char *)x + i * (ptrdiff_t)V(size_of)(storage);
    if (count >= LANES) {
        const vec v = V(load_whole)(storage, at);
        return mask ? V(hide)(mask + i, v) : v;
    }
    if (storage == OWN_STORAGE && !mask) return V(load_tail)((const R *)at, count, -INFINITY);
    char raw[LANES * sizeof(R)] = {0};
    R some[LANES];
    memcpy(raw, at, (size_t)count * V(size_of)(storage));
    V(store)(some, V(load_whole)(storage, raw));
    for (ptrdiff_t j = 0; j < LANES; j++) some[j] = j < count && (!mask || mask[i + j]) ? some[j] : (R)-INFINITY;
    return V(load)(some);
}

/* n elements from index i on, with -inf where the mask hides them; returns their maximum, without NaN. */
SL_INLINE R V(convert_as)(const sl_storage storage, const void *x, const unsigned char *mask, ptrdiff_t i, ptrdiff_t n, R *restrict to) {
    vec a = V(set1)(-INFINITY), b = a;
    ptrdiff_t k = 0;
    for (; k + 2 * LANES <= n; k += 2 * LANES) {
        const vec u = V(load_visible)(storage, x, mask, i + k, LANES), v = V(load_visible)(storage, x, mask, i + k + LANES, LANES);
        const char *at = (const char *)x + (i + k) * (ptrdiff_t)V(size_of)(storage) + SL_PREFETCH;
        sl_prefetch(at);
        if (V(size_of)(storage) * LANES >= 64) sl_prefetch(at + 64);
        if (mask) sl_prefetch(mask + i + k + SL_PREFETCH / 4);
        V(store)(to + k, u);
        V(store)(to + k + LANES, v);
        a = V(max)(u, a);
        b = V(max)(v, b);
    }
    for (; k < n; k += LANES) {
        const vec u = V(load_visible)(storage, x, mask, i + k, n - k);
        if (k + LANES <= n) V(store)(to + k, u);
        else V(store_tail)(to + k, n - k, u);
        a = V(max)(u, a);
    }
    return V(reduce_max)(V(max)(a, b));
}
static R V(convert)(sl_storage storage, const void *x, const unsigned char *mask, ptrdiff_t i, ptrdiff_t n, R *restrict to) {
#define CASE(storage) \
    case storage: return mask ? V(convert_as)(storage, x, mask, i, n, to) : V(convert_as)(storage, x, NULL, i, n, to)
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
        default: return mask ? V(convert_as)(OWN_STORAGE, x, mask, i, n, to) : V(convert_as)(OWN_STORAGE, x, NULL, i, n, to);
    }
#undef CASE
}

/* Can x be read, and y be written, where it is? */
SL_INLINE int V(x_native)(const sl_job *job) { return job->x_storage == OWN_STORAGE && !job->mask; }
SL_INLINE int V(y_native)(const sl_job *job) { return job->y_storage == OWN_STORAGE; }

/* n elements of x from index i on, as R: in place, or converted into scratch, with -inf for what does not count. */
static const R *V(read)(const sl_job *job, ptrdiff_t i, ptrdiff_t n, R *scratch) {
    if (V(x_native)(job)) return (const R *)job->x + i;
    V(convert)(job->x_storage, job->x, job->mask, i, n, scratch);
    return scratch;
}

/* Class 0 of a row, as an index into x. */
SL_INLINE ptrdiff_t V(column_at)(const sl_job *job, ptrdiff_t column) {
    return column / job->inner * job->n * job->inner + column % job->inner;
}

/* n classes from class k on of one row, which may run across memory, side by side. */
static const R *V(read_row)(const sl_job *job, ptrdiff_t row, ptrdiff_t k, ptrdiff_t n, R *scratch) {
    if (job->inner == 1) return V(read)(job, row * job->n + k, n, scratch);
    const ptrdiff_t at = V(column_at)(job, row) + k * job->inner;
    for (ptrdiff_t i = 0; i < n; i++) {
        R one = 0;
        scratch[i] = *V(read)(job, at + i * job->inner, 1, &one);
    }
    return scratch;
}

/* Where n results for y from index i on go: y itself, or scratch, from which written() converts them. */
SL_INLINE R *V(target)(const sl_job *job, ptrdiff_t i, R *scratch) { return V(y_native)(job) ? (R *)job->y + i : scratch; }
SL_INLINE void V(written_as)(const sl_storage storage, void *y, ptrdiff_t i, ptrdiff_t n, const R *scratch) {
    ptrdiff_t k = 0;
    for (; k + LANES <= n; k += LANES) V(store_ahead)(storage, y, i + k, V(load)(scratch + k));
    if (k < n) V(store_as)(storage, y, i + k, n - k, V(load_tail)(scratch + k, n - k, 0));
}
static void V(written)(const sl_job *job, ptrdiff_t i, ptrdiff_t n, const R *scratch) {
    if (job->y_storage == SL_FLOAT16) V(written_as)(SL_FLOAT16, job->y, i, n, scratch);
    if (job->y_storage == SL_BFLOAT16) V(written_as)(SL_BFLOAT16, job->y, i, n, scratch);
}

/* n results from index i on, from elsewhere */
static void V(put_values)(const sl_job *job, ptrdiff_t i, ptrdiff_t n, const R *from) {
    if (V(y_native)(job)) memcpy((R *)job->y + i, from, (size_t)n * sizeof(R));
    else V(written)(job, i, n, from);
}

/* Results of a row without a finite maximum: NaN, but what does not count is as in any other row. y are n of them, from
   index at on at distances of step; its own elements lie side by side. */
static void V(fill_bad)(const sl_job *job, ptrdiff_t at, ptrdiff_t step, ptrdiff_t n, R *y, ptrdiff_t y_step) {
    const R hidden = job->op == SL_LOG_SOFTMAX ? (R)-INFINITY : 0;
    for (ptrdiff_t k = 0; k < n; k++) y[k * y_step] = job->mask && !job->mask[at + k * step] ? hidden : (R)NAN;
}

/* R to float64 and back, as HALVES vectors of 8 lanes */
#define HALVES (LANES / 8)
SL_INLINE void V(to_double)(vec x, f64_v *d) {
#if SL_REAL == 32
    f32_widen(x, &d[0], &d[1]);
#else
    d[0] = x;
#endif
}
SL_INLINE vec V(from_double)(const f64_v *d) {
#if SL_REAL == 32
    return f32_narrow(d[0], d[1]);
#else
    return d[0];
#endif
}

/* ---- exp and sums ----------------------------------------------------------------------------------------- */

typedef struct {
    vec high, low;
} V(pair);

/* Temperatures T of rows, one per lane: what takes the place of the constants of exp, so that it is exp(x / T). All of it is
   in units of x, and no step more than without: r is T times as large, and the polynomial's terms make up for it. */
typedef struct {
    vec j_log2e, ln2_hi, ln2_lo, term[C(TERMS)];
    vec t, high, low; /* T; 1 / T as a pair, both > 0, so that -inf times either is -inf */
    double exact[LANES];
} V(heat);

static const V(heat) * V(warm)(const sl_job *job, ptrdiff_t row, ptrdiff_t rows, V(heat) * h) {
    if (!job->temperature) return NULL;
    if (job->temperature_step && rows >= LANES) memcpy(h->exact, job->temperature + row, sizeof h->exact);
    else
        for (ptrdiff_t i = 0; i < LANES; i++) h->exact[i] = job->temperature[job->temperature_step * (row + (i < rows ? i : rows - 1))];
    const f64_v below = f64_set1(SL_REAL == 32 ? 1 - 0x1p-23 : 1 - 0x1p-51);
    f64_v t[HALVES], inverse[HALVES], part[HALVES], rest[HALVES];
    for (int i = 0; i < HALVES; i++) {
        t[i] = f64_load(h->exact + 8 * i);
        inverse[i] = f64_div(f64_set1(1.0), t[i]);
        part[i] = f64_mul(inverse[i], f64_set1(C(J) / 0x1.62e42fefa39efp-1));
    }
    h->t = V(from_double)(t);
    h->j_log2e = V(from_double)(part);
    for (int i = 0; i < HALVES; i++) part[i] = f64_mul(t[i], f64_set1(0x1.62e42fefa39efp-1 / C(J)));
    h->ln2_hi = V(from_double)(part);
    V(to_double)(h->ln2_hi, rest);
    for (int i = 0; i < HALVES; i++) /* T ln2 / J without the high part; ln2 to twice the precision */
        rest[i] = f64_fma(t[i], f64_set1(0x1.abc9e3b39803fp-56 / C(J)),
                          f64_fma(t[i], f64_set1(0x1.62e42fefa39efp-1 / C(J)), f64_sub(f64_set1(0.0), rest[i])));
    h->ln2_lo = V(from_double)(rest);
    for (int i = 0; i < HALVES; i++) part[i] = f64_mul(inverse[i], below);
    h->high = V(from_double)(part);
    V(to_double)(h->high, rest);
    for (int i = 0; i < HALVES; i++) rest[i] = f64_mul(f64_fma(f64_sub(f64_set1(0.0), rest[i]), t[i], f64_set1(1.0)), inverse[i]);
    h->low = V(from_double)(rest);
    for (int i = 0; i < HALVES; i++) rest[i] = f64_set1(1.0);
    for (int k = 0; k < C(TERMS); k++) {
        for (int i = 0; i < HALVES; i++) {
            rest[i] = f64_mul(rest[i], inverse[i]);
            part[i] = f64_mul(rest[i], f64_set1(V_EXP_TERMS[k]));
        }
        h->term[k] = V(from_double)(part);
    }
    return h;
}

/* The one temperature of all rows; NULL where there is none, or more */
static const V(heat) * V(warm_all)(const sl_job *job, V(heat) * h) { return job->temperature_step ? NULL : V(warm)(job, 0, 1, h); }

/* The same for one of the rows, in all lanes */
SL_INLINE vec V(lane_of)(vec x, int lane) {
    R a[LANES];
    V(store)(a, x);
    return V(set1)(a[lane]);
}
static const V(heat) * V(warm_row)(const V(heat) * rows, int lane, V(heat) * h) {
    if (!rows) return NULL;
    h->j_log2e = V(lane_of)(rows->j_log2e, lane);
    h->ln2_hi = V(lane_of)(rows->ln2_hi, lane);
    h->ln2_lo = V(lane_of)(rows->ln2_lo, lane);
    for (int k = 0; k < C(TERMS); k++) h->term[k] = V(lane_of)(rows->term[k], lane);
    h->t = V(lane_of)(rows->t, lane);
    h->high = V(lane_of)(rows->high, lane);
    h->low = V(lane_of)(rows->low, lane);
    for (int i = 0; i < LANES; i++) h->exact[i] = rows->exact[lane];
    return h;
}

/* What turns the maximum m of a row into its e(x). A row far from zero is shifted by m first: x - m is then exact
   for every x that matters. Near zero x itself is used, as x - m would round away up to 4 ulp of the result. */
typedef struct {
    vec max, shift, reduced, k, magic, clamp;
    const V(heat) * heat; /* NULL where T is 1 */
    int shifted;
} V(plan);

/* a multiple of T */
SL_INLINE vec V(times_t)(R a, const V(heat) * heat) { return heat ? V(mul)(heat->t, V(set1)(a)) : V(set1)(a); }

static vec V(shift_far)(vec m, vec from) { /* m where it is finite and far from zero, else 0 */
    R a[LANES], far[LANES];
    V(store)(a, m);
    V(store)(far, from);
    for (int i = 0; i < LANES; i++) a[i] = isfinite(a[i]) && (a[i] > far[i] || -a[i] > far[i]) ? a[i] : 0;
    return V(load)(a);
}
SL_INLINE V(plan) V(make_plan)(vec m, const V(heat) * heat, int may_shift) {
    V(plan) p;
    const vec far = V(times_t)(C(SHIFT_FROM), heat);
    p.heat = heat;
    p.max = p.reduced = m;
    p.shift = V(set1)(0);
    p.shifted = may_shift && V(any_lt)(far, V(max)(m, V(sub)(p.shift, m)));
    if (p.shifted) {
        p.shift = V(shift_far)(m, far);
        p.reduced = V(sub)(m, p.shift);
    }
    const vec log2e = heat ? V(mul)(heat->j_log2e, V(set1)((R)1 / C(J))) : V(set1)(C(LOG2E));
    p.k = V(sub)(V(fma)(p.reduced, log2e, V(set1)(C(ROUND))), V(set1)(C(ROUND)));
    p.magic = V(fma)(p.k, V(set1)(-C(J)), V(set1)(C(ROUND) + C(J) * C(BIAS)));
    p.clamp = V(sub)(p.reduced, V(times_t)(C(CLAMP), heat));
    return p;
}

/* e(x) = T + T * p of u vectors. They go through every step together: one vector alone is a chain of some 50 cycles,
   and more of those than a processor's schedulers hold would have to overlap. A NaN comes through: max returns its
   second argument where the two do not compare. */
SL_INLINE void V(exp_parts)(int u, const vec *x, const vec *magic, const vec *clamp, const V(heat) * heat, V(table) table, vec *T, vec *p) {
    vec r[UNROLL], k[UNROLL];
    for (int i = 0; i < u; i++) r[i] = V(max)(*clamp, x[i]);
    if (heat) {
        for (int i = 0; i < u; i++) T[i] = V(fma)(r[i], heat->j_log2e, *magic);
        for (int i = 0; i < u; i++) k[i] = V(sub)(*magic, T[i]);
        for (int i = 0; i < u; i++) r[i] = V(fma)(k[i], heat->ln2_hi, r[i]);
        for (int i = 0; i < u; i++) r[i] = V(fma)(k[i], heat->ln2_lo, r[i]);
        for (int i = 0; i < u; i++) T[i] = V(pow2)(table, T[i]);
        for (int i = 0; i < u; i++) p[i] = heat->term[C(TERMS) - 1];
        for (int j = C(TERMS) - 2; j >= 0; j--)
            for (int i = 0; i < u; i++) p[i] = V(fma)(p[i], r[i], heat->term[j]);
        for (int i = 0; i < u; i++) p[i] = V(mul)(p[i], r[i]);
        return;
    }
    for (int i = 0; i < u; i++) T[i] = V(fma)(r[i], V(set1)(C(J_LOG2E)), *magic);
    for (int i = 0; i < u; i++) k[i] = V(sub)(T[i], *magic);
    for (int i = 0; i < u; i++) r[i] = V(fma)(k[i], V(set1)(-C(LN2_HI)), r[i]);
    for (int i = 0; i < u; i++) r[i] = V(fma)(k[i], V(set1)(-C(LN2_LO)), r[i]);
    for (int i = 0; i < u; i++) T[i] = V(pow2)(table, T[i]);
    V(exp_polynomial)(u, r, p);
}

/* Adds e(x) of u vectors to the sum, in their order, and returns e rounded. sum.high starts at CEILING, above every e,
   so that (high + e) - high is exact and the part of e that high could not take is known; that part goes to sum.low,
   from T and p, so that the rounding of e itself does not enter the sum. */
SL_INLINE void V(add_exp)(int u, const vec *x, const vec *magic, const vec *clamp, const V(heat) * heat, V(table) table, V(pair) * sum,
                          vec *e) {
    vec T[UNROLL], p[UNROLL], taken[UNROLL], high = sum->high;
    V(exp_parts)(u, x, magic, clamp, heat, table, T, p);
    for (int i = 0; i < u; i++) e[i] = V(fma)(T[i], p[i], T[i]);
    for (int i = 0; i < u; i++) {
        vec next = V(add)(high, e[i]);
        taken[i] = V(sub)(next, high);
        high = next;
    }
    for (int i = 0; i < u; i++) taken[i] = V(fma)(T[i], p[i], V(sub)(T[i], taken[i]));
    for (int i = 0; i < u; i++) sum->low = V(add)(sum->low, taken[i]);
    sum->high = high;
}

SL_INLINE V(pair) V(sum_begin)(vec ceiling) { return (V(pair)){ceiling, V(set1)(0)}; }
SL_INLINE V(pair) V(sum_end)(V(pair) s, vec ceiling) { /* exact */
    s.high = V(sub)(s.high, ceiling);
    return s;
}

/* CEILING for a part of a long row whose own maximum is m: lower than that of the row by a power of two, so that parts
   far below the row's maximum are added up as exactly as the part that has it. There may be very many of them. */
static R V(ceiling_of)(R m, R k, const V(heat) * heat) {
    R log2e = C(LOG2E);
    if (heat) log2e = (R)(0x1.71547652b82fep+0 / heat->exact[0]);
    R below = (R)(fma(m, log2e, C(ROUND)) - C(ROUND)) - k;
    if (!(below > -C(DEPTH))) below = -C(DEPTH);
    return (R)ldexp(C(CEILING), (int)below);
}

/* a + b without loss: b may be larger than a (two_sum), or may not (fast_two_sum). */
SL_INLINE V(pair) V(two_sum)(V(pair) a, V(pair) b) {
    vec s = V(add)(a.high, b.high), v = V(sub)(s, a.high);
    vec lost = V(add)(V(sub)(a.high, V(sub)(s, v)), V(sub)(b.high, v));
    return (V(pair)){s, V(add)(V(add)(a.low, b.low), lost)};
}
SL_INLINE V(pair) V(fast_two_sum)(V(pair) a) {
    vec s = V(add)(a.high, a.low);
    return (V(pair)){s, V(sub)(a.low, V(sub)(s, a.high))};
}

/* One step on the way from the lanes of rows to their sums: the halves of every row are added, two vectors become one. */
SL_INLINE int V(add_halves)(const int half, V(pair) s[LANES], int count) {
    if (count % 2) s[count] = (V(pair)){V(set1)(0), V(set1)(0)};
    for (int i = 0; i < count; i += 2) {
        V(pair) even, odd;
        V(unzip)(half, s[i].high, s[i + 1].high, &even.high, &odd.high);
        V(unzip)(half, s[i].low, s[i + 1].low, &even.low, &odd.low);
        s[i / 2] = V(two_sum)(even, odd);
    }
    return (count + 1) / 2;
}
/* The lanes of s[i] added up in lane i of the result, for count <= LANES rows. Each step adds lane j to lane j + half. */
static V(pair) V(add_lanes)(V(pair) s[LANES], int count) {
#if SL_REAL == 32
    count = V(add_halves)(8, s, count);
#endif
    count = V(add_halves)(4, s, count);
    count = V(add_halves)(2, s, count);
    V(add_halves)(1, s, count);
    return V(fast_two_sum)(s[0]);
}

/* e(max) as a pair */
SL_INLINE V(pair) V(exp_of_max)(const V(plan) * p) {
    vec T, q;
    V(exp_parts)(1, &p->reduced, &p->magic, &p->clamp, p->heat, V(load_table)(V_TABLE), &T, &q);
    vec e = V(fma)(T, q, T);
    return (V(pair)){e, V(fma)(T, q, V(sub)(T, e))};
}

/* ---- from sums to results, one row per lane ------------------------------------------------------------------ */

/* NaN where the row has a NaN or its maximum is not finite, a number elsewhere */
SL_INLINE vec V(poison)(const V(plan) * p, V(pair) sum) { return V(add)(V(sub)(p->max, p->max), sum.high); }

/* 1 / sum as a pair: the product with e then rounds once */
SL_INLINE V(pair) V(reciprocal)(V(pair) sum) {
    vec one = V(set1)(1), minus = V(sub)(V(set1)(0), V(div)(one, sum.high));
    vec rest = V(fma)(minus, sum.low, V(fma)(minus, sum.high, one));
    vec high = V(sub)(V(set1)(0), minus);
    return (V(pair)){high, V(mul)(high, rest)};
}

/* sum - e(max): what the other classes weigh */
SL_INLINE V(pair) V(others)(V(pair) sum, V(pair) e) {
    vec zero = V(set1)(0);
    return V(two_sum)(sum, (V(pair)){V(sub)(zero, e.high), V(sub)(zero, e.low)});
}

/* z = (sum - e(max)) / e(max) as pairs of float64 */
typedef struct {
    double high[LANES], low[LANES];
} V(odds);

static void V(make_odds)(V(pair) o, V(pair) e, V(odds) * z) {
#if SL_REAL == 32
    f64_v oh[2], ol[2], eh[2], el[2];
    f32_widen(o.high, &oh[0], &oh[1]);
    f32_widen(o.low, &ol[0], &ol[1]);
    f32_widen(e.high, &eh[0], &eh[1]);
    f32_widen(e.low, &el[0], &el[1]);
    for (int i = 0; i < 2; i++) {
        f64_store(z->high + 8 * i, f64_div(f64_add(oh[i], ol[i]), f64_add(eh[i], el[i])));
        f64_store(z->low + 8 * i, f64_set1(0.0));
    }
#else
    vec h = V(div)(o.high, e.high), minus = V(sub)(V(set1)(0), h);
    vec rest = V(add)(V(fma)(minus, e.high, o.high), V(fma)(minus, e.low, o.low));
    V(store)(z->high, h);
    V(store)(z->low, V(div)(rest, e.high));
#endif
}

/* log(sum / e(max)) = log1p(z), and logsumexp = max + that */
static vec V(log_of_odds)(const V(odds) * z, const V(plan) * p, vec *logsumexp, double *log) {
#if SL_REAL == 32
    f64_v m[2], l[2], low;
    f32_widen(p->max, &m[0], &m[1]);
    for (int i = 0; i < 2; i++) {
        if (p->heat) m[i] = f64_div(m[i], f64_load(p->heat->exact + 8 * i));
        sl_log1p(f64_load(z->high + 8 * i), f64_load(z->low + 8 * i), &l[i], &low);
        f64_store(log + 8 * i, l[i]);
        m[i] = f64_add(m[i], l[i]);
    }
    *logsumexp = f32_narrow(m[0], m[1]);
    return f32_narrow(l[0], l[1]);
#else
    V(pair) l;
    sl_log1p(V(load)(z->high), V(load)(z->low), &l.high, &l.low);
    V(store)(log, l.high);
    V(pair) m = {p->max, V(set1)(0)};
    if (p->heat) {
        m.high = V(div)(p->max, p->heat->t);
        m.low = V(mul)(V(fma)(V(sub)(V(set1)(0), m.high), p->heat->t, p->max), p->heat->high);
    }
    const vec zero = V(set1)(0), sum = V(fast_two_sum)(V(two_sum)(m, l)).high;
    *logsumexp = V(select_eq)(V(sub)(m.high, m.high), zero, sum, m.high); /* infinity: it has no low part */
    return l.high;
#endif
}

/* Where the other classes weigh less than this part of e(max), the low part of the sum carries most of them, and its own rounding
   (below 4 u^2 of e(max) times the square of the terms that it took) would show in log1p(z). Such rows add up the others alone.
   8 u (n + 2)^2 keeps that below half an ulp; the 2 is for the rounding of e(max). Where n is so large that this is above 1/64 the terms
   lie in many lanes and parts, each with its own low part, and no error has been found. */
#define CONFIDENT(n) ((n) + 2.0 < C(MANY) ? (R)(((n) + 2.0) * ((n) + 2.0) * 8 * C(UNIT)) : (R)(1.0 / 64))

/* Adds e(x) of u vectors, but for x equal to max, to a sum that may begin with nothing. From T and p, as in add_exp: roundings
   of many equal e would be one error. Max itself and -inf count as what the clamp leaves of them: less than 2^-50 of the
   smallest number of R, for each. */
SL_INLINE void V(add_others)(int u, vec *x, vec max, const vec *magic, const vec *clamp, const V(heat) * heat, V(table) table,
                             V(pair) * sum) {
    vec T[UNROLL], p[UNROLL];
    for (int i = 0; i < u; i++) x[i] = V(select_eq)(x[i], max, V(set1)(-INFINITY), x[i]);
    V(exp_parts)(u, x, magic, clamp, heat, table, T, p);
    for (int i = 0; i < u; i++) {
        const vec e = V(fma)(T[i], p[i], T[i]);
        *sum = V(two_sum)(*sum, (V(pair)){e, V(fma)(T[i], p[i], V(sub)(T[i], e))});
    }
}

/* What a vector of rows has come to. Softmax multiplies e by (a, b), log_softmax subtracts a, then b, logsumexp is a;
   the cross-entropies take log and z. least: e below that is a result of 0; 0 where no mask hides classes.
   few: some row has few[lane] < 0, so nearly all of its weight on one class. bad: some row's poison is NaN. */
typedef struct {
    vec a, b, least, few, poison;
    V(pair) e;
    V(odds) z;
    double log[LANES];
    int any_few, any_bad;
} V(verdict);

SL_INLINE void V(judge)(const sl_job *job, const V(plan) * plan, V(pair) sum, V(verdict) * v) {
    const sl_op op = job->op;
    v->e = V(exp_of_max)(plan);
    const V(pair) o = V(others)(sum, v->e);
    v->few = V(sub)(V(add)(o.high, o.low), V(mul)(v->e.high, V(set1)(op == SL_SOFTMAX ? C(TINY) : CONFIDENT(job->n))));
    v->poison = V(poison)(plan, sum);
    v->any_few = V(any_lt)(v->few, V(set1)(0));
    v->any_bad = V(any_nan)(v->poison);
    v->least = job->mask && op == SL_SOFTMAX ? V(mul)(V(mul)(sum.high, V(set1)(C(GONE))), V(set1)(C(GONE_REST))) : V(set1)(0);
    if (sl_scales(op)) {
        const V(pair) inverse = V(reciprocal)(sum);
        v->a = inverse.high;
        v->b = inverse.low;
    } else v->a = v->b = V(set1)(0);
    if (op != SL_SOFTMAX) V(make_odds)(o, v->e, &v->z);
}
/* The odds of the confident rows, from the sums of their other classes. */
static void V(judge_few)(V(pair) others, V(verdict) * v) {
    V(odds) z;
    f64_v few[HALVES];
    V(make_odds)(others, v->e, &z);
    V(to_double)(v->few, few);
    for (int i = 0; i < HALVES; i++) {
        double *high = v->z.high + 8 * i, *low = v->z.low + 8 * i;
        f64_store(high, f64_select_lt(few[i], f64_set1(0.0), f64_load(z.high + 8 * i), f64_load(high)));
        f64_store(low, f64_select_lt(few[i], f64_set1(0.0), f64_load(z.low + 8 * i), f64_load(low)));
    }
}
/* The logarithm, after the odds of confident rows have been put right. */
SL_INLINE void V(judge_log)(sl_op op, const V(plan) * plan, V(verdict) * v) {
    vec lse;
    const vec log = V(log_of_odds)(&v->z, plan, &lse, v->log);
    if (sl_scales(op)) return;
    v->b = log;
    v->a = op == SL_LOGSUMEXP ? lse : plan->max;
}

/* (x - max) / T - log: both terms have one sign, so nothing cancels, where x - logsumexp would */
SL_INLINE vec V(subtract)(vec x, vec max, vec log, const V(heat) * heat) {
    const vec d = V(sub)(x, max);
    if (!heat) return V(sub)(d, log);
    return V(fma)(d, heat->high, V(fma)(d, heat->low, V(sub)(V(set1)(0), log))); /* low is positive: -inf stays -inf */
}
SL_INLINE vec V(log_of)(vec x, const V(plan) * p, vec log) { return V(subtract)(x, p->reduced, log, p->heat); }

/* A result is e * (a + b). Below half of the smallest number it is 0, but a product that finds out takes several times as long: so
   where a mask hides classes, what is below `least` becomes 0 before. */
SL_INLINE vec V(kept)(vec e, int hides, vec least) { return hides ? V(select_lt)(e, least, V(set1)(0), e) : e; }
SL_INLINE vec V(share)(vec e, vec a, vec b) { return V(fma)(e, a, V(mul)(e, b)); }

/* What finished rows need for their output: softmax multiplies by the pair (a, b), log_softmax subtracts a, then b,
   logsumexp is a. rare: some row is bad (NaN throughout) or certain (one class takes all). */
typedef struct {
    R a[LANES], b[LANES], least[LANES];
    double log[LANES]; /* for losses: log(sum / e(max)), */
    V(odds) z;         /* what of the sum is not the maximum, */
    R poison[LANES];   /* and NaN where bad */
    const V(heat) * heat;
    unsigned char bad[LANES], certain[LANES];
    int rare;
} V(results);

/* ---- the mean of values ----------------------------------------------------------------------------------------- */

/* A sum of products, as if in twice the precision */
typedef struct {
    f64_v high[HALVES], low[HALVES];
} V(dot);
SL_INLINE void V(add_product)(V(dot) * d, vec p, vec value) {
    f64_v a[HALVES], b[HALVES];
    V(to_double)(p, a);
    V(to_double)(value, b);
#if SL_REAL == 32
    for (int i = 0; i < HALVES; i++) d->high[i] = f64_fma(a[i], b[i], d->high[i]); /* products of float32 are exact */
#else
    const f64_v product = f64_mul(a[0], b[0]), rest = f64_fma(a[0], b[0], f64_sub(f64_set1(0.0), product));
    const V(pair) s = V(two_sum)((V(pair)){d->high[0], d->low[0]}, (V(pair)){product, rest});
    d->high[0] = s.high;
    d->low[0] = s.low;
#endif
}
SL_INLINE V(dot) V(no_products)(void) {
    V(dot) d;
    for (int i = 0; i < HALVES; i++) d.high[i] = d.low[i] = f64_set1(0.0);
    return d;
}
/* what products have rounded away, or the like */
SL_INLINE void V(add_low)(V(dot) * d, vec low) {
    f64_v part[HALVES];
    V(to_double)(low, part);
    for (int i = 0; i < HALVES; i++) d->low[i] = f64_add(d->low[i], part[i]);
}
static double V(total_of)(const V(dot) * d, double *lost) {
    double high[LANES], low[LANES], sum = 0;
    for (int i = 0; i < HALVES; i++) {
        f64_store(high + 8 * i, d->high[i]);
        f64_store(low + 8 * i, d->low[i]);
    }
    for (int i = 0; i < LANES; i++) {
        sum = sl_add(sum, high[i], lost);
        *lost += low[i];
    }
    return sum;
}
static double V(mean_of_row)(const R *p, const R *values, ptrdiff_t n, double *lost) {
    V(dot) d = V(no_products)();
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        const ptrdiff_t count = n - i < LANES ? n - i : LANES;
        V(add_product)(&d, V(load_tail)(p + i, count, 0), V(load_tail)(values + i, count, 0));
    }
    return V(total_of)(&d, lost);
}

#include "losses.inc.h"

#include "choice.inc.h"

#include "rows.inc.h"

#include "columns.inc.h"

#include "elements.inc.h"

#undef R
#undef V
#undef C
#undef LANES
#undef vec
#undef HALVES
#undef OWN_STORAGE
