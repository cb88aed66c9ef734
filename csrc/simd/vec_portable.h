/* vec_portable.h: instruct. The virtual vector in plain C: the readable definition of every operation.

   A vector is 16 float32 (f32_v) or 8 float64 (f64_v) on every instruction set, so lanes, order and bits agree
   everywhere. The other vec_*.h files hold the same operations, in the same order, under the same names.
   This file knows nothing of softmax. */
#include <math.h>
#include <string.h>

#include "simd/float16.h"

/* What the other headers need inlined, as an operation is one instruction there, is here more than a compiler should repeat. */
#undef SL_INLINE
#define SL_INLINE static inline

#define UNROLL 2              /* vectors that go through exp together: what the registers hold */
#define HARDWARE_PREFETCHED 1 /* as in vec_avx512.h */

typedef struct {
    float lane[16];
} f32_v;
typedef struct {
    double lane[8];
} f64_v;

#define SL_EACH(n) for (int i = 0; i < (n); i++)

/* ---- 16 float32 ---- */

static inline f32_v f32_load(const float *p) {
    f32_v r;
    SL_EACH (16) r.lane[i] = p[i];
    return r;
}
static inline void f32_store(float *p, f32_v a) {
    SL_EACH (16) p[i] = a.lane[i];
}
static inline f32_v f32_load_tail(const float *p, ptrdiff_t k, float fill) {
    f32_v r;
    SL_EACH (16) r.lane[i] = i < k ? p[i] : fill;
    return r;
}
static inline void f32_store_tail(float *p, ptrdiff_t k, f32_v a) {
    SL_EACH (16)
        if (i < k) p[i] = a.lane[i];
}
/* set1 of a constant that many vectors use: a path with few registers may want to load it once for them */
#define f32_constant f32_set1
#define f64_constant f64_set1
static inline f32_v f32_set1(float s) {
    f32_v r;
    SL_EACH (16) r.lane[i] = s;
    return r;
}
static inline f32_v f32_add(f32_v a, f32_v b) {
    SL_EACH (16) a.lane[i] += b.lane[i];
    return a;
}
static inline f32_v f32_sub(f32_v a, f32_v b) {
    SL_EACH (16) a.lane[i] -= b.lane[i];
    return a;
}
static inline f32_v f32_mul(f32_v a, f32_v b) {
    SL_EACH (16) a.lane[i] *= b.lane[i];
    return a;
}
static inline f32_v f32_div(f32_v a, f32_v b) {
    SL_EACH (16) a.lane[i] /= b.lane[i];
    return a;
}
/* a > b ? a : b, so b where either is NaN */
static inline f32_v f32_max(f32_v a, f32_v b) {
    SL_EACH (16) { a.lane[i] = a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; }
    return a;
}
/* a == b ? x : y */
static inline f32_v f32_select_eq(f32_v a, f32_v b, f32_v x, f32_v y) {
    SL_EACH (16) { a.lane[i] = a.lane[i] == b.lane[i] ? x.lane[i] : y.lane[i]; }
    return a;
}
static inline f32_v f32_select_lt(f32_v a, f32_v b, f32_v x, f32_v y) {
    SL_EACH (16) { a.lane[i] = a.lane[i] < b.lane[i] ? x.lane[i] : y.lane[i]; }
    return a;
}
static inline unsigned f32_lanes_lt(f32_v a, f32_v b) {
    unsigned r = 0;
    SL_EACH (16) r |= (unsigned)(a.lane[i] < b.lane[i]) << i;
    return r;
}
static inline int f32_any_lt(f32_v a, f32_v b) {
    int r = 0;
    SL_EACH (16) r |= a.lane[i] < b.lane[i];
    return r;
}
static inline int f32_any_nan(f32_v a) {
    int r = 0;
    SL_EACH (16) r |= a.lane[i] != a.lane[i];
    return r;
}
static inline float f32_reduce_max(f32_v a) {
    float m = a.lane[0];
    SL_EACH (16) m = a.lane[i] > m ? a.lane[i] : m;
    return m;
}
/* Groups of w lanes of a, then b: those in even places to even, those in odd places to odd. */
static inline void f32_unzip(const int w, f32_v a, f32_v b, f32_v *even, f32_v *odd) {
    SL_EACH (8) {
        const int from = i / w * 2 * w + i % w;
        even->lane[i] = a.lane[from];
        even->lane[16 / 2 + i] = b.lane[from];
        odd->lane[i] = a.lane[from + w];
        odd->lane[16 / 2 + i] = b.lane[from + w];
    }
}
static inline void f32_transpose(f32_v v[16]) {
    for (int r = 1; r < 16; r++)
        for (int c = 0; c < r; c++) {
            float t = v[r].lane[c];
            v[r].lane[c] = v[c].lane[r];
            v[c].lane[r] = t;
        }
}

