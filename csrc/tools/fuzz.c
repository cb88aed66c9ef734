/* fuzz.c: run random jobs of the C interface. `make sanitize` builds it with AddressSanitizer and UBSan.

       fuzz SEED COUNT [SECONDS]

   runs the jobs SEED, SEED + 1, ... and stops after COUNT jobs or SECONDS; `fuzz SEED 1` repeats one job. Every array
   ends where its allocation ends, so that the sanitizer sees each access beyond it. A job runs on every path, once with
   one thread into a result of its own and once with two to four in place, at other addresses. All runs must give the
   same bits, leave their input as it was, and write every byte of the result. Rows of softmax must add up to 1. */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../softlane.h"

/* ---- random numbers ------------------------------------------------------------------------------------------- */

static uint64_t state, place_state; /* of the job, and of the addresses, which differ from run to run */

static uint64_t splitmix(uint64_t *s) {
    uint64_t z = (*s += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}
static ptrdiff_t below(ptrdiff_t n) { return (ptrdiff_t)(splitmix(&state) % (uint64_t)n); }
static int chance(int percent) { return below(100) < percent; }
static double uniform(void) { return ldexp((double)(splitmix(&state) >> 11), -53); } /* [0, 1) */
static double symmetric(void) { return 2 * uniform() - 1; }

/* ---- one job and its arrays ----------------------------------------------------------------------------------- */

enum { MAX_ARRAYS = 32, MAX_RESULTS = 12 };

typedef struct {
    void *data;
    size_t bytes;
} array;

typedef struct {
    int in_place, threads;
    int fill; /* what the results hold before the job runs */
    sl_job job;
    union { /* what args of the job points to */
        sl_expectation_args expectation;
        sl_loss_args loss;
        sl_select_args select;
        sl_sample_args sample;
        sl_kl_args kl;
        sl_vjp_args vjp;
        sl_part_args part;
    } args;
    sl_elementwise_job elementwise;
    int is_elementwise;
    array arrays[MAX_ARRAYS], results[MAX_RESULTS];
    int array_count, result_count;
} trial;

/* What the process that runs the jobs does now. Its parent reports it when a sanitizer or a signal has ended that process. */
static struct {
    uint64_t seed;
    char description[256];
} *current;

static void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    exit(1);
}

/* count elements at the end of an allocation, at any address that their size allows */
static void *take(trial *t, ptrdiff_t count, size_t size) {
    const size_t before = size * (size_t)(splitmix(&place_state) % 17), bytes = size * (size_t)count;
    char *memory = malloc(before + bytes);
    if (!memory || t->array_count == MAX_ARRAYS) fail("no memory");
    t->arrays[t->array_count++] = (array){memory, bytes};
    return memory + before;
}
static void *take_result(trial *t, ptrdiff_t count, size_t size) {
    void *data = take(t, count, size);
    memset(data, t->fill, size * (size_t)count);
    t->results[t->result_count++] = (array){data, size * (size_t)count};
    return data;
}

static uint64_t hash(uint64_t h, const void *data, size_t bytes) { /* FNV-1a */
    const unsigned char *p = data;
    for (size_t i = 0; i < bytes; i++) h = (h ^ p[i]) * 0x100000001B3u;
    return h;
}

/* ---- elements of every type ----------------------------------------------------------------------------------- */

static const size_t size_of[] = {4, 8, 2, 2, 1, 1, 2, 2, 1};

static int is_float(sl_dtype s) { return s <= SL_BFLOAT16; }
static sl_dtype compute_type(sl_dtype s) { return s == SL_FLOAT64 ? SL_FLOAT64 : SL_FLOAT32; }

