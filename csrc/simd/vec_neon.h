/* vec_neon.h: instruct. The virtual vector as four q registers (AArch64 Advanced SIMD).
   Same operations, order and names as vec_portable.h, which says what each one means. */
#include <arm_neon.h>
#include <string.h>

#include "simd/float16.h"

#define UNROLL 2              /* vectors that go through exp together: what the registers hold */
#define HARDWARE_PREFETCHED 1 /* as in vec_avx512.h; not measured on a processor */

typedef struct {
    float32x4_t q[4];
} f32_v;
typedef struct {
    float64x2_t q[4];
} f64_v;

#define SL_EACH for (int i = 0; i < 4; i++)
static inline f32_v f32_load(const float *p) {
    f32_v r;
    SL_EACH
        r.q[i] = vld1q_f32(p + 4 * i);
    return r;
}
static inline f64_v f64_load(const double *p) {
    f64_v r;
    SL_EACH
        r.q[i] = vld1q_f64(p + 2 * i);
    return r;
}
static inline void f32_store(float *p, f32_v a) {
    SL_EACH
        vst1q_f32(p + 4 * i, a.q[i]);
}
static inline void f64_store(double *p, f64_v a) {
    SL_EACH
        vst1q_f64(p + 2 * i, a.q[i]);
}
static inline f32_v f32_load_tail(const float *p, ptrdiff_t k, float fill) {
    float b[16];
    for (int i = 0; i < 16; i++) b[i] = i < k ? p[i] : fill;
    return f32_load(b);
}
static inline f64_v f64_load_tail(const double *p, ptrdiff_t k, double fill) {
    double b[8];
    for (int i = 0; i < 8; i++) b[i] = i < k ? p[i] : fill;
    return f64_load(b);
}
static inline void f32_store_tail(float *p, ptrdiff_t k, f32_v a) {
    float b[16];
    f32_store(b, a);
    memcpy(p, b, (size_t)k * sizeof *p);
}
static inline void f64_store_tail(double *p, ptrdiff_t k, f64_v a) {
    double b[8];
    f64_store(b, a);
    memcpy(p, b, (size_t)k * sizeof *p);
}
/* set1 of a constant that many vectors use: see vec_avx2.h */
#define f32_constant f32_set1
#define f64_constant f64_set1
static inline f32_v f32_set1(float s) {
    f32_v r;
    SL_EACH
        r.q[i] = vdupq_n_f32(s);
    return r;
}
static inline f64_v f64_set1(double s) {
    f64_v r;
    SL_EACH
        r.q[i] = vdupq_n_f64(s);
    return r;
}
static inline f32_v f32_add(f32_v a, f32_v b) {
    SL_EACH
        a.q[i] = vaddq_f32(a.q[i], b.q[i]);
    return a;
}
static inline f64_v f64_add(f64_v a, f64_v b) {
    SL_EACH
        a.q[i] = vaddq_f64(a.q[i], b.q[i]);
    return a;
}
static inline f32_v f32_sub(f32_v a, f32_v b) {
    SL_EACH
        a.q[i] = vsubq_f32(a.q[i], b.q[i]);
    return a;
}
static inline f64_v f64_sub(f64_v a, f64_v b) {
    SL_EACH
        a.q[i] = vsubq_f64(a.q[i], b.q[i]);
    return a;
}
static inline f32_v f32_mul(f32_v a, f32_v b) {
    SL_EACH
        a.q[i] = vmulq_f32(a.q[i], b.q[i]);
    return a;
}
static inline f64_v f64_mul(f64_v a, f64_v b) {
    SL_EACH
        a.q[i] = vmulq_f64(a.q[i], b.q[i]);
    return a;
}
static inline f32_v f32_div(f32_v a, f32_v b) {
    SL_EACH
        a.q[i] = vdivq_f32(a.q[i], b.q[i]);
    return a;
}
static inline f64_v f64_div(f64_v a, f64_v b) {
    SL_EACH
        a.q[i] = vdivq_f64(a.q[i], b.q[i]);
    return a;
}
/* not vmaxq: that one returns NaN where either is NaN, and orders the zeros */
static inline f32_v f32_max(f32_v a, f32_v b) {
    SL_EACH
        a.q[i] = vbslq_f32(vcgtq_f32(a.q[i], b.q[i]), a.q[i], b.q[i]);
    return a;
}
static inline f64_v f64_max(f64_v a, f64_v b) {
    SL_EACH
        a.q[i] = vbslq_f64(vcgtq_f64(a.q[i], b.q[i]), a.q[i], b.q[i]);
    return a;
}
static inline f32_v f32_select_eq(f32_v a, f32_v b, f32_v x, f32_v y) {
    SL_EACH
        a.q[i] = vbslq_f32(vceqq_f32(a.q[i], b.q[i]), x.q[i], y.q[i]);
    return a;
}
static inline f64_v f64_select_eq(f64_v a, f64_v b, f64_v x, f64_v y) {
    SL_EACH
        a.q[i] = vbslq_f64(vceqq_f64(a.q[i], b.q[i]), x.q[i], y.q[i]);
    return a;
}
static inline f32_v f32_select_lt(f32_v a, f32_v b, f32_v x, f32_v y) {
    SL_EACH
        a.q[i] = vbslq_f32(vcltq_f32(a.q[i], b.q[i]), x.q[i], y.q[i]);
    return a;
}
static inline f64_v f64_select_lt(f64_v a, f64_v b, f64_v x, f64_v y) {
    SL_EACH
        a.q[i] = vbslq_f64(vcltq_f64(a.q[i], b.q[i]), x.q[i], y.q[i]);
    return a;
}
static inline unsigned f32_lanes_lt(f32_v a, f32_v b) {
    static const uint32_t bit[4] = {1, 2, 4, 8};
    unsigned bits = 0;
    SL_EACH
        bits |= vaddvq_u32(vandq_u32(vcltq_f32(a.q[i], b.q[i]), vld1q_u32(bit))) << 4 * i;
    return bits;
}
static inline unsigned f64_lanes_lt(f64_v a, f64_v b) {
    static const uint64_t bit[2] = {1, 2};
    unsigned bits = 0;
    SL_EACH
        bits |= (unsigned)vaddvq_u64(vandq_u64(vcltq_f64(a.q[i], b.q[i]), vld1q_u64(bit))) << 2 * i;
    return bits;
}
static inline int f32_any_lt(f32_v a, f32_v b) {
    uint32_t r = 0;
    SL_EACH
        r |= vmaxvq_u32(vcltq_f32(a.q[i], b.q[i]));
    return r != 0;
}
static inline int f64_any_lt(f64_v a, f64_v b) {
    uint32_t r = 0;
    SL_EACH
        r |= vmaxvq_u32(vreinterpretq_u32_u64(vcltq_f64(a.q[i], b.q[i])));
    return r != 0;
}
static inline int f32_any_nan(f32_v a) {
    uint32_t r = ~0u;
    SL_EACH
        r &= vminvq_u32(vceqq_f32(a.q[i], a.q[i]));
    return r == 0;
}
static inline int f64_any_nan(f64_v a) {
    uint32_t r = ~0u;
    SL_EACH
        r &= vminvq_u32(vreinterpretq_u32_u64(vceqq_f64(a.q[i], a.q[i])));
    return r == 0;
}
static inline float f32_reduce_max(f32_v a) { return vmaxnmvq_f32(vmaxnmq_f32(vmaxnmq_f32(a.q[0], a.q[1]), vmaxnmq_f32(a.q[2], a.q[3]))); }
static inline double f64_reduce_max(f64_v a) { return vmaxnmvq_f64(vmaxnmq_f64(vmaxnmq_f64(a.q[0], a.q[1]), vmaxnmq_f64(a.q[2], a.q[3]))); }

