/* real_f64.h: the names of one compute type, float64: its vector operations and the constants of exp. Included by the units
   of that type before kernels.inc.h. It must not contain code. */
#define SL_REAL 64
typedef double real;
typedef f64_v vec;
typedef f64_table v_table;
#define LANES 8
#define HALVES (LANES / 8)
#define OWN_DTYPE SL_FLOAT64

#define v_load f64_load
#define v_store f64_store
#define v_load_tail f64_load_tail
#define v_store_tail f64_store_tail
#define v_set1 f64_set1
#define v_constant f64_constant
#define v_add f64_add
#define v_sub f64_sub
#define v_mul f64_mul
#define v_div f64_div
#define v_max f64_max
#define v_fma f64_fma
#define v_select_eq f64_select_eq
#define v_select_lt f64_select_lt
#define v_lanes_lt f64_lanes_lt
#define v_any_lt f64_any_lt
#define v_any_nan f64_any_nan
#define v_reduce_max f64_reduce_max
#define v_unzip f64_unzip
#define v_transpose f64_transpose
#define v_pow2 f64_pow2
#define v_load_table f64_load_table
#define v_load_few f64_load_few
#define v_store_few f64_store_few
#define v_hide f64_hide

/* J = 4; |r| <= 0.0870; x within 2^17 of zero. The polynomial's error is 0.05 u, the table's 0.004 u. */
#define TABLE_SIZE 4
#define EXP_TERMS 8
#define STEPS_PER_UNIT 0x1.71547652b82fep+2
#define LOG2E 0x1.71547652b82fep+0
#define STEP_HIGH 0x1.62e42fefa39efp-3
#define STEP_LOW 0x1.abc9e3b39803fp-58
#define ROUND_MAGIC 0x1.8p+52
#define EXP_BIAS 160
#define EXP_DEPTH 1139
#define EXP_CLAMP 790.0 /* exp(-790) = 2^-1139: 2^-65 of the smallest subnormal */
#define SUM_ANCHOR 0x1p+162
#define SHIFT_FROM 65536.0
#define SIGMOID_BIAS -100
#define SIGMOID_ZERO -746.0
#define CERTAIN_BELOW 0x1p-54
#define UNIT_ROUNDOFF 0x1p-53
#define CONFIDENT_TERMS 4194304
#define QUARTER_TINIEST_HIGH 0x1p-1000 /* times 2^-76 */
#define QUARTER_TINIEST_LOW 0x1p-76
#define EXACT_INDEX_LIMIT ((int64_t)1 << 53)

/* The bits of F * 2^(j / TABLE_SIZE), less j << (mantissa bits - log2 TABLE_SIZE): the operation pow2 adds the whole k, j included. */
static const uint64_t exp_table[4] = {
    0x3ff22c40bbb22be7u,                       /* 0x1.22c40bbb22be7p+0 */
    0x3ff59c7e0141ba8du - ((uint64_t)1 << 50), /* 0x1.59c7e0141ba8dp+0 */
    0x3ff9b34772d3cf6eu - ((uint64_t)2 << 50), /* 0x1.9b34772d3cf6ep+0 */
    0x3ffe90202194bc6au - ((uint64_t)3 << 50), /* 0x1.e90202194bc6ap+0 */
};

/* exp(r) - 1 = r + r^2 / 2 + ...: the polynomial's terms from r on */
static const double exp_terms[8] = {1.0,
                                    0x1.0000000000006p-1,
                                    0x1.5555555557f63p-3,
                                    0x1.555555554144dp-5,
                                    0x1.1111109fcc309p-7,
                                    0x1.6c16c38a71addp-10,
                                    0x1.a030f4131a076p-13,
                                    0x1.a0007f611fc2ep-16};