static void put(sl_dtype dtype, void *data, ptrdiff_t i, double value) {
    const float narrow = (float)value;
    const _Float16 half = (_Float16)value;
    uint32_t bits;
    memcpy(&bits, &narrow, sizeof bits);
    if (dtype == SL_FLOAT64) ((double *)data)[i] = value;
    if (dtype == SL_FLOAT32) ((float *)data)[i] = narrow;
    if (dtype == SL_FLOAT16) memcpy((uint16_t *)data + i, &half, sizeof half);
    if (dtype == SL_BFLOAT16) ((uint16_t *)data)[i] = (uint16_t)(bits >> 16);
}
static double get(sl_dtype dtype, const void *data, ptrdiff_t i) {
    _Float16 half;
    float narrow;
    switch (dtype) {
        case SL_FLOAT64: return ((const double *)data)[i];
        case SL_FLOAT32: return (double)((const float *)data)[i];
        case SL_FLOAT16: memcpy(&half, (const uint16_t *)data + i, sizeof half); return (double)half;
        case SL_BFLOAT16: {
            const uint32_t bits = (uint32_t)((const uint16_t *)data)[i] << 16;
            memcpy(&narrow, &bits, sizeof narrow);
            return (double)narrow;
        }
        default: return 0; /* an integer: finite */
    }
}

static void *take_random_bytes(trial *t, ptrdiff_t count, size_t size) {
    unsigned char *data = take(t, count, size);
    for (ptrdiff_t i = 0; i < count * (ptrdiff_t)size; i++) data[i] = (unsigned char)splitmix(&state);
    return data;
}
static void *take_numbers(trial *t, sl_dtype dtype, ptrdiff_t count, double low, double high) {
    void *data = take(t, count, size_of[dtype]);
    for (ptrdiff_t i = 0; i < count; i++) put(dtype, data, i, low + (high - low) * uniform());
    return data;
}

/* Logits: ordinary, wide, confident, equal, far from zero, with NaN and infinities, all -inf, or any bits. */
static void *take_logits(trial *t, sl_dtype dtype, ptrdiff_t count, ptrdiff_t n) {
    const ptrdiff_t kind = below(9);
    const int has_inf = chance(50), has_nan = chance(50);
    if (!is_float(dtype) && dtype != SL_BOOL) return take_random_bytes(t, count, size_of[dtype]);
    if (kind == 8 && is_float(dtype)) return take_random_bytes(t, count, size_of[dtype]);
    void *data = take(t, count, size_of[dtype]);
    for (ptrdiff_t i = 0; i < count; i++) {
        const double u = symmetric();
        double value = 8 * u;
        if (kind == 1) value = 128 * u;
        if (kind == 2) value = i % n == n / 3 ? 30 + 8 * u : u;
        if (kind == 3) value = (double)(int)(4 * u);
        if (kind == 4) value = 1e4 + 64 * u;
        if (kind == 5) value = below(31) ? value : -INFINITY;
        if (kind == 6 && !below(501)) value = has_nan ? NAN : 1;
        if (kind == 6 && !below(501)) value = has_inf ? INFINITY : 1;
        if (kind == 7) value = -INFINITY;
        if (dtype == SL_BOOL) ((unsigned char *)data)[i] = u > 0;
        else put(dtype, data, i, value);
    }
    return data;
}

static int64_t *take_indices(trial *t, ptrdiff_t count, ptrdiff_t n) {
    int64_t *index = take(t, count, sizeof *index);
    for (ptrdiff_t i = 0; i < count; i++) index[i] = below(n);
    return index;
}

/* A result of indices or ranks: of 8 bytes, or of as few as n classes need */
static sl_indices take_chosen(trial *t, ptrdiff_t count) {
    const int size = chance(50) ? 8 : t->job.n <= 256 ? 1 : t->job.n <= 65536 ? 2 : 4;
    return (sl_indices){take_result(t, count, (size_t)size), size};
}

/* ---- what jobs share ------------------------------------------------------------------------------------------ */

static ptrdiff_t pick_length(void) {
    static const ptrdiff_t edges[] = {1, 2, 3, 4, 5, 7, 8, 9, 10, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257, 1000};
    static const ptrdiff_t long_edges[] = {1023, 1024, 1025, 2048, 4095, 4096, 4097, 4111, 8191, 8192, 8193, 20000};
    if (chance(25)) return 1 + below(300);
    if (chance(20)) return long_edges[below(sizeof long_edges / sizeof *long_edges)];
    return edges[below(sizeof edges / sizeof *edges)];
}

static ptrdiff_t rows_of(const trial *t) { return t->job.outer * t->job.inner; }
static ptrdiff_t count_of(const trial *t) { return rows_of(t) * t->job.n; }