SL_INLINE void f32_unzip(const int w, f32_v a, f32_v b, f32_v *even, f32_v *odd) {
    const f32_v v[2] = {a, b};
    for (int i = 0; i < 4; i++) { /* q register i of the results */
        if (w >= 4) {
            const int n = w / 4, from = i % 2 / n * 2 * n + i % 2 % n;
            even->q[i] = v[i / 2].q[from];
            odd->q[i] = v[i / 2].q[from + n];
            continue;
        }
        const float32x4_t p = v[i / 2].q[i % 2 * 2], q = v[i / 2].q[i % 2 * 2 + 1];
        if (w == 2) {
            const float64x2_t x = vreinterpretq_f64_f32(p), y = vreinterpretq_f64_f32(q);
            even->q[i] = vreinterpretq_f32_f64(vuzp1q_f64(x, y));
            odd->q[i] = vreinterpretq_f32_f64(vuzp2q_f64(x, y));
        } else {
            even->q[i] = vuzp1q_f32(p, q);
            odd->q[i] = vuzp2q_f32(p, q);
        }
    }
}
SL_INLINE void f64_unzip(const int w, f64_v a, f64_v b, f64_v *even, f64_v *odd) {
    const f64_v v[2] = {a, b};
    for (int i = 0; i < 4; i++) {
        if (w >= 2) {
            const int n = w / 2, from = i % 2 / n * 2 * n + i % 2 % n;
            even->q[i] = v[i / 2].q[from];
            odd->q[i] = v[i / 2].q[from + n];
        } else {
            const float64x2_t p = v[i / 2].q[i % 2 * 2], q = v[i / 2].q[i % 2 * 2 + 1];
            even->q[i] = vuzp1q_f64(p, q);
            odd->q[i] = vuzp2q_f64(p, q);
        }
    }
}
static inline void sl_transpose4(float32x4_t *a, float32x4_t *b, float32x4_t *c, float32x4_t *d) {
    float64x2_t ab0 = vreinterpretq_f64_f32(vtrn1q_f32(*a, *b)), ab1 = vreinterpretq_f64_f32(vtrn2q_f32(*a, *b));
    float64x2_t cd0 = vreinterpretq_f64_f32(vtrn1q_f32(*c, *d)), cd1 = vreinterpretq_f64_f32(vtrn2q_f32(*c, *d));
    *a = vreinterpretq_f32_f64(vtrn1q_f64(ab0, cd0));
    *b = vreinterpretq_f32_f64(vtrn1q_f64(ab1, cd1));
    *c = vreinterpretq_f32_f64(vtrn2q_f64(ab0, cd0));
    *d = vreinterpretq_f32_f64(vtrn2q_f64(ab1, cd1));
}
static inline void f32_transpose(f32_v v[16]) {
    for (int r = 0; r < 16; r += 4)
        SL_EACH
            sl_transpose4(&v[r].q[i], &v[r + 1].q[i], &v[r + 2].q[i], &v[r + 3].q[i]);
    for (int r = 1; r < 4; r++) /* then the 4x4 arrangement of those blocks */
        for (int c = 0; c < r; c++)
            SL_EACH {
                float32x4_t t = v[4 * r + i].q[c];
                v[4 * r + i].q[c] = v[4 * c + i].q[r];
                v[4 * c + i].q[r] = t;
            }
}
static inline void f64_transpose(f64_v v[8]) {
    for (int r = 0; r < 8; r += 2)
        SL_EACH {
            float64x2_t a = vtrn1q_f64(v[r].q[i], v[r + 1].q[i]), b = vtrn2q_f64(v[r].q[i], v[r + 1].q[i]);
            v[r].q[i] = a;
            v[r + 1].q[i] = b;
        }
    for (int r = 1; r < 4; r++)
        for (int c = 0; c < r; c++)
            for (int i = 0; i < 2; i++) {
                float64x2_t t = v[2 * r + i].q[c];
                v[2 * r + i].q[c] = v[2 * c + i].q[r];
                v[2 * c + i].q[r] = t;
            }
}