/* ---- 8 float64 ---- */

static inline f64_v f64_load(const double *p) {
    f64_v r;
    SL_EACH (8) r.lane[i] = p[i];
    return r;
}
static inline void f64_store(double *p, f64_v a) {
    SL_EACH (8) p[i] = a.lane[i];
}
static inline f64_v f64_load_tail(const double *p, ptrdiff_t k, double fill) {
    f64_v r;
    SL_EACH (8) r.lane[i] = i < k ? p[i] : fill;
    return r;
}
static inline void f64_store_tail(double *p, ptrdiff_t k, f64_v a) {
    SL_EACH (8)
        if (i < k) p[i] = a.lane[i];
}
static inline f64_v f64_set1(double s) {
    f64_v r;
    SL_EACH (8) r.lane[i] = s;
    return r;
}
static inline f64_v f64_add(f64_v a, f64_v b) {
    SL_EACH (8) a.lane[i] += b.lane[i];
    return a;
}
static inline f64_v f64_sub(f64_v a, f64_v b) {
    SL_EACH (8) a.lane[i] -= b.lane[i];
    return a;
}
static inline f64_v f64_mul(f64_v a, f64_v b) {
    SL_EACH (8) a.lane[i] *= b.lane[i];
    return a;
}
static inline f64_v f64_div(f64_v a, f64_v b) {
    SL_EACH (8) a.lane[i] /= b.lane[i];
    return a;
}
/* a > b ? a : b, so b where either is NaN */
static inline f64_v f64_max(f64_v a, f64_v b) {
    SL_EACH (8) { a.lane[i] = a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; }
    return a;
}
/* a == b ? x : y */
static inline f64_v f64_select_eq(f64_v a, f64_v b, f64_v x, f64_v y) {
    SL_EACH (8) { a.lane[i] = a.lane[i] == b.lane[i] ? x.lane[i] : y.lane[i]; }
    return a;
}
static inline f64_v f64_select_lt(f64_v a, f64_v b, f64_v x, f64_v y) {
    SL_EACH (8) { a.lane[i] = a.lane[i] < b.lane[i] ? x.lane[i] : y.lane[i]; }
    return a;
}
static inline unsigned f64_lanes_lt(f64_v a, f64_v b) {
    unsigned r = 0;
    SL_EACH (8) r |= (unsigned)(a.lane[i] < b.lane[i]) << i;
    return r;
}
static inline int f64_any_lt(f64_v a, f64_v b) {
    int r = 0;
    SL_EACH (8) r |= a.lane[i] < b.lane[i];
    return r;
}
static inline int f64_any_nan(f64_v a) {
    int r = 0;
    SL_EACH (8) r |= a.lane[i] != a.lane[i];
    return r;
}
static inline double f64_reduce_max(f64_v a) {
    double m = a.lane[0];
    SL_EACH (8) m = a.lane[i] > m ? a.lane[i] : m;
    return m;
}
/* Groups of w lanes of a, then b: those in even places to even, those in odd places to odd. */
static inline void f64_unzip(const int w, f64_v a, f64_v b, f64_v *even, f64_v *odd) {
    SL_EACH (4) {
        const int from = i / w * 2 * w + i % w;
        even->lane[i] = a.lane[from];
        even->lane[8 / 2 + i] = b.lane[from];
        odd->lane[i] = a.lane[from + w];
        odd->lane[8 / 2 + i] = b.lane[from + w];
    }
}
static inline void f64_transpose(f64_v v[8]) {
    for (int r = 1; r < 8; r++)
        for (int c = 0; c < r; c++) {
            double t = v[r].lane[c];
            v[r].lane[c] = v[c].lane[r];
            v[c].lane[r] = t;
        }
}

/* a * b + c, rounded once */
static inline f32_v f32_fma(f32_v a, f32_v b, f32_v c) {
    SL_EACH (16) a.lane[i] = fmaf(a.lane[i], b.lane[i], c.lane[i]);
    return a;
}
static inline f64_v f64_fma(f64_v a, f64_v b, f64_v c) {
    SL_EACH (8) a.lane[i] = fma(a.lane[i], b.lane[i], c.lane[i]);
    return a;
}