/* Some thousand elements, and at most some 200000; one job of forty has as many, which is enough for threads. */
static void pick_shape(trial *t, int needs_contiguous_rows) {
    static const ptrdiff_t inners[] = {2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100, 255, 257, 600};
    const ptrdiff_t most = 200000, elements = !below(40) ? most : chance(20) ? 20000 : 2000;
    sl_job *job = &t->job;
    job->n = pick_length();
    job->inner = 1;
    const int is_strided = !needs_contiguous_rows && chance(50);
    while (is_strided && (job->inner == 1 || job->n * job->inner > most)) job->inner = inners[below(sizeof inners / sizeof *inners)];
    const ptrdiff_t outer = elements / (job->n * job->inner);
    job->outer = outer < 2 || chance(20) ? 1 : chance(30) ? outer : 1 + below(outer);
}

static void pick_dtypes(trial *t, int same) {
    sl_job *job = &t->job;
    job->x_dtype = (sl_dtype)below(same ? SL_BFLOAT16 + 1 : SL_BOOL + 1);
    job->y_dtype = same || (is_float(job->x_dtype) && chance(50)) ? job->x_dtype : compute_type(job->x_dtype);
}

/* a result of its own, or x, where the job runs in place and they are of one type */
static void *take_output(trial *t, const void *x, sl_dtype x_dtype, sl_dtype y_dtype, ptrdiff_t count) {
    if (!t->in_place || x_dtype != y_dtype) return take_result(t, count, size_of[y_dtype]);
    void *y = (void *)x;
    t->results[t->result_count++] = (array){y, size_of[y_dtype] * (size_t)count};
    return y;
}

static void pick_input(trial *t, int needs_contiguous_rows, int same_dtype) {
    pick_shape(t, needs_contiguous_rows);
    pick_dtypes(t, same_dtype);
    t->job.x = take_logits(t, t->job.x_dtype, count_of(t), t->job.n);
}

static void pick_mask(trial *t) {
    const int visible = chance(20) ? 100 : chance(10) ? 0 : 1 + (int)below(99);
    if (chance(60)) return;
    unsigned char *mask = take(t, count_of(t), 1);
    for (ptrdiff_t i = 0; i < count_of(t); i++) mask[i] = (unsigned char)chance(visible);
    t->job.mask = mask;
}

static const double *take_temperatures(trial *t, ptrdiff_t count) {
    const double range = chance(80) ? 3 : 24; /* of the logarithm to base 2; 24 is what the kernels over rows take */
    double *temperature = take(t, count, sizeof *temperature);
    for (ptrdiff_t i = 0; i < count; i++) temperature[i] = exp2(range * symmetric());
    return temperature;
}
static void pick_temperature(trial *t) {
    if (chance(60)) return;
    t->job.temperature_step = chance(50);
    t->job.temperature = take_temperatures(t, t->job.temperature_step ? rows_of(t) : 1);
}

/* ---- one function for each family of operations --------------------------------------------------------------- */

/* y is like x */
static void fill_softmax(trial *t) {
    static const sl_op ops[] = {SL_SOFTMAX, SL_LOG_SOFTMAX, SL_SOFTMAX_HESSIAN_DIAG};
    sl_job *job = &t->job;
    job->op = ops[below(sizeof ops / sizeof *ops)];
    pick_input(t, 0, 0);
    pick_mask(t);
    pick_temperature(t);
    job->negate = chance(30);
    job->y = take_output(t, job->x, job->x_dtype, job->y_dtype, count_of(t));
}

/* y has one number for each row */
static void fill_reduction(trial *t) {
    static const sl_op ops[] = {SL_LOGSUMEXP, SL_ENTROPY};
    sl_job *job = &t->job;
    job->op = ops[below(sizeof ops / sizeof *ops)];
    pick_input(t, 0, 0);
    pick_mask(t);
    pick_temperature(t);
    job->negate = chance(30);
    job->y = take_result(t, rows_of(t), size_of[job->y_dtype]);
}

