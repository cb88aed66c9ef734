/* real_f32.h: the names of one compute type, float32: its vector operations and the constants of exp. Included by the units
   of that type before kernels.inc.h. It must not contain code. */
#define SL_REAL 32
typedef float real;
typedef f32_v vec;
typedef f32_table v_table;
#define LANES 16
#define HALVES (LANES / 8)
#define OWN_DTYPE SL_FLOAT32

#define v_load f32_load
#define v_store f32_store
#define v_load_tail f32_load_tail
#define v_store_tail f32_store_tail
#define v_set1 f32_set1
#define v_constant f32_constant
#define v_add f32_add
#define v_sub f32_sub
#define v_mul f32_mul
#define v_div f32_div
#define v_max f32_max
#define v_fma f32_fma
#define v_select_eq f32_select_eq
#define v_select_lt f32_select_lt
#define v_lanes_lt f32_lanes_lt
#define v_any_lt f32_any_lt
#define v_any_nan f32_any_nan
#define v_reduce_max f32_reduce_max
#define v_unzip f32_unzip
#define v_transpose f32_transpose
#define v_pow2 f32_pow2
#define v_load_table f32_load_table
#define v_load_few f32_load_few
#define v_store_few f32_store_few
#define v_hide f32_hide

/* J = 8; |r| <= 0.0435; x within 4300 of zero, so |k| < 2^16 and k * ln2_lo is exact enough.
   The polynomial's error is 0.004 u, the table's 0.05 u. */
#define TABLE_SIZE 8
#define EXP_TERMS 4
#define STEPS_PER_UNIT 0x1.715476p+3f
#define LOG2E 0x1.715476p+0f
#define STEP_HIGH 0x1.62e43p-4f
#define STEP_LOW -0x1.05c61p-32f
#define ROUND_MAGIC 0x1.8p+23f
#define EXP_BIAS 80         /* B: from exp(max - 139) = 2^-200 up to a sum of 2^31 terms, all is normal */
#define EXP_DEPTH 200       /* powers of two from e(max) down to the clamp */
#define EXP_CLAMP 139.0f    /* below max - 139 a term is less than 2^-50 of the smallest subnormal */
#define SUM_ANCHOR 0x1p+82f /* above every e: F * 2^(B + 1/2 + 1/16) < 2^(B + 2) */
#define SHIFT_FROM 4096.0f
#define SIGMOID_BIAS -40
#define SIGMOID_ZERO -104.0f   /* sigmoid is less than half the smallest subnormal, 2^-150 */
#define CERTAIN_BELOW 0x1p-25f /* half an ulp of a number just below 1 */
#define UNIT_ROUNDOFF 0x1p-24
#define CONFIDENT_TERMS 181            /* (n + 2)^2 8 u is 1/64 */
#define QUARTER_TINIEST_HIGH 0x1p-100f /* times 2^-51: a quarter of the smallest number, which no number of real is */
#define QUARTER_TINIEST_LOW 0x1p-51f
#define EXACT_INDEX_LIMIT (1 << 24) /* classes that have a number */

/* The bits of F * 2^(j / TABLE_SIZE), less j << (mantissa bits - log2 TABLE_SIZE): the operation pow2 adds the whole k, j included. */
static const uint32_t exp_table[8] = {
    0x3fa59202u,              /* 0x1.4b2404p+0 */
    0x3fb48e45u - (1u << 20), /* 0x1.691c8ap+0 */
    0x3fc4e5beu - (2u << 20), /* 0x1.89cb7cp+0 */
    0x3fd6b7dau - (3u << 20), /* 0x1.ad6fb4p+0 */
    0x3fea26deu - (4u << 20), /* 0x1.d44dbcp+0 */
    0x3fff5829u - (5u << 20), /* 0x1.feb052p+0 */
    0x400b3a3eu - (6u << 20), /* 0x1.16747cp+1 */
    0x4017d424u - (7u << 20), /* 0x1.2fa848p+1 */
};

/* exp(r) - 1 = r + r^2 / 2 + ...: the polynomial's terms from r on */
static const float exp_terms[4] = {1.0f, 0.5f, 0x1.555c84p-3f, 0x1.554828p-5f};