static inline f32_v f32_fma(f32_v a, f32_v b, f32_v c) {
    SL_EACH
        a.q[i] = vfmaq_f32(c.q[i], a.q[i], b.q[i]);
    return a;
}
static inline f64_v f64_fma(f64_v a, f64_v b, f64_v c) {
    SL_EACH
        a.q[i] = vfmaq_f64(c.q[i], a.q[i], b.q[i]);
    return a;
}

typedef uint8x16x2_t f32_table; /* 32 bytes: tbl picks bytes, so an entry is four or eight consecutive ones */
typedef uint8x16x2_t f64_table;
static inline f32_table f32_load_table(const uint32_t *p) {
    f32_table t;
    t.val[0] = vreinterpretq_u8_u32(vld1q_u32(p));
    t.val[1] = vreinterpretq_u8_u32(vld1q_u32(p + 4));
    return t;
}
static inline f64_table f64_load_table(const uint64_t *p) {
    f64_table t;
    t.val[0] = vreinterpretq_u8_u64(vld1q_u64(p));
    t.val[1] = vreinterpretq_u8_u64(vld1q_u64(p + 2));
    return t;
}
static inline f32_v f32_pow2(f32_table table, f32_v t) {
    SL_EACH {
        uint32x4_t k = vreinterpretq_u32_f32(t.q[i]);
        uint32x4_t byte = vmlaq_n_u32(vdupq_n_u32(0x03020100u), vandq_u32(k, vdupq_n_u32(7)), 0x04040404u);
        uint32x4_t m = vreinterpretq_u32_u8(vqtbl2q_u8(table, vreinterpretq_u8_u32(byte)));
        t.q[i] = vreinterpretq_f32_u32(vaddq_u32(m, vshlq_n_u32(k, 20)));
    }
    return t;
}
static inline f64_v f64_pow2(f64_table table, f64_v t) {
    SL_EACH {
        uint64x2_t k = vreinterpretq_u64_f64(t.q[i]);
        uint32x4_t low = vandq_u32(vreinterpretq_u32_u64(vorrq_u64(vandq_u64(k, vdupq_n_u64(3)), vshlq_n_u64(k, 32))), vdupq_n_u32(3));
        uint32x4_t byte = vmlaq_n_u32(vreinterpretq_u32_u64(vdupq_n_u64(0x0706050403020100u)), low, 0x08080808u);
        uint64x2_t m = vreinterpretq_u64_u8(vqtbl2q_u8(table, vreinterpretq_u8_u32(byte)));
        t.q[i] = vreinterpretq_f64_u64(vaddq_u64(m, vshlq_n_u64(k, 50)));
    }
    return t;
}