static void fill_expectation(trial *t) {
    sl_job *job = &t->job;
    job->op = SL_EXPECTATION;
    pick_input(t, 0, 0);
    pick_mask(t);
    pick_temperature(t);
    t->args.expectation.values = take_numbers(t, compute_type(job->x_dtype), job->n, -100, 100);
    job->y = take_result(t, rows_of(t), size_of[job->y_dtype]);
}

static void fill_loss(trial *t) {
    sl_job *job = &t->job;
    static const sl_op ops[] = {SL_CROSS_ENTROPY, SL_CROSS_ENTROPY_GRAD, SL_NLL, SL_LOG_LOSS};
    job->op = ops[below(4)];
    const int has_options = job->op <= SL_CROSS_ENTROPY_GRAD;
    pick_input(t, 0, has_options);
    const sl_dtype compute = compute_type(job->x_dtype);
    sl_loss_args *loss = &t->args.loss;
    if (has_options) {
        pick_mask(t);
        pick_temperature(t);
    }
    loss->ignore_index = chance(30) ? 0 : -100;
    loss->scale = chance(50) ? 1 : 0.25;
    loss->label_smoothing = !has_options || chance(50) ? 0 : uniform();
    if (job->mask) {
        int64_t *visible = take(t, rows_of(t), sizeof *visible);
        sl_active()->count_visible(job, visible);
        loss->visible = visible;
    }
    if (chance(30)) {
        double *weight = take_numbers(t, SL_FLOAT64, rows_of(t), 0, 3);
        for (ptrdiff_t i = 0; i < rows_of(t); i++) weight[i] = below(5) ? weight[i] : 0;
        loss->row_weight = weight;
    }
    if (chance(40)) {
        loss->mass_dtype = chance(50) || !is_float(job->x_dtype) ? compute : job->x_dtype;
        loss->mass = take_numbers(t, loss->mass_dtype, count_of(t), 0, 1);
    } else {
        int64_t *target = take_indices(t, rows_of(t), job->n);
        for (ptrdiff_t i = 0; i < rows_of(t); i++) target[i] = below(9) ? target[i] : loss->ignore_index;
        loss->target = target;
    }
    if (chance(40)) loss->class_weight = take_numbers(t, compute, job->n, 0, 3);
    loss->loss = take_result(t, rows_of(t), sizeof *loss->loss);
    loss->slack = 1e-6;
    if (!has_options) loss->outside = take_result(t, rows_of(t), 1);
    if (job->op == SL_CROSS_ENTROPY_GRAD) job->y = take_output(t, job->x, job->x_dtype, job->y_dtype, count_of(t));
}

static void fill_selection(trial *t) {
    static const sl_op ops[] = {SL_TAKE_PROBS, SL_TAKE_LOG_PROBS, SL_TOPK, SL_TOPK_PROBS, SL_TOPK_LOG_PROBS, SL_RANK};
    sl_job *job = &t->job;
    job->op = ops[below(sizeof ops / sizeof *ops)];
    pick_input(t, job->op == SL_RANK, 0);
    pick_mask(t);
    pick_temperature(t);
    sl_select_args *select = &t->args.select;
    const ptrdiff_t most = job->op == SL_RANK && job->n > 100 ? 3 : job->n;
    select->k = job->inner > 1 || chance(30) ? 1 : chance(20) ? most : 1 + below(most);
    select->sorted = chance(70);
    const ptrdiff_t count = rows_of(t) * select->k;
    const int is_topk = job->op == SL_TOPK || job->op == SL_TOPK_PROBS || job->op == SL_TOPK_LOG_PROBS;
    if (is_topk) select->index = take_chosen(t, count);
    else select->index = (sl_indices){take_indices(t, count, job->n), sizeof(int64_t)};
    if (job->op == SL_RANK) select->rank = take_chosen(t, count);
    if (job->op != SL_RANK && job->op != SL_TOPK) job->y = take_result(t, count, size_of[job->y_dtype]);
}

