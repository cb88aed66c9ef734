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

/* ---- storage ---------------------------------------------------------------------------------------------- */

/* n elements of x from index i on, as R: in place, or converted into scratch. */
static const R *V(read)(const sl_job *job, ptrdiff_t i, ptrdiff_t n, R *scratch) {
#if SL_REAL == 32
    const uint16_t *half = (const uint16_t *)job->x + i;
    if (job->storage == SL_FLOAT16) {
        for (ptrdiff_t k = 0; k < n; k++) scratch[k] = sl_from_float16(half[k]);
        return scratch;
    }
    if (job->storage == SL_BFLOAT16) {
        for (ptrdiff_t k = 0; k < n; k++) scratch[k] = sl_from_bfloat16(half[k]);
        return scratch;
    }
#else
    (void)n, (void)scratch;
#endif
    return (const R *)job->x + i;
}

/* Class 0 of a row, as an index into x. */
SL_INLINE ptrdiff_t V(column_at)(const sl_job *job, ptrdiff_t column) {
    return column / job->inner * job->n * job->inner + column % job->inner;
}

/* Where n results for y from index i on go: y itself, or scratch, from which written() converts them. */
SL_INLINE int V(native)(const sl_job *job) { return job->storage == (SL_REAL == 32 ? SL_FLOAT32 : SL_FLOAT64); }
SL_INLINE R *V(target)(const sl_job *job, ptrdiff_t i, R *scratch) { return V(native)(job) ? (R *)job->y + i : scratch; }
static void V(written)(const sl_job *job, ptrdiff_t i, ptrdiff_t n, const R *scratch) {
#if SL_REAL == 32
    uint16_t *half = (uint16_t *)job->y + i;
    if (job->storage == SL_FLOAT16) for (ptrdiff_t k = 0; k < n; k++) half[k] = sl_to_float16(scratch[k]);
    if (job->storage == SL_BFLOAT16) for (ptrdiff_t k = 0; k < n; k++) half[k] = sl_to_bfloat16(scratch[k]);
#else
    (void)job, (void)i, (void)n, (void)scratch;
#endif
}

/* ---- exp and sums ----------------------------------------------------------------------------------------- */

typedef struct { vec high, low; } V(pair);

/* What turns the maximum m of a row into its e(x). A row far from zero is shifted by m first: x - m is then exact
   for every x that matters. Near zero x itself is used, as x - m would round away up to 4 ulp of the result. */
typedef struct { vec max, shift, reduced, k, magic, clamp; int shifted; } V(plan);

static vec V(shift_far)(vec m) { /* m where it is finite and far from zero, else 0 */
    R a[LANES];
    V(store)(a, m);
    for (int i = 0; i < LANES; i++) a[i] = isfinite(a[i]) && (a[i] > C(SHIFT_FROM) || -a[i] > C(SHIFT_FROM)) ? a[i] : 0;
    return V(load)(a);
}
SL_INLINE V(plan) V(make_plan)(vec m, int may_shift) {
    V(plan) p;
    p.max = p.reduced = m;
    p.shift = V(set1)(0);
    p.shifted = may_shift && V(any_lt)(V(set1)(C(SHIFT_FROM)), V(max)(m, V(sub)(p.shift, m)));
    if (p.shifted) {
        p.shift = V(shift_far)(m);
        p.reduced = V(sub)(m, p.shift);
    }
    p.k = V(sub)(V(fma)(p.reduced, V(set1)(C(LOG2E)), V(set1)(C(ROUND))), V(set1)(C(ROUND)));
    p.magic = V(fma)(p.k, V(set1)(-C(J)), V(set1)(C(ROUND) + C(J) * C(BIAS)));
    p.clamp = V(sub)(p.reduced, V(set1)(C(CLAMP)));
    return p;
}

/* e(x) = T + T * p of u vectors. They go through every step together: one vector alone is a chain of some 50 cycles,
   and more of those than a processor's schedulers hold would have to overlap. A NaN comes through: max returns its
   second argument where the two do not compare. */