static inline f64_v f64_split(f64_v w, f64_v *e) {
    SL_EACH {
        uint64x2_t b = vreinterpretq_u64_f64(w.q[i]);
        uint64x2_t k = vshrq_n_u64(vsubq_u64(b, vdupq_n_u64(0x3FE6A09E667F3BCDu)), 52);
        e->q[i] = vcvtq_f64_u64(k);
        w.q[i] = vreinterpretq_f64_u64(vsubq_u64(b, vshlq_n_u64(k, 52)));
    }
    return w;
}

static inline f32_v f32_from_float16(const uint16_t *p) {
    const uint16x8_t a = vld1q_u16(p), b = vld1q_u16(p + 8);
    return (f32_v){{vcvt_f32_f16(vreinterpret_f16_u16(vget_low_u16(a))), vcvt_f32_f16(vreinterpret_f16_u16(vget_high_u16(a))),
                    vcvt_f32_f16(vreinterpret_f16_u16(vget_low_u16(b))), vcvt_f32_f16(vreinterpret_f16_u16(vget_high_u16(b)))}};
}
static inline void f32_to_float16(uint16_t *p, f32_v x) {
    for (int i = 0; i < 4; i++) vst1_u16(p + 4 * i, vreinterpret_u16_f16(vcvt_f16_f32(x.q[i])));
}

static inline f32_v f32_from_bfloat16(const uint16_t *p) {
    float b[16]; /* compilers vectorise this */
    for (int i = 0; i < 16; i++) b[i] = sl_from_bfloat16(p[i]);
    return f32_load(b);
}
static inline void f32_to_bfloat16(uint16_t *p, f32_v x) {
    float b[16];
    f32_store(b, x);
    for (int i = 0; i < 16; i++) p[i] = sl_to_bfloat16(b[i]);
}
static inline f32_v f32_from_int8(const int8_t *p) {
    float b[16]; /* compilers vectorise this */
    for (int i = 0; i < 16; i++) b[i] = p[i];
    return f32_load(b);
}
static inline f32_v f32_from_uint8(const uint8_t *p) {
    float b[16]; /* compilers vectorise this */
    for (int i = 0; i < 16; i++) b[i] = p[i];
    return f32_load(b);
}
static inline f32_v f32_from_int16(const int16_t *p) {
    float b[16]; /* compilers vectorise this */
    for (int i = 0; i < 16; i++) b[i] = p[i];
    return f32_load(b);
}
static inline f32_v f32_from_uint16(const uint16_t *p) {
    float b[16]; /* compilers vectorise this */
    for (int i = 0; i < 16; i++) b[i] = p[i];
    return f32_load(b);
}
static inline f32_v f32_hide(const unsigned char *mask, f32_v x) {
    float b[16];
    f32_store(b, x);
    for (int i = 0; i < 16; i++) b[i] = mask[i] ? b[i] : -INFINITY;
    return f32_load(b);
}
static inline f64_v f64_hide(const unsigned char *mask, f64_v x) {
    double b[8];
    f64_store(b, x);
    for (int i = 0; i < 8; i++) b[i] = mask[i] ? b[i] : -(double)INFINITY;
    return f64_load(b);
}

static inline void f32_widen(f32_v a, f64_v *low, f64_v *high) {
    for (int i = 0; i < 2; i++) {
        low->q[2 * i] = vcvt_f64_f32(vget_low_f32(a.q[i]));
        low->q[2 * i + 1] = vcvt_high_f64_f32(a.q[i]);
        high->q[2 * i] = vcvt_f64_f32(vget_low_f32(a.q[i + 2]));
        high->q[2 * i + 1] = vcvt_high_f64_f32(a.q[i + 2]);
    }
}
static inline f32_v f32_narrow(f64_v low, f64_v high) {
    f32_v r;
    for (int i = 0; i < 2; i++) {
        r.q[i] = vcvt_high_f32_f64(vcvt_f32_f64(low.q[2 * i]), low.q[2 * i + 1]);
        r.q[i + 2] = vcvt_high_f32_f64(vcvt_f32_f64(high.q[2 * i]), high.q[2 * i + 1]);
    }
    return r;
}

#include "simd/few_classes.h"

SL_INLINE void sl_prefetch(const void *p) { __builtin_prefetch(p); }