static void fill_sample(trial *t) {
    sl_job *job = &t->job;
    job->op = SL_SAMPLE;
    pick_input(t, 1, 0);
    pick_mask(t);
    pick_temperature(t);
    sl_sample_args *sample = &t->args.sample;
    const ptrdiff_t rows = rows_of(t);
    sample->without_replacement = chance(50);
    sample->draws = chance(50) ? 1 : 1 + below(sample->without_replacement && job->n < 40 ? job->n : 40);
    const ptrdiff_t count = rows * sample->draws;
    sample->index = take_chosen(t, count);
    if (chance(60)) job->y = take_result(t, count, size_of[job->y_dtype]);
    double *draws = take(t, count, sizeof *draws);
    for (ptrdiff_t i = 0; i < count; i++) draws[i] = chance(5) ? 0 : chance(5) ? 1 - 0x1p-53 : uniform();
    sample->uniform = draws;
    sample->top_k_step = chance(50);
    sample->top_p_step = chance(50);
    sample->min_p_step = chance(50);
    if (chance(50)) {
        int64_t *top_k = take_indices(t, sample->top_k_step ? rows : 1, job->n);
        for (ptrdiff_t i = 0; i < (sample->top_k_step ? rows : 1); i++) top_k[i]++;
        sample->top_k = top_k;
    }
    if (chance(50)) sample->top_p = take_numbers(t, SL_FLOAT64, sample->top_p_step ? rows : 1, 1, 1e-9);
    if (chance(50)) sample->min_p = take_numbers(t, SL_FLOAT64, sample->min_p_step ? rows : 1, 0, chance(50) ? 0.1 : 1);
}

static void fill_divergence(trial *t) {
    sl_job *job = &t->job;
    job->op = SL_KL_DIVERGENCE;
    pick_input(t, 0, 0);
    pick_mask(t);
    pick_temperature(t);
    t->args.kl.other = chance(20) ? job->x : take_logits(t, job->x_dtype, count_of(t), job->n);
    job->y = take_result(t, rows_of(t), size_of[job->y_dtype]);
}
/* The statistics of a part, or, after steps on its summaries, results under what these say: all classes come twice. */
static void fill_part(trial *t) {
    sl_job *job = &t->job;
    const int has_deviation = chance(50);
    job->op = has_deviation ? SL_PART_STATISTICS_WITH_DEVIATION : SL_PART_STATISTICS;
    pick_input(t, 0, 0);
    pick_mask(t);
    pick_temperature(t);
    const ptrdiff_t rows = rows_of(t);
    sl_part_args *part = &t->args.part;
    part->max = take_result(t, rows, sizeof(double));
    part->others = take_result(t, rows, sizeof(double));
    part->others_low = take_result(t, rows, sizeof(double));
    part->deviation = has_deviation ? take_result(t, rows, sizeof(double)) : NULL;
    if (chance(40)) return;
    const sl_summary summary = {take_result(t, rows * (ptrdiff_t)(sizeof(sl_weight) / 8), 8),
                                has_deviation ? take_result(t, rows * (ptrdiff_t)(sizeof(sl_moment) / 8), 8) : NULL, job->temperature,
                                job->temperature_step};
    sl_summary_job step = {.rows = rows, .statistics = *part, .a = summary, .b = summary, .y = summary};
    step.log_sum = take_result(t, rows, sizeof(double));
    step.logsumexp = take_result(t, rows, sizeof(double));
    step.entropy = has_deviation ? take_result(t, rows, sizeof(double)) : NULL;
    if (sl_run(job, t->threads)) fail("no memory for scratch");
    for (step.step = SL_BEGIN; step.step <= SL_FINISH; step.step++) sl_run_summaries(&step, t->threads);
    job->op = chance(50) ? SL_PART_SOFTMAX : SL_PART_LOG_SOFTMAX;
    job->y = take_output(t, job->x, job->x_dtype, job->y_dtype, count_of(t));
}
static void fill_vjp(trial *t) {
    sl_job *job = &t->job;
    job->op = chance(50) ? SL_SOFTMAX_VJP : SL_LOG_SOFTMAX_VJP;
    pick_input(t, 0, 1);
    const int is_log = job->op == SL_LOG_SOFTMAX_VJP, over_output = chance(50);
    const void *output = chance(80) ? take_numbers(t, job->x_dtype, count_of(t), is_log ? -20 : 0, is_log ? 0 : 1)
                                    : take_logits(t, job->x_dtype, count_of(t), job->n);
    t->args.vjp.output = output;
    job->y = take_output(t, over_output ? output : job->x, job->x_dtype, job->y_dtype, count_of(t));
}