/* pow2: the float with bits table[t & 7] + (t << 20) (float64: table[t & 3] + (t << 50)), t read as an integer */
typedef struct {
    uint32_t entry[8];
} f32_table;
typedef struct {
    uint64_t entry[4];
} f64_table;
static inline f32_table f32_load_table(const uint32_t *p) {
    f32_table t;
    memcpy(&t, p, sizeof t);
    return t;
}
static inline f64_table f64_load_table(const uint64_t *p) {
    f64_table t;
    memcpy(&t, p, sizeof t);
    return t;
}
static inline f32_v f32_pow2(f32_table table, f32_v t) {
    uint32_t b[16];
    memcpy(b, &t, sizeof b);
    SL_EACH (16) b[i] = table.entry[b[i] & 7] + (b[i] << 20);
    memcpy(&t, b, sizeof b);
    return t;
}
static inline f64_v f64_pow2(f64_table table, f64_v t) {
    uint64_t b[8];
    memcpy(b, &t, sizeof b);
    SL_EACH (8) b[i] = table.entry[b[i] & 3] + (b[i] << 50);
    memcpy(&t, b, sizeof b);
    return t;
}

/* w >= 1 as m * 2^e with m in [sqrt(1/2), sqrt(2)); returns m, and e as a float64 */
static inline f64_v f64_split(f64_v w, f64_v *e) {
    uint64_t b[8];
    memcpy(b, &w, sizeof b);
    SL_EACH (8) {
        uint64_t k = (b[i] - 0x3FE6A09E667F3BCDu) >> 52;
        b[i] -= k << 52;
        e->lane[i] = (double)k;
    }
    memcpy(&w, b, sizeof b);
    return w;
}

/* float16 (float16.h) */
static inline f32_v f32_from_float16(const uint16_t *p) {
    f32_v r;
    SL_EACH (16) r.lane[i] = sl_from_float16(p[i]);
    return r;
}
static inline void f32_to_float16(uint16_t *p, f32_v a) {
    SL_EACH (16) p[i] = sl_to_float16(a.lane[i]);
}

/* bfloat16, and integers, exactly */
static inline f32_v f32_from_bfloat16(const uint16_t *p) {
    f32_v r;
    SL_EACH (16) r.lane[i] = sl_from_bfloat16(p[i]);
    return r;
}
static inline void f32_to_bfloat16(uint16_t *p, f32_v a) {
    SL_EACH (16) p[i] = sl_to_bfloat16(a.lane[i]);
}
static inline f32_v f32_from_int8(const int8_t *p) {
    f32_v r;
    SL_EACH (16) r.lane[i] = p[i];
    return r;
}
static inline f32_v f32_from_uint8(const uint8_t *p) {
    f32_v r;
    SL_EACH (16) r.lane[i] = p[i];
    return r;
}
static inline f32_v f32_from_int16(const int16_t *p) {
    f32_v r;
    SL_EACH (16) r.lane[i] = p[i];
    return r;
}
static inline f32_v f32_from_uint16(const uint16_t *p) {
    f32_v r;
    SL_EACH (16) r.lane[i] = p[i];
    return r;
}
/* x where the mask is not 0, -inf elsewhere */
static inline f32_v f32_hide(const unsigned char *mask, f32_v x) {
    SL_EACH (16) x.lane[i] = mask[i] ? x.lane[i] : -INFINITY;
    return x;
}
static inline f64_v f64_hide(const unsigned char *mask, f64_v x) {
    SL_EACH (8) x.lane[i] = mask[i] ? x.lane[i] : -(double)INFINITY;
    return x;
}

/* between 16 float32 and two vectors of 8 float64 */
static inline void f32_widen(f32_v a, f64_v *low, f64_v *high) {
    SL_EACH (8) {
        low->lane[i] = a.lane[i];
        high->lane[i] = a.lane[i + 8];
    }
}
static inline f32_v f32_narrow(f64_v low, f64_v high) {
    f32_v r;
    SL_EACH (8) {
        r.lane[i] = (float)low.lane[i];
        r.lane[i + 8] = (float)high.lane[i];
    }
    return r;
}

#include "simd/few_classes.h"

static inline void sl_prefetch(const void *p) { (void)p; }