SL_INLINE void V(exp_parts)(int u, const vec *x, const vec *magic, const vec *clamp, V(table) table, vec *T, vec *p) {
    vec r[UNROLL], k[UNROLL];
    for (int i = 0; i < u; i++) r[i] = V(max)(*clamp, x[i]);
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
SL_INLINE void V(add_exp)(int u, const vec *x, const vec *magic, const vec *clamp, V(table) table, V(pair) *sum, vec *e) {
    vec T[UNROLL], p[UNROLL], taken[UNROLL], high = sum->high;
    V(exp_parts)(u, x, magic, clamp, table, T, p);
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

SL_INLINE V(pair) V(sum_begin)(void) { return (V(pair)){V(set1)(C(CEILING)), V(set1)(0)}; }
SL_INLINE V(pair) V(sum_end)(V(pair) s) { s.high = V(sub)(s.high, V(set1)(C(CEILING))); return s; } /* exact */

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

/* The lanes of s[i] added up in lane i of the result. */
static V(pair) V(add_lanes)(V(pair) s[LANES]) {
    vec high[LANES], low[LANES];
    for (int i = 0; i < LANES; i++) { high[i] = s[i].high; low[i] = s[i].low; }
    V(transpose)(high);
    V(transpose)(low);
    for (int i = 0; i < LANES; i++) s[i] = (V(pair)){high[i], low[i]};
    for (int half = LANES / 2; half; half /= 2)
        for (int i = 0; i < half; i++) s[i] = V(two_sum)(s[i], s[i + half]);
    return V(fast_two_sum)(s[0]);
}

/* e(max) as a pair */
SL_INLINE V(pair) V(exp_of_max)(const V(plan) *p) {
    vec T, q;
    V(exp_parts)(1, &p->reduced, &p->magic, &p->clamp, V(load_table)(V_TABLE), &T, &q);
    vec e = V(fma)(T, q, T);
    return (V(pair)){e, V(fma)(T, q, V(sub)(T, e))};
}

/* ---- from sums to results, one row per lane ------------------------------------------------------------------ */

/* NaN where the row has a NaN or its maximum is not finite, a number elsewhere */
SL_INLINE vec V(poison)(const V(plan) *p, V(pair) sum) { return V(add)(V(sub)(p->max, p->max), sum.high); }

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
typedef struct { double high[LANES], low[LANES]; } V(odds);

static void V(make_odds)(V(pair) o, V(pair) e, V(odds) *z) {
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
static vec V(log_of_odds)(const V(odds) *z, const V(plan) *p, vec *logsumexp) {
#if SL_REAL == 32
    f64_v m[2], l[2], low;
    f32_widen(p->max, &m[0], &m[1]);
    for (int i = 0; i < 2; i++) {
        sl_log1p(f64_load(z->high + 8 * i), f64_load(z->low + 8 * i), &l[i], &low);
        m[i] = f64_add(m[i], l[i]);
    }
    *logsumexp = f32_narrow(m[0], m[1]);
    return f32_narrow(l[0], l[1]);
#else
    V(pair) l;
    sl_log1p(V(load)(z->high), V(load)(z->low), &l.high, &l.low);
    *logsumexp = V(fast_two_sum)(V(two_sum)((V(pair)){p->max, V(set1)(0)}, l)).high;
    return l.high;
#endif
}

/* Where the other classes weigh less than e(max) / 64, the low part of the sum carries most of them and its rounding
   shows in log1p(z). Such rows add up the others alone, against their own maximum (rare: p(max) > 0.985). */
#define CONFIDENT (1.0f / 64)

/* z of one such row from e sums against the plan with integer k2, e(max) against k; scale = k2 - k */
static void V(odds_of_others)(V(odds) *z, int i, R sum_high, R sum_low, R e_high, R e_low, int scale) {
#if SL_REAL == 32
    z->high[i] = ldexp(((double)sum_high + sum_low) / ((double)e_high + e_low), scale);
    z->low[i] = 0;
#else
    double h = sum_high / e_high;
    z->low[i] = ldexp((fma(-h, e_high, sum_high) + fma(-h, e_low, sum_low)) / e_high, scale);
    z->high[i] = ldexp(h, scale);
#endif
}

/* What a vector of rows has come to. Softmax multiplies e by (a, b), log_softmax subtracts a, then b, logsumexp is a.
   few: some row has few[lane] < 0, so nearly all of its weight on one class. bad: some row's poison is NaN. */
typedef struct { vec a, b, few, poison; V(pair) e; V(odds) z; int any_few, any_bad; } V(verdict);

SL_INLINE void V(judge)(sl_op op, const V(plan) *plan, V(pair) sum, V(verdict) *v) {
    v->e = V(exp_of_max)(plan);
    const V(pair) o = V(others)(sum, v->e);
    v->few = V(sub)(V(add)(o.high, o.low), V(mul)(v->e.high, V(set1)(op == SL_SOFTMAX ? C(TINY) : (R)CONFIDENT)));
    v->poison = V(poison)(plan, sum);
    v->any_few = V(any_lt)(v->few, V(set1)(0));
    v->any_bad = V(any_nan)(v->poison);
    if (op == SL_SOFTMAX) {
        const V(pair) inverse = V(reciprocal)(sum);
        v->a = inverse.high;
        v->b = inverse.low;
    } else V(make_odds)(o, v->e, &v->z);
}
/* The logarithm, after the odds of confident rows have been put right. */
SL_INLINE void V(judge_log)(sl_op op, const V(plan) *plan, V(verdict) *v) {
    vec lse;
    v->b = V(log_of_odds)(&v->z, plan, &lse);
    v->a = op == SL_LOGSUMEXP ? lse : plan->max;
}

/* ---- rows: one row along the lanes ---------------------------------------------------------------------------- */

static R V(row_max)(const R *x, ptrdiff_t n) {
    const vec lowest = V(set1)(-INFINITY);
    vec a = lowest, b = lowest, c = lowest, d = lowest;
    ptrdiff_t i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES) { /* max(x, a) keeps a where x is NaN: the sum will show it */
        a = V(max)(V(load)(x + i), a);
        b = V(max)(V(load)(x + i + LANES), b);
        c = V(max)(V(load)(x + i + 2 * LANES), c);
        d = V(max)(V(load)(x + i + 3 * LANES), d);
    }
    for (; i + LANES <= n; i += LANES) a = V(max)(V(load)(x + i), a);
    if (i < n) b = V(max)(V(load_tail)(x + i, n - i, -INFINITY), b);
    return V(reduce_max)(V(max)(V(max)(a, b), V(max)(c, d)));
}

SL_INLINE void V(row_step)(int u, const R *x, const vec *magic, const vec *clamp, V(table) table, V(pair) *sum, R *e, const R *ahead, vec *ahead_max) {
    vec v[UNROLL];
    for (int i = 0; i < u; i++) ahead_max[i] = V(max)(V(load)(ahead + i * LANES), ahead_max[i]);
    for (int i = 0; i < u; i++) v[i] = V(load)(x + i * LANES);
    V(add_exp)(u, v, magic, clamp, table, sum, v);
    if (e) for (int i = 0; i < u; i++) V(store)(e + i * LANES, v[i]);
}

/* The sum of e(x) in LANES fixed lanes; e itself into e, unless that is NULL. e may be x.
   ahead is another row of n elements, the next to be worked on: its maximum goes along, in time that its way from
   memory would take anyway. x itself where there is none. */
SL_INLINE V(pair) V(row_sum_into)(const R *x, ptrdiff_t n, R row_magic, R row_clamp, R *e, const R *ahead, R *max) {
    const vec magic = V(set1)(row_magic), clamp = V(set1)(row_clamp);
    const V(table) table = V(load_table)(V_TABLE);
    V(pair) sum = V(sum_begin)();
    vec m[UNROLL];
    for (int i = 0; i < UNROLL; i++) m[i] = V(set1)(-INFINITY);
    ptrdiff_t i = 0;
    for (; i + UNROLL * LANES <= n; i += UNROLL * LANES) V(row_step)(UNROLL, x + i, &magic, &clamp, table, &sum, e ? e + i : NULL, ahead + i, m);
    for (; i + 2 * LANES <= n; i += 2 * LANES) V(row_step)(2, x + i, &magic, &clamp, table, &sum, e ? e + i : NULL, ahead + i, m);
    for (; i + LANES <= n; i += LANES) V(row_step)(1, x + i, &magic, &clamp, table, &sum, e ? e + i : NULL, ahead + i, m);
    if (i < n) {
        vec v = V(load_tail)(x + i, n - i, -INFINITY);
        m[0] = V(max)(V(load_tail)(ahead + i, n - i, -INFINITY), m[0]);
        V(add_exp)(1, &v, &magic, &clamp, table, &sum, &v);
        if (e) V(store_tail)(e + i, n - i, v);
    }
    for (int k = 1; k < UNROLL; k++) m[0] = V(max)(m[k], m[0]);
    *max = V(reduce_max)(m[0]);
    return V(sum_end)(sum);
}
SL_INLINE V(pair) V(row_sum)(const R *x, ptrdiff_t n, R magic, R clamp, R *e, const R *ahead, R *max) {
    return e ? V(row_sum_into)(x, n, magic, clamp, e, ahead, max) : V(row_sum_into)(x, n, magic, clamp, NULL, ahead, max);
}

SL_INLINE void V(row_scale)(const R *e, ptrdiff_t n, R high, R low, R *y) {
    const vec h = V(set1)(high), l = V(set1)(low);
    ptrdiff_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        vec v = V(load)(e + i);
        V(store)(y + i, V(fma)(v, h, V(mul)(v, l)));
    }
    if (i < n) {
        vec v = V(load_tail)(e + i, n - i, 0);
        V(store_tail)(y + i, n - i, V(fma)(v, h, V(mul)(v, l)));
    }
}

/* (x - m) - log(sum / e(max)): both terms have one sign, so nothing cancels, where x - logsumexp would */
SL_INLINE void V(row_subtract)(const R *x, ptrdiff_t n, R max, R log, R *y) {
    const vec m = V(set1)(max), l = V(set1)(log);
    ptrdiff_t i = 0;
    for (; i + LANES <= n; i += LANES) V(store)(y + i, V(sub)(V(sub)(V(load)(x + i), m), l));
    if (i < n) V(store_tail)(y + i, n - i, V(sub)(V(sub)(V(load_tail)(x + i, n - i, 0), m), l));
}

static void V(row_fill)(R *y, ptrdiff_t n, R value) { for (ptrdiff_t i = 0; i < n; i++) y[i] = value; }

static void V(row_shift)(const R *x, ptrdiff_t n, R shift, R *y) { for (ptrdiff_t i = 0; i < n; i++) y[i] = x[i] - shift; }

/* What finished rows need for their output: softmax multiplies by the pair (a, b), log_softmax subtracts a, then b,
   logsumexp is a. rare: some row is bad (NaN throughout) or certain (one class takes all). */
typedef struct { R a[LANES], b[LANES]; unsigned char bad[LANES], certain[LANES]; int rare; } V(results);

/* Rows of which one class takes all: the product may be an ulp short of 1. */
static void V(make_certain)(R *y, ptrdiff_t n) { for (ptrdiff_t i = 0; i < n; i++) if (y[i] > (R)0.5) y[i] = 1; }

/* n classes from class k on of one row, which may run across memory, side by side. */
static const R *V(read_row)(const sl_job *job, ptrdiff_t row, ptrdiff_t k, ptrdiff_t n, R *scratch) {
    if (job->inner == 1) return V(read)(job, row * job->n + k, n, scratch);
    const ptrdiff_t at = V(column_at)(job, row) + k * job->inner;
    for (ptrdiff_t i = 0; i < n; i++) {
        R one;
        scratch[i] = *V(read)(job, at + i * job->inner, 1, &one);
    }
    return scratch;
}

static int V(row_has_nan)(const sl_job *job, ptrdiff_t row, R *block) {
    for (ptrdiff_t b = 0; b < job->n; b += SL_BLOCK) {
        const ptrdiff_t n = job->n - b < SL_BLOCK ? job->n - b : SL_BLOCK;
        const R *x = V(read_row)(job, row, b, n, block);
        for (ptrdiff_t i = 0; i < n; i++) if (x[i] != x[i]) return 1;
    }
    return 0;
}

/* z of a confident row, from the classes below its maximum; the row is read again, block by block */
static void V(row_others)(const sl_job *job, ptrdiff_t row, const V(plan) *plan, const V(pair) *e_max, int lane, V(odds) *z, R *block) {
    R max[LANES], shift[LANES], reduced[LANES], k[LANES], eh[LANES], el[LANES];
    V(store)(max, plan->max);
    V(store)(shift, plan->shift);
    V(store)(reduced, plan->reduced);
    V(store)(k, plan->k);
    V(store)(eh, e_max->high);
    V(store)(el, e_max->low);
    R second = -INFINITY;
    V(plan) p2;
    V(pair) total[LANES];
    for (int i = 0; i < LANES; i++) total[i] = (V(pair)){V(set1)(0), V(set1)(0)};
    for (int pass = 0; pass < 2; pass++) {
        for (ptrdiff_t b = 0; b < job->n; b += SL_BLOCK) {
            ptrdiff_t n = job->n - b < SL_BLOCK ? job->n - b : SL_BLOCK;
            const R *x = V(read_row)(job, row, b, n, block);
            for (ptrdiff_t i = 0; i < n; i++) block[i] = x[i] == max[lane] ? (R)-INFINITY : x[i] - shift[lane];
            if (pass == 0) {
                R m = V(row_max)(block, n);
                second = m > second ? m : second;
            } else {
                R magic[LANES], clamp[LANES];
                V(store)(magic, p2.magic);
                V(store)(clamp, p2.clamp);
                R unused;
                total[0] = V(two_sum)(total[0], V(row_sum)(block, n, magic[0], clamp[0], NULL, block, &unused));
            }
        }
        if (!(second > reduced[lane] - C(CLAMP))) { z->high[lane] = z->low[lane] = 0; return; } /* nothing else weighs */
        p2 = V(make_plan)(V(set1)(second), 0);
    }
    V(pair) s = V(add_lanes)(total);
    R sh[LANES], sl[LANES], k2[LANES];
    V(store)(sh, s.high);
    V(store)(sl, s.low);
    V(store)(k2, p2.k);
    V(odds_of_others)(z, lane, sh[0], sl[0], eh[lane], el[lane], (int)(k2[0] - k[lane]));
}

/* One row per lane: plan and sums to results. rows of them are real; the first is row number first. */
static void V(finish_rows)(const sl_job *job, ptrdiff_t first, int rows, const V(plan) *plan, V(pair) sum, R *block, V(results) *r) {
    V(verdict) v;
    V(judge)(job->op, plan, sum, &v);
    R few[LANES], poison[LANES], max[LANES];
    r->rare = v.any_few || v.any_bad;
    if (r->rare) {
        V(store)(few, v.few);
        V(store)(poison, v.poison);
        V(store)(max, plan->max);
    }
    if (job->op != SL_SOFTMAX) {
        if (v.any_few)
            for (int i = 0; i < rows; i++)
                if (few[i] < 0 && poison[i] == poison[i]) V(row_others)(job, first + i, plan, &v.e, i, &v.z, block);
        V(judge_log)(job->op, plan, &v);
    }
    V(store)(r->a, v.a);
    V(store)(r->b, v.b);
    if (!r->rare) return;
    for (int i = 0; i < rows; i++) {
        r->bad[i] = poison[i] != poison[i];
        r->certain[i] = few[i] < 0;
        if (r->bad[i] && job->op == SL_LOGSUMEXP) r->a[i] = V(row_has_nan)(job, first + i, block) ? (R)NAN : max[i]; /* -inf, +inf */
    }
}

/* The last step of (a block of) row i of those. source: e for softmax, x for log_softmax. */
SL_INLINE void V(write_row)(sl_op op, const R *source, ptrdiff_t n, const V(results) *r, int i, R *y) {
    if (op == SL_SOFTMAX) V(row_scale)(source, n, r->a[i], r->b[i], y);
    else V(row_subtract)(source, n, r->a[i], r->b[i], y);
    if (!r->rare) return;
    if (r->bad[i]) V(row_fill)(y, n, NAN);
    else if (op == SL_SOFTMAX && r->certain[i]) V(make_certain)(y, n);
}

/* SL_SHORT < n <= SL_BLOCK. As many rows go together as keep their e in the first-level cache. */
static void V(rows)(const sl_job *job, ptrdiff_t first, ptrdiff_t last, void *scratch) {
    const ptrdiff_t n = job->n;
    const ptrdiff_t stride = sl_row_stride(n, LANES);
    ptrdiff_t together = sl_rows_together(n, LANES);
    if (together > last - first) together = last - first;
    R *block = scratch, *converted = block + SL_BLOCK;
    const int native = V(native)(job);
    R max[LANES] = {0};
    for (ptrdiff_t row = first; row < last; row += together) {
        const int rows = (int)(last - row < together ? last - row : together);
        const R *x[LANES];
        R *y[LANES];
        R magic[LANES], clamp[LANES], shift[LANES];
        for (int i = 0; i < rows; i++) {
            x[i] = V(read)(job, (row + i) * n, n, converted + i * stride);
            y[i] = V(target)(job, (row + i) * n, converted + i * stride);
            if (row == first || !native) max[i] = V(row_max)(x[i], n); /* else known from the step before */
        }
        V(plan) plan = V(make_plan)(V(load)(max), 1);
        V(store)(magic, plan.magic);
        V(store)(clamp, plan.clamp);
        V(store)(shift, plan.shift);
        V(pair) sums[LANES];
        for (int i = 0; i < LANES; i++) {
            if (i >= rows) { sums[i] = (V(pair)){V(set1)(0), V(set1)(0)}; continue; }
            const R *source = x[i];
            R *e = job->op == SL_SOFTMAX ? y[i] : NULL;
            if (shift[i] != 0) { V(row_shift)(source, n, shift[i], block); source = block; }
            const R *ahead = native && row + together + i < last ? x[i] + together * n : source;
            sums[i] = V(row_sum)(source, n, magic[i], clamp[i], e, ahead, &max[i]);
        }
        V(results) results;
        V(finish_rows)(job, row, rows, &plan, V(add_lanes)(sums), block, &results);
        if (job->op == SL_LOGSUMEXP) {
            R *lse = V(target)(job, row, block);
            for (int i = 0; i < rows; i++) lse[i] = results.a[i];
            V(written)(job, row, rows, block);
            continue;
        }
        for (int i = 0; i < rows; i++) {
            V(write_row)(job->op, job->op == SL_SOFTMAX ? y[i] : x[i], n, &results, i, y[i]);
            if (!native) V(written)(job, (row + i) * n, n, y[i]);
        }
    }
}

/* ---- long rows: blocks of SL_BLOCK ---------------------------------------------------------------------------- */

typedef struct { V(results) results; R magic, clamp, shift; } V(long_stats);

SL_INLINE ptrdiff_t V(block)(const sl_job *job, ptrdiff_t b) { return job->n - b * SL_BLOCK < SL_BLOCK ? job->n - b * SL_BLOCK : SL_BLOCK; }

static void V(long_max)(const sl_job *job, ptrdiff_t row, ptrdiff_t first, ptrdiff_t last, const sl_long *shared, void *scratch) {
    for (ptrdiff_t b = first; b < last; b++) {
        ptrdiff_t n = V(block)(job, b);
        shared->max[b] = V(row_max)(V(read)(job, row * job->n + b * SL_BLOCK, n, scratch), n);
    }
}

static V(plan) V(long_plan)(const sl_job *job, const sl_long *shared) {
    R m = -INFINITY;
    for (ptrdiff_t b = 0; b < sl_block_count(job); b++) m = shared->max[b] > m ? (R)shared->max[b] : m;
    return V(make_plan)(V(set1)(m), 1);
}

/* The sums of the blocks; for softmax in R the e of the row into y, which finish and write take from there. */
static void V(long_sum)(const sl_job *job, ptrdiff_t row, ptrdiff_t first, ptrdiff_t last, const sl_long *shared, void *scratch) {
    V(plan) plan = V(long_plan)(job, shared);
    R magic[LANES], clamp[LANES], shift[LANES];
    V(store)(magic, plan.magic);
    V(store)(clamp, plan.clamp);
    V(store)(shift, plan.shift);
    for (ptrdiff_t b = first; b < last; b++) {
        const ptrdiff_t n = V(block)(job, b), at = row * job->n + b * SL_BLOCK;
        const R *x = V(read)(job, at, n, scratch);
        if (shift[0] != 0) { V(row_shift)(x, n, shift[0], scratch); x = scratch; }
        R *e = job->op == SL_SOFTMAX ? V(target)(job, at, scratch) : NULL;
        R unused;
        V(pair) s = V(row_sum)(x, n, magic[0], clamp[0], e, x, &unused);
        V(store)((R *)shared->high + b * LANES, s.high);
        V(store)((R *)shared->low + b * LANES, s.low);
    }
}

static void V(long_finish)(const sl_job *job, ptrdiff_t row, ptrdiff_t first, ptrdiff_t last, const sl_long *shared, void *scratch) {
    V(plan) plan = V(long_plan)(job, shared);
    V(pair) sums[LANES];
    for (int i = 0; i < LANES; i++) sums[i] = (V(pair)){V(set1)(0), V(set1)(0)};
    for (ptrdiff_t b = first; b < last; b++) {
        V(pair) s = {V(load)((R *)shared->high + b * LANES), V(load)((R *)shared->low + b * LANES)};
        sums[0] = V(two_sum)(sums[0], s);
    }
    V(pair) sum = V(add_lanes)(sums);
    R h[LANES], l[LANES], magic[LANES], clamp[LANES], shift[LANES];
    V(store)(h, sum.high);
    V(store)(l, sum.low);
    sum = (V(pair)){V(set1)(h[0]), V(set1)(l[0])};
    V(long_stats) *stats = shared->stats;
    V(finish_rows)(job, row, 1, &plan, sum, scratch, &stats->results);
    V(store)(magic, plan.magic);
    V(store)(clamp, plan.clamp);
    V(store)(shift, plan.shift);
    stats->magic = magic[0];
    stats->clamp = clamp[0];
    stats->shift = shift[0];
    if (job->op == SL_LOGSUMEXP) {
        R *y = V(target)(job, row, scratch);
        y[0] = stats->results.a[0];
        V(written)(job, row, 1, y);
    }
}

static void V(long_write)(const sl_job *job, ptrdiff_t row, ptrdiff_t first, ptrdiff_t last, const sl_long *shared, void *scratch) {
    const V(long_stats) *stats = shared->stats;
    const int native = V(native)(job);
    for (ptrdiff_t b = first; b < last; b++) {
        const ptrdiff_t n = V(block)(job, b), at = row * job->n + b * SL_BLOCK;
        R *y = V(target)(job, at, scratch);
        const R *source = y;
        if (job->op == SL_LOG_SOFTMAX || !native) source = V(read)(job, at, n, scratch);
        if (job->op == SL_SOFTMAX && !native) { /* there was nowhere to keep e */
            if (stats->shift != 0) V(row_shift)(source, n, stats->shift, scratch);
            R unused;
            V(row_sum)(scratch, n, stats->magic, stats->clamp, scratch, scratch, &unused);
        }
        V(write_row)(job->op, source, n, &stats->results, 0, y);
        V(written)(job, at, n, y);
    }
}

/* ---- columns: one row per lane -------------------------------------------------------------------------------- */

/* Columns go GROUP vectors at a time through each step: one alone would wait for its own results most of the time. */
#define GROUP 8

SL_INLINE vec V(column_max)(const R *tile, ptrdiff_t stride, ptrdiff_t n, vec m) {
    for (ptrdiff_t k = 0; k < n; k++) m = V(max)(V(load)(tile + k * stride), m);
    return m;
}

/* Adds the e of n classes to sum, and stores them over x if store is set. Classes equal to exclude do not count. */
SL_INLINE void V(column_step)(int u, R *tile, ptrdiff_t stride, const V(plan) *p, V(table) table, const vec *exclude, int store, V(pair) *sum) {
    vec v[UNROLL];
    for (int i = 0; i < u; i++) v[i] = V(load)(tile + i * stride);
    if (exclude) for (int i = 0; i < u; i++) v[i] = V(select_eq)(v[i], *exclude, V(set1)(-INFINITY), v[i]);
    V(add_exp)(u, v, &p->magic, &p->clamp, table, sum, v);
    if (store) for (int i = 0; i < u; i++) V(store)(tile + i * stride, v[i]);
}
SL_INLINE void V(column_sum)(R *tile, ptrdiff_t stride, ptrdiff_t n, const V(plan) *p, const vec *exclude, int store, V(pair) *sum) {
    const V(table) table = V(load_table)(V_TABLE);
    V(pair) s = *sum;
    ptrdiff_t k = 0;
    for (; k + UNROLL <= n; k += UNROLL) V(column_step)(UNROLL, tile + k * stride, stride, p, table, exclude, store, &s);
    for (; k + 2 <= n; k += 2) V(column_step)(2, tile + k * stride, stride, p, table, exclude, store, &s);
    if (k < n) V(column_step)(1, tile + k * stride, stride, p, table, exclude, store, &s);
    *sum = s;
}

static void V(column_shift)(R *tile, ptrdiff_t stride, ptrdiff_t n, vec shift) {
    for (ptrdiff_t k = 0; k < n; k++) V(store)(tile + k * stride, V(sub)(V(load)(tile + k * stride), shift));
}

/* The tile of a job's columns: class k of column j is at tile[k * width + j]. A tile of more than SL_BLOCK classes is
   not kept, but packed again, SL_BLOCK classes at a time, for each step. */
typedef struct { const sl_job *job; ptrdiff_t first, columns, width; R *tile, *raw; } V(source);

/* Planes far apart are streams too short and too many for the processor to foresee. More of them at once would evict
   each other where the plane's size is a power of two: their lines all fall into the same cache sets. */
#define PLANES_AHEAD 3

static void V(pack)(const V(source) *s, ptrdiff_t k0, ptrdiff_t k1) {
    const sl_job *job = s->job;
    if (job->inner >= LANES) { /* columns of one outer index: contiguous runs */
        const ptrdiff_t at = V(column_at)(job, s->first), full = s->columns - s->columns % LANES;
        for (ptrdiff_t k = k0; k < k1; k++) {
            R *to = s->tile + (k - k0) * s->width;
            const R *x = V(read)(job, at + k * job->inner, s->columns, to);
            if (x == to) { for (ptrdiff_t j = s->columns; j % LANES; j++) to[j] = 0; continue; }
            const R *soon = x + (k + PLANES_AHEAD < k1 ? PLANES_AHEAD * job->inner : 0);
            for (ptrdiff_t j = 0; j < full; j += LANES) {
                sl_prefetch(soon + j);
                V(store)(to + j, V(load)(x + j));
            }
            if (full < s->columns) V(store)(to + full, V(load_tail)(x + full, s->columns - full, 0));
        }
        return;
    }
    for (ptrdiff_t j = 0; j < LANES; j++) {
        const ptrdiff_t at = V(column_at)(job, s->first + (j < s->columns ? j : 0));
        for (ptrdiff_t k = k0; k < k1; k++) {
            R one;
            s->tile[(k - k0) * LANES + j] = *V(read)(job, at + k * job->inner, 1, &one);
        }
    }
}

static void V(unpack)(const V(source) *s, ptrdiff_t k0, ptrdiff_t k1) {
    const sl_job *job = s->job;
    if (job->inner >= LANES) {
        const ptrdiff_t at = V(column_at)(job, s->first), full = s->columns - s->columns % LANES;
        for (ptrdiff_t k = k0; k < k1; k++) {
            const R *from = s->tile + (k - k0) * s->width;
            const ptrdiff_t i = at + k * job->inner;
            if (!V(native)(job)) { V(written)(job, i, s->columns, from); continue; }
            R *y = (R *)job->y + i;
            const R *soon = y + (k + PLANES_AHEAD < k1 ? PLANES_AHEAD * job->inner : 0);
            for (ptrdiff_t j = 0; j < full; j += LANES) {
                sl_prefetch(soon + j);
                V(store)(y + j, V(load)(from + j));
            }
            if (full < s->columns) V(store_tail)(y + full, s->columns - full, V(load)(from + full));
        }
        return;
    }
    for (ptrdiff_t j = 0; j < s->columns; j++) {
        const ptrdiff_t at = V(column_at)(job, s->first + j);
        for (ptrdiff_t k = k0; k < k1; k++) {
            const R *from = s->tile + (k - k0) * LANES + j;
            if (V(native)(job)) ((R *)job->y)[at + k * job->inner] = *from;
            else V(written)(job, at + k * job->inner, 1, from);
        }
    }
}

/* ---- columns: the steps, over tiles that are whole (source NULL) or packed again part by part ---- */

#define FOR_EACH_PART                                                                                      \
    for (ptrdiff_t k0 = 0, part = source ? SL_BLOCK : n, rows = n < part ? n : part; k0 < n && V(fetch)(source, k0, rows); \
         k0 += part, rows = n - k0 < part ? n - k0 : part)

SL_INLINE int V(fetch)(const V(source) *source, ptrdiff_t k0, ptrdiff_t rows) {
    if (source) V(pack)(source, k0, k0 + rows);
    return 1;
}

/* The odds of the confident lanes of one vector of columns, from the classes below their maximum. */
static void V(column_others)(const V(source) *source, R *tile, ptrdiff_t stride, ptrdiff_t n, const V(plan) *plan, V(verdict) *v) {
    const vec lowest = V(set1)(-INFINITY);
    vec second = lowest;
    FOR_EACH_PART {
        if (source && plan->shifted) V(column_shift)(tile, stride, rows, plan->shift);
        for (ptrdiff_t k = 0; k < rows; k++) {
            vec x = V(load)(tile + k * stride);
            second = V(max)(V(select_eq)(x, plan->reduced, lowest, x), second);
        }
    }
    const V(plan) p2 = V(make_plan)(V(max)(second, plan->clamp), 0);
    V(pair) sum = V(sum_begin)();
    FOR_EACH_PART {
        if (source && plan->shifted) V(column_shift)(tile, stride, rows, plan->shift);
        V(column_sum)(tile, stride, rows, &p2, &plan->reduced, 0, &sum);
        sum = V(fast_two_sum)(sum);
    }
    sum = V(sum_end)(sum);
    R sh[LANES], sl[LANES], eh[LANES], el[LANES], k1[LANES], k2[LANES], highest[LANES], clamp[LANES], few[LANES], poison[LANES];
    V(store)(sh, sum.high);
    V(store)(sl, sum.low);
    V(store)(eh, v->e.high);
    V(store)(el, v->e.low);
    V(store)(k1, plan->k);
    V(store)(k2, p2.k);
    V(store)(highest, second);
    V(store)(clamp, plan->clamp);
    V(store)(few, v->few);
    V(store)(poison, v->poison);
    for (int i = 0; i < LANES; i++) {
        if (!(few[i] < 0) || poison[i] != poison[i]) continue;
        if (highest[i] > clamp[i]) V(odds_of_others)(&v->z, i, sh[i], sl[i], eh[i], el[i], (int)(k2[i] - k1[i]));
        else v->z.high[i] = v->z.low[i] = 0; /* nothing else weighs */
    }
}

/* logsumexp of the lanes with NaN or an infinite maximum */
static vec V(column_bad)(const V(source) *source, R *tile, ptrdiff_t stride, ptrdiff_t n, const V(plan) *plan, const V(verdict) *v) {
    R value[LANES], max[LANES], poison[LANES];
    V(store)(value, v->a);
    V(store)(max, plan->max);
    V(store)(poison, v->poison);
    for (int i = 0; i < LANES; i++) if (poison[i] != poison[i]) value[i] = max[i];
    FOR_EACH_PART {
        for (int i = 0; i < LANES; i++) for (ptrdiff_t k = 0; k < rows; k++) {
            const R x = tile[k * stride + i];
            if (poison[i] != poison[i] && x != x) value[i] = NAN;
        }
    }
    return V(load)(value);
}

/* The last step: x or e to results, in the tile. */
static void V(column_write)(R *tile, ptrdiff_t stride, ptrdiff_t n, sl_op op, const V(plan) *plan, const V(verdict) *v) {
    if (op == SL_SOFTMAX) {
        for (ptrdiff_t k = 0; k < n; k++) {
            vec e = V(load)(tile + k * stride);
            V(store)(tile + k * stride, V(fma)(e, v->a, V(mul)(e, v->b)));
        }
    } else {
        for (ptrdiff_t k = 0; k < n; k++) V(store)(tile + k * stride, V(sub)(V(sub)(V(load)(tile + k * stride), plan->reduced), v->b));
    }
    if (!v->any_bad && (op != SL_SOFTMAX || !v->any_few)) return;
    R few[LANES], poison[LANES];
    V(store)(few, v->few);
    V(store)(poison, v->poison);
    for (ptrdiff_t k = 0; k < n; k++) for (int i = 0; i < LANES; i++) {
        R *y = tile + k * stride + i;
        if (poison[i] != poison[i]) *y = NAN;
        else if (op == SL_SOFTMAX && few[i] < 0 && *y > (R)0.5) *y = 1;
    }
}

/* count <= GROUP vectors of columns, side by side in a tile that holds x and gets the result; logsumexp leaves it in
   class 0. With a source count is 1, and the result goes straight back to the job. */
static void V(columns)(const V(source) *source, R *tile, ptrdiff_t stride, ptrdiff_t n, int count, sl_op op) {
    V(plan) plan[GROUP];
    V(pair) sum[GROUP];
    V(verdict) v[GROUP];
    for (int j = 0; j < count; j++) {
        vec m = V(set1)(-INFINITY);
        FOR_EACH_PART m = V(column_max)(tile + j * LANES, stride, rows, m);
        plan[j].max = m;
    }
    for (int j = 0; j < count; j++) plan[j] = V(make_plan)(plan[j].max, 1);
    for (int j = 0; j < count; j++) {
        R *column = tile + j * LANES;
        sum[j] = V(sum_begin)();
        FOR_EACH_PART {
            if (plan[j].shifted) V(column_shift)(column, stride, rows, plan[j].shift);
            if (op == SL_SOFTMAX && !source) V(column_sum)(column, stride, rows, &plan[j], NULL, 1, &sum[j]);
            else V(column_sum)(column, stride, rows, &plan[j], NULL, 0, &sum[j]);
            sum[j] = V(fast_two_sum)(sum[j]);
        }
        sum[j] = V(sum_end)(sum[j]);
    }
    for (int j = 0; j < count; j++) V(judge)(op, &plan[j], sum[j], &v[j]);
    if (op != SL_SOFTMAX) {
        for (int j = 0; j < count; j++) if (v[j].any_few) V(column_others)(source, tile + j * LANES, stride, n, &plan[j], &v[j]);
        for (int j = 0; j < count; j++) V(judge_log)(op, &plan[j], &v[j]);
    }
    for (int j = 0; j < count; j++) {
        R *column = tile + j * LANES;
        if (op == SL_LOGSUMEXP) {
            V(store)(column, v[j].any_bad ? V(column_bad)(source, column, stride, n, &plan[j], &v[j]) : v[j].a);
            continue;
        }
        FOR_EACH_PART {
            if (source) {
                V(pair) unused = V(sum_begin)();
                if (plan[j].shifted) V(column_shift)(column, stride, rows, plan[j].shift);
                if (op == SL_SOFTMAX) V(column_sum)(column, stride, rows, &plan[j], NULL, 1, &unused);
            }
            V(column_write)(column, stride, rows, op, &plan[j], &v[j]);
            if (source) V(unpack)(source, k0, k0 + rows);
        }
    }
}
#undef FOR_EACH_PART

static void V(tiles)(const sl_job *job, ptrdiff_t first, ptrdiff_t last, void *scratch) {
    const ptrdiff_t width = sl_tile_width(job->n, job->inner, LANES), all = job->outer * job->inner;
    const ptrdiff_t per_outer = (job->inner + width - 1) / width;
    for (ptrdiff_t t = first; t < last; t++) {
        V(source) s = {job, t * width, 0, width, scratch, NULL};
        ptrdiff_t end = all;
        if (job->inner >= LANES) {
            s.first = t / per_outer * job->inner + t % per_outer * width;
            end = (t / per_outer + 1) * job->inner;
        }
        s.columns = end - s.first < width ? end - s.first : width;
        const int whole = job->n <= SL_BLOCK;
        if (whole) V(pack)(&s, 0, job->n);
        for (ptrdiff_t j = 0; j < s.columns; j += GROUP * LANES) {
            const ptrdiff_t left = (s.columns - j + LANES - 1) / LANES;
            V(columns)(whole ? NULL : &s, s.tile + j, width, job->n, left < GROUP ? (int)left : GROUP, job->op);
        }
        if (job->op != SL_LOGSUMEXP) {
            if (whole) V(unpack)(&s, 0, job->n);
            continue;
        }
        R *y = V(target)(job, s.first, s.tile);
        for (ptrdiff_t j = 0; j < s.columns; j++) y[j] = s.tile[j];
        V(written)(job, s.first, s.columns, y);
    }
}

/* n <= SL_SHORT, inner 1: GROUP times LANES rows at a time are transposed into a tile. width <= LANES classes from c on. */
SL_INLINE void V(load_part)(const R *x, ptrdiff_t n, ptrdiff_t rows, ptrdiff_t c, ptrdiff_t width, R *tile, ptrdiff_t stride) {
    vec v[LANES];
    if (rows == LANES && width == LANES) for (int i = 0; i < LANES; i++) v[i] = V(load)(x + i * n + c);
    else if (rows == LANES) for (int i = 0; i < LANES; i++) v[i] = V(load_tail)(x + i * n + c, width, 0);
    else for (int i = 0; i < LANES; i++) v[i] = V(load_tail)(x + (i < rows ? i : rows - 1) * n + c, width, 0); /* repeats the last row */
    V(transpose)(v);
    for (int i = 0; i < LANES && i < width; i++) V(store)(tile + (c + i) * stride, v[i]);
}
static void V(load_rows)(const R *x, ptrdiff_t n, ptrdiff_t rows, R *tile, ptrdiff_t stride) {
    if (rows == LANES && V(load_few)(x, (int)n, tile, stride)) return;
    for (ptrdiff_t c = 0; c < n; c += LANES) V(load_part)(x, n, rows, c, n - c < LANES ? n - c : LANES, tile, stride);
}
SL_INLINE void V(store_part)(const R *tile, ptrdiff_t stride, ptrdiff_t n, ptrdiff_t rows, ptrdiff_t c, ptrdiff_t width, R *y) {
    vec v[LANES];
    for (int i = 0; i < LANES; i++) v[i] = V(load)(tile + (c + (i < width ? i : 0)) * stride);
    V(transpose)(v);
    if (rows == LANES && width == LANES) for (int i = 0; i < LANES; i++) V(store)(y + i * n + c, v[i]);
    else for (int i = 0; i < rows; i++) V(store_tail)(y + i * n + c, width, v[i]);
}
static void V(store_rows)(const R *tile, ptrdiff_t stride, ptrdiff_t n, ptrdiff_t rows, R *y) {
    if (rows == LANES && V(store_few)(tile, stride, (int)n, y)) return;
    for (ptrdiff_t c = 0; c < n; c += LANES) V(store_part)(tile, stride, n, rows, c, n - c < LANES ? n - c : LANES, y);
}
static void V(short_rows)(const sl_job *job, ptrdiff_t first, ptrdiff_t last, void *scratch) {
    const ptrdiff_t n = job->n;
    R *tile = scratch, *raw = tile + GROUP * LANES * n;
    for (ptrdiff_t row = first; row < last; row += GROUP * LANES) {
        const ptrdiff_t rows = last - row < GROUP * LANES ? last - row : GROUP * LANES;
        const int count = (int)((rows + LANES - 1) / LANES);
        const R *x = V(read)(job, row * n, rows * n, raw);
        for (int j = 0; j < count; j++) V(load_rows)(x + j * LANES * n, n, rows - j * LANES < LANES ? rows - j * LANES : LANES, tile + j * LANES, GROUP * LANES);
        V(columns)(NULL, tile, GROUP * LANES, n, count, job->op);
        if (job->op == SL_LOGSUMEXP) {
            R *y = V(target)(job, row, tile);
            for (ptrdiff_t i = 0; i < rows; i++) y[i] = tile[i];
            V(written)(job, row, rows, y);
            continue;
        }
        R *y = V(native)(job) ? (R *)job->y + row * n : raw;
        for (int j = 0; j < count; j++) V(store_rows)(tile + j * LANES, GROUP * LANES, n, rows - j * LANES < LANES ? rows - j * LANES : LANES, y + j * LANES * n);
        V(written)(job, row * n, rows * n, raw);
    }
}

/* ---- narrow columns: fewer columns than lanes, more than SL_SHORT classes. Turned into rows, LANES classes at a time */

/* From the last classes to the first: a vector that reaches past the end of its row is overwritten by the next row's. */
static void V(turn)(const sl_job *job, ptrdiff_t at, ptrdiff_t n, R *rows, ptrdiff_t stride) {
    R raw[LANES * LANES];
    for (ptrdiff_t k = (n - 1) / LANES * LANES; k >= 0; k -= LANES) {
        const ptrdiff_t count = n - k < LANES ? n - k : LANES;
        V(load_rows)(V(read)(job, at + k * job->inner, count * job->inner, raw), job->inner, count, rows + k, stride);
    }
}
static void V(turn_back)(const sl_job *job, const R *rows, ptrdiff_t stride, ptrdiff_t at, ptrdiff_t n) {
    R raw[LANES * LANES];
    for (ptrdiff_t k = 0; k < n; k += LANES) {
        const ptrdiff_t count = n - k < LANES ? n - k : LANES;
        V(store_rows)(rows + k, stride, job->inner, count, V(target)(job, at + k * job->inner, raw));
        V(written)(job, at + k * job->inner, count * job->inner, raw);
    }
}

/* Some outer indices, together no more rows than LANES */
static void V(narrow_whole)(const sl_job *job, ptrdiff_t first, ptrdiff_t last, void *scratch) {
    const ptrdiff_t n = job->n, size = n * job->inner, count = (last - first) * job->inner;
    R *rows = scratch, *result = rows + LANES * n + LANES, *work = result + LANES;
    for (ptrdiff_t outer = first; outer < last; outer++) V(turn)(job, outer * size, n, rows + (outer - first) * size, n);
    sl_job turned = *job;
    turned.storage = SL_REAL == 32 ? SL_FLOAT32 : SL_FLOAT64;
    turned.x = rows;
    turned.y = job->op == SL_LOGSUMEXP ? result : rows;
    turned.outer = count;
    turned.inner = 1;
    V(rows)(&turned, 0, count, work);
    if (job->op == SL_LOGSUMEXP) {
        R *y = V(target)(job, first * job->inner, result);
        for (ptrdiff_t i = 0; i < count; i++) y[i] = result[i];
        V(written)(job, first * job->inner, count, result);
        return;
    }
    for (ptrdiff_t outer = first; outer < last; outer++) V(turn_back)(job, rows + (outer - first) * size, n, outer * size, n);
}

/* The same block by block, as there is room for one block only. */
static void V(narrow_long)(const sl_job *job, ptrdiff_t outer, void *scratch) {
    const int columns = (int)job->inner;
    R *rows = scratch, *block = rows + LANES * SL_BLOCK + LANES;
    R max[LANES] = {0}, magic[LANES], clamp[LANES], shift[LANES], unused;
    V(pair) sums[LANES];
    for (int i = 0; i < LANES; i++) sums[i] = (V(pair)){V(set1)(0), V(set1)(0)};
    V(plan) plan;
    V(results) results;
    for (int step = 0; step < 3; step++) {
        for (ptrdiff_t k = 0; k < job->n; k += SL_BLOCK) {
            const ptrdiff_t n = job->n - k < SL_BLOCK ? job->n - k : SL_BLOCK, at = (outer * job->n + k) * job->inner;
            V(turn)(job, at, n, rows, SL_BLOCK);
            for (int i = 0; i < columns; i++) {
                R *row = rows + i * SL_BLOCK;
                if (step == 0) {
                    const R m = V(row_max)(row, n);
                    max[i] = k == 0 || m > max[i] ? m : max[i];
                    continue;
                }
                if (shift[i] != 0 && (step == 1 || job->op == SL_SOFTMAX)) V(row_shift)(row, n, shift[i], row);
                if (step == 1) sums[i] = V(two_sum)(sums[i], V(row_sum)(row, n, magic[i], clamp[i], NULL, row, &unused));
                else {
                    if (job->op == SL_SOFTMAX) V(row_sum)(row, n, magic[i], clamp[i], row, row, &unused);
                    V(write_row)(job->op, row, n, &results, i, row);
                }
            }
            if (step == 2) V(turn_back)(job, rows, SL_BLOCK, at, n);
        }
        if (step == 0) {
            plan = V(make_plan)(V(load)(max), 1);
            V(store)(magic, plan.magic);
            V(store)(clamp, plan.clamp);
            V(store)(shift, plan.shift);
        } else if (step == 1) {
            V(finish_rows)(job, outer * job->inner, columns, &plan, V(add_lanes)(sums), block, &results);
            if (job->op != SL_LOGSUMEXP) continue;
            R *y = V(target)(job, outer * job->inner, block);
            for (int i = 0; i < columns; i++) y[i] = results.a[i];
            V(written)(job, outer * job->inner, columns, block);
            return;
        }
    }
}

static void V(narrow_columns)(const sl_job *job, ptrdiff_t first, ptrdiff_t last, void *scratch) {
    const ptrdiff_t together = job->n <= SL_BLOCK ? LANES / job->inner : 1;
    for (ptrdiff_t outer = first; outer < last; outer += together) {
        if (job->n <= SL_BLOCK) V(narrow_whole)(job, outer, outer + together < last ? outer + together : last, scratch);
        else V(narrow_long)(job, outer, scratch);
    }
}

#undef GROUP
#undef PLANES_AHEAD
#undef R
#undef V
#undef C
#undef LANES
#undef vec