static void fill_elementwise(trial *t) {
    sl_elementwise_job *e = &t->elementwise;
    t->is_elementwise = 1;
    e->op = (sl_op)(SL_SIGMOID + below(7));
    const int is_loss = e->op >= SL_BINARY_CROSS_ENTROPY, is_of_probs = e->op >= SL_BINARY_CROSS_ENTROPY_OF_PROBS;
    pick_dtypes(t, is_loss || e->op == SL_SIGMOID_VJP);
    e->x_dtype = t->job.x_dtype;
    e->y_dtype = t->job.y_dtype;
    const sl_dtype compute = compute_type(e->x_dtype);
    e->n = chance(3) ? 0 : chance(5) ? 100000 + below(10000) : pick_length();
    e->x = is_of_probs && chance(80) ? take_numbers(t, e->x_dtype, e->n, 0, 1) : take_logits(t, e->x_dtype, e->n, 1);
    e->scale = chance(50) ? 1 : 0.25;
    const int has_losses = chance(50);
    const int has_y = e->op != SL_BINARY_CROSS_ENTROPY && e->op != SL_BINARY_CROSS_ENTROPY_OF_PROBS;
    if (is_of_probs) e->outside = take_result(t, (e->n + SL_BLOCK - 1) / SL_BLOCK, 1);
    if (e->op == SL_SIGMOID_VJP) e->output = chance(80) ? take_numbers(t, e->x_dtype, e->n, 0, 1) : take_logits(t, e->x_dtype, e->n, 1);
    else if (!is_of_probs && chance(40)) {
        e->temperature_step = chance(50);
        e->temperature = take_temperatures(t, e->temperature_step ? e->n : 1);
    }
    if (has_y) e->y = take_output(t, e->output && chance(50) ? e->output : e->x, e->x_dtype, e->y_dtype, e->n);
    if (!is_loss) return;
    e->target = take_numbers(t, compute, e->n, 0, 1);
    if (chance(40)) e->weight = take_numbers(t, compute, e->n, 0, 3);
    if (chance(40)) e->pos_weight = take_numbers(t, compute, e->n, 0, 3);
    if (has_losses) e->loss = take_result(t, e->n, size_of[compute]);
    else e->sums = take_result(t, 2 * ((e->n + SL_BLOCK - 1) / SL_BLOCK), sizeof *e->sums);
}

static const struct {
    const char *name;
    void (*fill)(trial *);
} families[] = {{"softmax", fill_softmax},         {"reduction", fill_reduction},
                {"expectation", fill_expectation}, {"loss", fill_loss},
                {"selection", fill_selection},     {"sample", fill_sample},
                {"divergence", fill_divergence},   {"vjp", fill_vjp},
                {"elementwise", fill_elementwise}, {"part", fill_part}};

/* ---- checks --------------------------------------------------------------------------------------------------- */

/* A row of softmax whose visible classes are all finite adds up to 1. */
static void check_sum(const trial *t, ptrdiff_t first, double tolerance) {
    const sl_job *job = &t->job;
    double sum = 0;
    int visible = 0;
    for (ptrdiff_t c = 0; c < job->n; c++) {
        const ptrdiff_t i = first + c * job->inner;
        sum += get(job->y_dtype, job->y, i);
        if (job->mask && !job->mask[i]) continue;
        if (!isfinite(get(job->x_dtype, job->x, i))) return;
        visible = 1;
    }
    if (visible && !(fabs(sum - 1) <= tolerance)) fail("the row of softmax from element %td adds up to %.17g", first, sum);
}
static void check_sums(const trial *t) {
    static const double epsilon[] = {0x1p-23, 0x1p-52, 0x1p-10, 0x1p-7}, subnormal[] = {0, 0, 0x1p-24, 0};
    const sl_job *job = &t->job;
    const double n = (double)job->n, tolerance = 4 * epsilon[job->y_dtype] + n * (subnormal[job->y_dtype] + 0x1p-53);
    for (ptrdiff_t row = 0; row < rows_of(t); row++) check_sum(t, row / job->inner * job->n * job->inner + row % job->inner, tolerance);
}

static void describe(const trial *t, const char *family, const char *isa) {
    const sl_job *j = &t->job;
    int used = snprintf(current->description, sizeof current->description, "%s, op %d, on %s, dtype %d to %d, ", family,
                        t->is_elementwise ? (int)t->elementwise.op : (int)j->op, isa, (int)j->x_dtype, (int)j->y_dtype);
    snprintf(current->description + used, sizeof current->description - (size_t)used, "shape (%td, %td, %td)%s%s%s, %d threads", j->outer,
             t->is_elementwise ? t->elementwise.n : j->n, j->inner, j->mask ? ", mask" : "", j->temperature ? ", temperature" : "",
             t->in_place ? ", in place" : "", t->threads);
}

/* The hash of all results of the current job. */
static uint64_t run(const char *isa, int in_place) {
    trial t = {.in_place = in_place, .threads = in_place ? 2 + (int)(current->seed % 3) : 1, .fill = in_place ? 0xA5 : 0x5A};
    uint64_t h = 0xCBF29CE484222325u;
    state = current->seed;
    const ptrdiff_t family = below(sizeof families / sizeof *families);
    t.job.args = &t.args;
    families[family].fill(&t);
    describe(&t, families[family].name, isa);
    const void *x = t.is_elementwise ? t.elementwise.x : t.job.x;
    const size_t bytes = size_of[t.job.x_dtype] * (size_t)(t.is_elementwise ? t.elementwise.n : count_of(&t));
    const uint64_t before = hash(0, x, bytes);
    if (t.is_elementwise) sl_run_elementwise(&t.elementwise, t.threads);
    else if (sl_run(&t.job, t.threads)) fail("no memory for scratch");
    if (!in_place && hash(0, x, bytes) != before) fail("the input was written to");
    if (!t.is_elementwise && !in_place && t.job.op == SL_SOFTMAX) check_sums(&t);
    for (int i = 0; i < t.result_count; i++) h = hash(h, t.results[i].data, t.results[i].bytes);
    for (int i = 0; i < t.array_count; i++) free(t.arrays[i].data);
    return h;
}

static void run_everywhere(void) {
    uint64_t first = 0;
    for (int path = 0; path < sl_isa_count(); path++)
        for (int in_place = 0; in_place < 2; in_place++) {
            sl_use_isa(sl_isa_name(path));
            const uint64_t h = run(sl_isa_name(path), in_place);
            if (path == 0 && !in_place) first = h;
            if (h != first) fail("its bits are not those of %s with one thread", sl_isa_name(0));
        }
}

static int run_jobs(uint64_t start, uint64_t count, time_t end) {
    uint64_t done = 0;
    printf("fuzz: from seed %llu, paths:", (unsigned long long)start);
    for (int path = 0; path < sl_isa_count(); path++) printf(" %s", sl_isa_name(path));
    printf("; threads: %s\n", sl_thread_engine());
    fflush(stdout);
    for (; done < count && time(NULL) < end; done++) {
        current->seed = start + done;
        place_state = ~current->seed;
        run_everywhere();
    }
    printf("fuzz: %llu jobs, same bits on all paths\n", (unsigned long long)done);
    return 0;
}

int main(int argc, char **argv) {
    if (argc < 3) return fprintf(stderr, "usage: fuzz SEED COUNT [SECONDS]\n"), 2;
    const uint64_t start = strtoull(argv[1], NULL, 10), count = strtoull(argv[2], NULL, 10);
    const time_t end = time(NULL) + (argc > 3 ? atoi(argv[3]) : 1 << 30);
    int status = 1;
    current = mmap(NULL, sizeof *current, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (current == MAP_FAILED) return perror("fuzz"), 2;
    const pid_t child = fork();
    if (child == 0) return run_jobs(start, count, end);
    if (child < 0 || waitpid(child, &status, 0) < 0) return perror("fuzz"), 2;
    if (status) fprintf(stderr, "fuzz: job %llu failed: %s\n", (unsigned long long)current->seed, current->description);
    return status != 0;
}
