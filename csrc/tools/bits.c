/* bits.c: hash what every path of this machine computes over a fixed set of inputs. Prints a line for each path and operation.

   The hashes have to be those of bits.txt, on every instruction set: `make bits` compares those of this processor, and
   `make neon` those of AArch64, under qemu-user. Needs nothing but a C compiler:

      make build/here/bits

   Inputs come from an integer generator and exact scalings, and what is hashed is numbers, in the order of bytes of a
   little-endian machine: so both are the same on every machine.

      bits          every shape
      bits few      few shapes, which reach the same code: seconds where a processor is emulated (`make cross-bits`)
      bits each     every shape; a line for each path, operation, shape and dtype: this shows where bits have changed */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../softlane.h"

static uint64_t state;
static uint64_t next(void) { /* splitmix64 */
    uint64_t z = (state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* kind 0: within +-8; 1: +-128; 2: a dominant class; 3: ties; 4: far from zero; 5: NaN and infinities strewn in */
static double element(int kind, ptrdiff_t i, ptrdiff_t n) {
    const double u = ldexp((double)(int64_t)next(), -63); /* [-1, 1) */
    switch (kind) {
        case 0: return 8 * u;
        case 1: return 128 * u;
        case 2: return i % n == n / 3 ? 30 + 8 * u : u;
        case 3: return (double)((int)(4 * u));
        case 4: return 1e6 + 64 * u;
        default: return next() % 97 == 0 ? NAN : next() % 31 == 0 ? -INFINITY : next() % 301 == 0 ? INFINITY : 8 * u;
    }
}

static const char *const names[] = {"softmax",
                                    "softmin",
                                    "log_softmax",
                                    "logsumexp",
                                    "expectation",
                                    "cross_entropy",
                                    "cross_entropy_grad",
                                    "loss_options",
                                    "nll",
                                    "log_loss",
                                    "softmax_vjp",
                                    "log_softmax_vjp",
                                    "sigmoid",
                                    "log_sigmoid",
                                    "binary_cross_entropy",
                                    "take",
                                    "topk",
                                    "rank",
                                    "sample",
                                    "draws",
                                    "sigmoid_vjp",
                                    "binary_cross_entropy_of_probs",
                                    "elements_with_temperature",
                                    "entropy",
                                    "softmax_hessian_diag",
                                    "kl_divergence",
                                    "summary",
                                    "part_softmax"};
enum {
    SOFTMAX,
    SOFTMIN,
    LOG_SOFTMAX,
    LOGSUMEXP,
    EXPECTATION,
    CROSS_ENTROPY,
    CROSS_ENTROPY_GRAD,
    LOSS_OPTIONS,
    NLL,
    LOG_LOSS,
    SOFTMAX_VJP,
    LOG_SOFTMAX_VJP,
    SIGMOID,
    LOG_SIGMOID,
    BINARY_CROSS_ENTROPY,
    TAKE,
    TOPK,
    RANK,
    SAMPLE,
    DRAWS,
    SIGMOID_VJP,
    BINARY_CROSS_ENTROPY_OF_PROBS,
    ELEMENTS_WITH_TEMPERATURE,
    ENTROPY,
    HESSIAN_DIAG,
    KL_DIVERGENCE,
    SUMMARY,
    PART_SOFTMAX,
    COUNT
};
static uint64_t hashes[COUNT];
static const uint64_t nothing_hashed = 0xCBF29CE484222325u;

/* 0 on little-endian machines; else how far the bytes of elements of this width have to be moved (by exclusive or) to be in that order */
static size_t byte_flip(size_t width) {
    const uint16_t one = 1;
    return *(const unsigned char *)&one ? 0 : width - 1;
}

/* FNV-1a over so many elements of this width, each from its lowest byte to its highest */
static void hash(int operation, const void *data, ptrdiff_t count, size_t width) {
    const unsigned char *p = data;
    const size_t flip = byte_flip(width), bytes = (size_t)count * width;
    uint64_t h = hashes[operation];
    for (size_t i = 0; i < bytes; i++) h = (h ^ p[i ^ flip]) * 0x100000001B3u;
    hashes[operation] = h;
}

static void clear_hashes(void) {
    for (int i = 0; i < COUNT; i++) hashes[i] = nothing_hashed;
}
static void print_hashes(const char *isa, const char *where) {
    for (int i = 0; i < COUNT; i++)
        if (hashes[i] != nothing_hashed) printf("%s %s%s %016llx\n", isa, names[i], where, (unsigned long long)hashes[i]);
    fflush(stdout);
}

static void run(const sl_job *job) {
    if (sl_run(job, 1)) exit(1);
}

/* An operation whose result is like x: the same bits in place and on two threads. */
static void check_in_place(const sl_job *job, size_t bytes) {
    if (job->x_dtype != job->y_dtype) return;
    char *again = malloc(2 * bytes + 1), *kept = again + bytes;
    if (!again) exit(1);
    memcpy(kept, job->x, bytes);
    memcpy(again, job->x, bytes);
    sl_job own = *job;
    own.x = own.y = again;
    const int most = job->outer * job->n * job->inner < 98304 ? 1 : 2; /* smaller jobs run serially */
    for (int threads = 1; threads <= most; threads++) {
        memcpy(again, kept, bytes);
        if (sl_run(&own, threads)) exit(1);
        if (!memcmp(again, job->y, bytes)) continue;
        printf("other bits in place: %s, operation %d, shape (%td, %td, %td), dtype %d, %d threads\n", sl_active()->name, (int)job->op,
               job->outer, job->n, job->inner, (int)job->x_dtype, threads);
        exit(1);
    }
    free(again);
}

static const ptrdiff_t shapes[][3] = {
    {200, 1, 1},  {200, 2, 1}, {150, 3, 1}, {40, 7, 1},   {300, 10, 1}, {33, 16, 1},  {50, 21, 1},   {17, 32, 1},
    {19, 33, 1},  {23, 80, 1}, {9, 257, 1}, {5, 1000, 1}, {2, 4096, 1}, {3, 4097, 1}, {1, 20000, 1}, {2, 5, 3},
    {3, 21, 100}, {2, 16, 33}, {3, 33, 2},  {5, 80, 7},   {1, 300, 17}, {1, 4100, 5}, {2, 9000, 3},
};
/* Each layout, with whole vectors and the rest of one */
static const ptrdiff_t few_shapes[][3] = {
    {20, 2, 1}, {19, 10, 1}, {3, 80, 1}, {1, 4200, 1}, {2, 5, 3}, {1, 21, 20}, {3, 33, 2}, {1, 40, 17}, {1, 4100, 2},
};
enum { LARGE = 16384, LARGE_OF_FEW = 4096 }; /* elements */

/* kinds of input that large shapes leave out, which would take minutes under qemu: of few shapes, all but the first kind */
enum { LARGE_SKIPS = 1 << 1 | 1 << 3, FEW_SKIPS = 0x3E };

static const size_t size[] = {4, 8, 2, 2}; /* of an element, by dtype */

/* ---- losses, and what takes an array beside x ---------------------------------------------------------------- */

/* Kinds first to last: 0 is class indices, 1 a mass for each class of each row; 2 and 3 are these with class weights and label smoothing.
 */
static void losses(sl_job job, int first, int last) {
    const ptrdiff_t rows = job.outer * job.inner, count = rows * job.n;
    const int wide = job.y_dtype == SL_FLOAT64;
    const size_t bytes = (size_t)count * size[job.y_dtype];
    double *loss = malloc((size_t)(count + job.n) * 8 + (size_t)rows * 16);
    if (!loss) exit(1);
    int64_t *target = (int64_t *)(loss + rows);
    char *dense = (char *)(target + rows), *weight = dense + (wide ? 8 : 4) * count;
    for (ptrdiff_t i = 0; i < rows; i++) target[i] = next() % 9 ? (int64_t)(next() % (uint64_t)job.n) : -100;
    for (ptrdiff_t i = 0; i < count + job.n; i++) {
        const double v = ldexp((double)(next() % 64), -6);
        if (wide) ((double *)dense)[i] = v;
        else ((float *)dense)[i] = (float)v;
    }
    for (int kind = first; kind < last; kind++) {
        const sl_loss_args args = {.target = kind % 2 ? NULL : target,
                                   .ignore_index = -100,
                                   .mass = kind % 2 ? dense : NULL,
                                   .mass_dtype = wide ? SL_FLOAT64 : SL_FLOAT32,
                                   .class_weight = kind > 1 ? weight : NULL,
                                   .label_smoothing = kind > 1 ? 0.125 : 0,
                                   .scale = 0.25,
                                   .loss = loss};
        job.args = &args;
        job.op = SL_CROSS_ENTROPY;
        run(&job);
        hash(CROSS_ENTROPY, loss, rows, sizeof *loss);
        job.op = SL_CROSS_ENTROPY_GRAD;
        run(&job);
        hash(CROSS_ENTROPY_GRAD, loss, rows, sizeof *loss);
        hash(CROSS_ENTROPY_GRAD, job.y, count, size[job.y_dtype]);
        check_in_place(&job, bytes);
    }
    free(loss);
}

/* Of class indices and masses. temperature: one for each row, and weights of rows too, some of them 0 */
static void loss_options(sl_job job, const double *temperature) {
    const ptrdiff_t rows = job.outer * job.inner, count = rows * job.n;
    const int wide = job.y_dtype == SL_FLOAT64;
    const size_t bytes = (size_t)count * size[job.y_dtype];
    double *loss = malloc((size_t)rows * 8), *row_weight = malloc((size_t)rows * 8);
    int64_t *target = malloc((size_t)rows * 8), *visible = malloc((size_t)rows * 8);
    char *mass = malloc((size_t)count * 8);
    if (!loss || !row_weight || !target || !visible || !mass) exit(1);
    for (ptrdiff_t i = 0; i < rows; i++) target[i] = next() % 9 ? (int64_t)(next() % (uint64_t)job.n) : -100;
    for (ptrdiff_t i = 0; i < rows; i++) row_weight[i] = i % 5 ? temperature[i] : 0;
    for (ptrdiff_t i = 0; i < count; i++) {
        const double v = ldexp((double)(next() % 64), -6);
        if (wide) ((double *)mass)[i] = v;
        else ((float *)mass)[i] = (float)v;
    }
    if (job.mask) sl_active()->count_visible(&job, visible);
    for (int kind = 0; kind < 3; kind++) {
        const sl_loss_args args = {.target = kind < 2 ? target : NULL,
                                   .ignore_index = -100,
                                   .mass = kind < 2 ? NULL : mass,
                                   .mass_dtype = wide ? SL_FLOAT64 : SL_FLOAT32,
                                   .row_weight = kind ? row_weight : NULL,
                                   .label_smoothing = kind == 1 ? 0.125 : 0,
                                   .visible = visible,
                                   .scale = 0.25,
                                   .loss = loss};
        job.args = &args;
        job.op = SL_CROSS_ENTROPY_GRAD;
        run(&job);
        hash(LOSS_OPTIONS, loss, rows, sizeof *loss);
        hash(LOSS_OPTIONS, job.y, count, size[job.y_dtype]);
        check_in_place(&job, bytes);
    }
    free(loss);
    free(row_weight);
    free(target);
    free(visible);
    free(mass);
}

/* Of softmax and log_softmax of x, and of x itself, which is outside the domain */
static void nll(sl_job job) {
    const ptrdiff_t rows = job.outer * job.inner, count = rows * job.n;
    const size_t bytes = (size_t)count * size[job.y_dtype];
    double *loss = malloc((size_t)rows * 8);
    int64_t *target = malloc((size_t)rows * 8);
    unsigned char *outside = malloc((size_t)rows);
    void *weight = malloc((size_t)job.n * 8), *x = malloc(bytes);
    if (!loss || !target || !outside || !weight || !x) exit(1);
    for (ptrdiff_t i = 0; i < rows; i++) target[i] = next() % 9 ? (int64_t)(next() % (uint64_t)job.n) : -100;
    for (ptrdiff_t i = 0; i < job.n; i++)
        if (job.y_dtype == SL_FLOAT64) ((double *)weight)[i] = ldexp((double)(next() % 64), -6);
        else ((float *)weight)[i] = (float)ldexp((double)(next() % 64), -6);
    for (int i = 0; i < 6; i++) {
        sl_loss_args args = {.ignore_index = -100, .class_weight = weight, .loss = loss, .slack = 1e-6, .outside = outside};
        if (i % 2) args.target = target;
        else args.mass = job.x, args.mass_dtype = job.x_dtype;
        sl_job own = job;
        own.op = i < 2 ? SL_SOFTMAX : SL_LOG_SOFTMAX;
        own.y = x;
        if (i < 4) run(&own);
        own.op = i < 2 ? SL_LOG_LOSS : SL_NLL;
        own.x = i < 4 ? x : job.x;
        own.args = &args;
        run(&own);
        hash(i < 2 ? LOG_LOSS : NLL, loss, rows, sizeof *loss);
        hash(i < 2 ? LOG_LOSS : NLL, outside, rows, 1);
    }
    free(loss);
    free(target);
    free(outside);
    free(weight);
    free(x);
}

/* the output of softmax and of log_softmax takes the place of y */
static void vjps(sl_job job) {
    const ptrdiff_t count = job.outer * job.n * job.inner;
    void *output = job.y, *result = malloc((size_t)count * size[job.y_dtype]);
    if (!result) exit(1);
    for (int i = 0; i < 2; i++) {
        sl_job own = job;
        own.op = i ? SL_LOG_SOFTMAX : SL_SOFTMAX;
        run(&own);
        const sl_vjp_args args = {output};
        own.op = i ? SL_LOG_SOFTMAX_VJP : SL_SOFTMAX_VJP;
        own.args = &args;
        own.y = result;
        run(&own);
        hash(i ? LOG_SOFTMAX_VJP : SOFTMAX_VJP, result, count, size[job.y_dtype]);
    }
    free(result);
}

/* The loss and the gradient of a job whose y has its dtype */
static void hash_losses(const sl_elementwise_job *e, int operation) {
    sl_run_elementwise(e, 1);
    hash(operation, e->y, e->n, size[e->y_dtype]);
    hash(operation, e->loss, e->n, e->y_dtype == SL_FLOAT64 ? 8 : 4);
    hash(operation, e->sums, 64, sizeof *e->sums);
}

/* What takes the output of sigmoid, and temperatures: one, or one for each element */
static void more_elements(sl_elementwise_job e) {
    static double temperature[1 << 16];
    static unsigned char outside[64];
    const size_t bytes = (size_t)e.n * size[e.y_dtype];
    char *output = malloc(bytes);
    if (!output || e.n > 1 << 16) exit(1);
    memcpy(output, e.y, bytes);
    e.op = SL_SIGMOID_VJP;
    e.output = output;
    sl_run_elementwise(&e, 1);
    hash(SIGMOID_VJP, e.y, e.n, size[e.y_dtype]);
    const void *x = e.x;
    e.x = output;
    e.op = SL_BINARY_CROSS_ENTROPY_OF_PROBS_GRAD;
    e.outside = outside;
    hash_losses(&e, BINARY_CROSS_ENTROPY_OF_PROBS);
    e.x = x;
    e.temperature = temperature;
    for (ptrdiff_t i = 0; i < e.n; i++) temperature[i] = 0.25 + ldexp((double)(i * 37 % 1024), -8);
    for (int step = 0; step < 2; step++) {
        e.temperature_step = step;
        e.op = SL_SIGMOID;
        sl_run_elementwise(&e, 1);
        hash(ELEMENTS_WITH_TEMPERATURE, e.y, e.n, size[e.y_dtype]);
        e.op = SL_LOG_SIGMOID;
        sl_run_elementwise(&e, 1);
        hash(ELEMENTS_WITH_TEMPERATURE, e.y, e.n, size[e.y_dtype]);
        e.op = SL_BINARY_CROSS_ENTROPY_GRAD;
        hash_losses(&e, ELEMENTS_WITH_TEMPERATURE);
    }
    free(output);
}

static void elements(sl_job job) {
    const ptrdiff_t count = job.outer * job.n * job.inner;
    const int wide = job.y_dtype == SL_FLOAT64;
    char *target = malloc((size_t)count * 8), *loss = malloc((size_t)count * 8);
    if (!target || !loss) exit(1);
    for (ptrdiff_t i = 0; i < count; i++) {
        const double v = ldexp((double)(next() % 64), -6);
        if (wide) ((double *)target)[i] = v;
        else ((float *)target)[i] = (float)v;
    }
    sl_elementwise_job e = {
        .op = SL_SIGMOID, .x_dtype = job.x_dtype, .y_dtype = job.y_dtype, .x = job.x, .y = job.y, .scale = 0.5, .n = count};
    sl_run_elementwise(&e, 1);
    hash(SIGMOID, job.y, count, size[job.y_dtype]);
    double sums[64] = {0};
    sl_elementwise_job more = e;
    more.target = more.weight = more.pos_weight = target;
    more.loss = loss;
    more.sums = sums;
    more_elements(more);
    e.op = SL_LOG_SIGMOID;
    sl_run_elementwise(&e, 1);
    hash(LOG_SIGMOID, job.y, count, size[job.y_dtype]);
    if (job.x_dtype == SL_FLOAT32 || job.x_dtype == SL_FLOAT64) {
        memset(sums, 0, sizeof sums);
        e.op = SL_BINARY_CROSS_ENTROPY_GRAD;
        e.target = e.weight = e.pos_weight = target;
        e.loss = loss;
        e.sums = sums;
        for (int weights = 1; weights >= 0; weights--) {
            if (!weights) e.weight = e.pos_weight = NULL;
            sl_run_elementwise(&e, 1);
            hash(BINARY_CROSS_ENTROPY, job.y, count, size[job.y_dtype]);
            hash(BINARY_CROSS_ENTROPY, loss, count, size[job.y_dtype]);
            hash(BINARY_CROSS_ENTROPY, sums, 64, sizeof *sums);
        }
    }
    free(target);
    free(loss);
}

/* ---- selections and expectations ------------------------------------------------------------------------------ */

static void expectation(sl_job job) {
    char *values = malloc((size_t)job.n * 8);
    if (!values) exit(1);
    for (ptrdiff_t i = 0; i < job.n; i++) {
        const double v = ldexp((double)(next() % 4096), -8) - 8;
        if (job.y_dtype == SL_FLOAT64) ((double *)values)[i] = v;
        else ((float *)values)[i] = (float)v;
    }
    const sl_expectation_args args = {values};
    job.op = SL_EXPECTATION;
    job.args = &args;
    run(&job);
    hash(EXPECTATION, job.y, job.outer * job.inner, size[job.y_dtype]);
    free(values);
}

/* Several of each row, with and without replacement, in indices of 4 bytes */
static void draws(sl_job job) {
    const ptrdiff_t draws = job.n < 5 ? 1 : 5, count = job.outer * draws;
    uint32_t *index = malloc((size_t)count * sizeof *index);
    double *uniform = malloc((size_t)count * sizeof *uniform), top_p = 0.9, min_p = 0.01;
    if (!index || !uniform) exit(1);
    for (ptrdiff_t i = 0; i < count; i++) uniform[i] = ldexp((double)(i * 40503 % 65536), -16);
    sl_sample_args args = {.draws = draws, .index = {index, sizeof *index}, .uniform = uniform};
    job.op = SL_SAMPLE;
    job.args = &args;
    for (int choice = 0; choice < 4; choice++) {
        args.without_replacement = choice & 1;
        args.top_p = choice & 2 ? &top_p : NULL;
        args.min_p = choice & 2 ? &min_p : NULL;
        run(&job);
        hash(DRAWS, job.y, count, size[job.y_dtype]);
        hash(DRAWS, index, count, sizeof *index);
    }
    free(index);
    free(uniform);
}

static void selections(sl_job job) {
    const ptrdiff_t rows = job.outer * job.inner, k = job.inner > 1 ? 1 : job.n < 40 ? job.n : 40;
    const size_t width = size[job.y_dtype];
    int64_t *index = malloc((size_t)(rows * k) * 8), *rank = malloc((size_t)(rows * k) * 8);
    double *uniform = malloc((size_t)rows * sizeof *uniform), top_p = 0.9, min_p = 0.01;
    const int64_t top_k = 30;
    if (!index || !rank || !uniform) exit(1);
    for (ptrdiff_t i = 0; i < rows; i++) uniform[i] = ldexp((double)(next() % 65536), -16);
    sl_select_args args = {.k = k, .index = {index, 8}, .rank = {rank, 8}, .sorted = 1};
    job.args = &args;
    for (int i = 0; i < 2; i++) {
        job.op = i ? SL_TOPK_LOG_PROBS : SL_TOPK_PROBS;
        run(&job);
        hash(TOPK, job.y, rows * k, width);
        hash(TOPK, index, rows * k, sizeof *index);
        job.op = i ? SL_TAKE_LOG_PROBS : SL_TAKE_PROBS;
        for (ptrdiff_t j = 0; j < rows * k; j++) index[j] = (int64_t)(next() % (uint64_t)job.n);
        run(&job);
        hash(TAKE, job.y, rows * k, width);
    }
    if (job.inner == 1 && rows * k * job.n < 1 << 18) {
        job.op = SL_RANK;
        run(&job);
        hash(RANK, rank, rows * k, sizeof *rank);
    }
    job.op = SL_TOPK;
    for (int sorted = 1; sorted >= 0; sorted--) {
        args.k = sorted || job.inner > 1 ? 1 : k;
        args.sorted = sorted;
        run(&job);
        if (sorted || args.k == 1) hash(TOPK, index, rows, sizeof *index);
    }
    sl_sample_args sample = {.draws = 1, .index = {index, 8}, .uniform = uniform};
    job.op = SL_SAMPLE;
    job.args = &sample;
    for (int filters = 0; filters < 4 && job.inner == 1; filters++) {
        sample.top_k = filters & 1 ? &top_k : NULL;
        sample.top_p = filters & 2 ? &top_p : NULL;
        sample.min_p = filters == 3 ? &min_p : NULL;
        run(&job);
        hash(SAMPLE, job.y, rows, width);
        hash(SAMPLE, index, rows, sizeof *index);
    }
    free(index);
    free(rank);
    free(uniform);
    if (job.inner == 1) draws(job);
}

/* ---- entropies ------------------------------------------------------------------------------------------------- */

/* other: logits like x */
static void entropies(sl_job job, const void *other) {
    const ptrdiff_t rows = job.outer * job.inner;
    const sl_kl_args args = {other};
    job.op = SL_ENTROPY;
    run(&job);
    hash(ENTROPY, job.y, rows, size[job.y_dtype]);
    job.op = SL_KL_DIVERGENCE;
    job.args = &args;
    run(&job);
    hash(KL_DIVERGENCE, job.y, rows, size[job.y_dtype]);
    job.op = SL_SOFTMAX_HESSIAN_DIAG;
    run(&job);
    hash(HESSIAN_DIAG, job.y, rows * job.n, size[job.y_dtype]);
    check_in_place(&job, (size_t)(rows * job.n) * size[job.y_dtype]);
}
/* Logits beside those of the job: every third one off by its last bit, or all of them moved by 8 bytes */
static void fill_other_logits(const sl_job *job, int moves, char *other) {
    static const size_t widths[] = {4, 8, 2, 2, 1, 1, 2, 2, 1};
    const size_t width = widths[job->x_dtype], bytes = (size_t)(job->outer * job->n * job->inner) * width;
    const char *x = job->x;
    memcpy(other, moves ? x + 8 : x, bytes - 8);
    memcpy(other + bytes - 8, moves ? x : x + bytes - 8, 8);
    for (size_t i = 0; !moves && i < bytes; i += 3 * width) other[i ^ byte_flip(width)] ^= 1;
}

/* ---- parts of rows ---------------------------------------------------------------------------------------------- */

/* The job is one part, and all classes come twice. */
static void parts(sl_job job) {
    const ptrdiff_t rows = job.outer * job.inner, count = rows * job.n;
    double *numbers = malloc((size_t)rows * 7 * sizeof *numbers);
    sl_weight *weight = malloc((size_t)rows * sizeof *weight);
    sl_moment *moment = malloc((size_t)rows * sizeof *moment);
    if (!numbers || !weight || !moment) exit(1);
    sl_part_args args = {numbers, numbers + rows, numbers + 2 * rows, numbers + 3 * rows};
    const sl_summary summary = {weight, moment, job.temperature, job.temperature_step};
    sl_summary_job step = {.rows = rows, .statistics = args, .a = summary, .b = summary, .y = summary};
    step.log_sum = numbers + 4 * rows;
    step.logsumexp = numbers + 5 * rows;
    step.entropy = numbers + 6 * rows;
    job.op = SL_PART_STATISTICS_WITH_DEVIATION;
    job.args = &args;
    run(&job);
    for (step.step = SL_BEGIN; step.step <= SL_FINISH; step.step++) sl_run_summaries(&step, 1);
    hash(SUMMARY, weight, rows * (ptrdiff_t)(sizeof *weight / 8), 8); /* all their members are numbers of 8 bytes */
    hash(SUMMARY, moment, rows * (ptrdiff_t)(sizeof *moment / 8), 8);
    hash(SUMMARY, numbers, rows * 7, sizeof *numbers);
    for (job.op = SL_PART_SOFTMAX; job.op <= SL_PART_LOG_SOFTMAX; job.op++) {
        run(&job);
        hash(PART_SOFTMAX, job.y, count, size[job.y_dtype]);
        check_in_place(&job, (size_t)count * size[job.y_dtype]);
    }
    free(numbers);
    free(weight);
    free(moment);
}

/* ---- softmax and its kin, with and without masks and temperatures --------------------------------------------- */

static void options(sl_job job) {
    const ptrdiff_t rows = job.outer * job.inner, count = rows * job.n;
    const size_t width = size[job.y_dtype];
    unsigned char *mask = malloc((size_t)count);
    double *temperature = malloc((size_t)rows * sizeof *temperature);
    char *other = malloc((size_t)count * 8);
    if (!mask || !temperature || !other) exit(1);
    for (ptrdiff_t i = 0; i < count; i++) mask[i] = next() % 4 != 0;
    for (ptrdiff_t i = 0; i < rows; i++) temperature[i] = 0.25 + ldexp((double)(next() % 1024), -8);
    for (ptrdiff_t i = 0; i < job.n; i++) mask[i * job.inner] = 0; /* a row with nothing visible */
    for (int choice = 0; choice < 4; choice++) {
        job.mask = choice == 1 || choice == 3 ? mask : NULL;
        job.temperature = choice >= 2 ? temperature : NULL;
        job.temperature_step = choice == 3;
        job.op = SL_LOGSUMEXP;
        run(&job);
        hash(LOGSUMEXP, job.y, rows, width);
        job.op = SL_LOG_SOFTMAX;
        run(&job);
        hash(LOG_SOFTMAX, job.y, count, width);
        check_in_place(&job, (size_t)count * width);
        job.op = SL_SOFTMAX;
        run(&job);
        hash(SOFTMAX, job.y, count, width);
        check_in_place(&job, (size_t)count * width);
        job.negate = 1;
        run(&job);
        hash(SOFTMIN, job.y, count, width);
        check_in_place(&job, (size_t)count * width);
        job.negate = 0;
        fill_other_logits(&job, choice % 2, other);
        entropies(job, other);
        expectation(job);
        parts(job);
        selections(job);
        if (!choice || job.x_dtype != job.y_dtype) continue;
        const uint64_t kept = state; /* so that other operations keep their inputs */
        loss_options(job, temperature);
        state = kept;
    }
    free(other);
    free(mask);
    free(temperature);
}

static void fill(void *x, int storage, int kind, ptrdiff_t n, ptrdiff_t count) {
    for (ptrdiff_t i = 0; i < count; i++) {
        const double v = element(kind, i, n);
        if (storage == SL_FLOAT32) ((float *)x)[i] = (float)v;
        else if (storage == SL_FLOAT64) ((double *)x)[i] = v;
        else ((uint16_t *)x)[i] = (uint16_t)next(); /* any bits: subnormals, NaN, infinities */
    }
}

static void every_operation(sl_job job) {
    losses(job, 0, 4);
    const uint64_t kept = state; /* so that other operations keep their inputs */
    nll(job);
    state = kept;
    vjps(job);
    elements(job);
    options(job);
}

/* Columns of several blocks: tiles of one vector, the last of them with a single column. All operations would take minutes under qemu. */
static const ptrdiff_t column_blocks[] = {1, 4100, 17};
static void operations_on_column_blocks(sl_job job) {
    const ptrdiff_t rows = job.outer * job.inner;
    const size_t width = size[job.y_dtype];
    losses(job, 2, 3);
    job.op = SL_LOGSUMEXP;
    run(&job);
    hash(LOGSUMEXP, job.y, rows, width);
    job.op = SL_LOG_SOFTMAX;
    run(&job);
    hash(LOG_SOFTMAX, job.y, rows * job.n, width);
    job.op = SL_SOFTMAX;
    run(&job);
    hash(SOFTMAX, job.y, rows * job.n, width);
}

static void run_case(const ptrdiff_t *shape, int storage, int kind, void (*operations)(sl_job job)) {
    const ptrdiff_t count = shape[0] * shape[1] * shape[2];
    void *x = malloc((size_t)count * 8), *y = malloc((size_t)count * 8);
    if (!x || !y) exit(1);
    fill(x, storage, kind, shape[1], count);
    sl_job job = {.x_dtype = (sl_dtype)storage, .y_dtype = (sl_dtype)storage, .x = x, .y = y};
    job.outer = shape[0];
    job.n = shape[1];
    job.inner = shape[2];
    operations(job);
    if (storage == SL_FLOAT16 && kind < 5) { /* the same bits as integers */
        job.x_dtype = (sl_dtype)(SL_INT8 + kind);
        const int is_byte = job.x_dtype != SL_INT16 && job.x_dtype != SL_UINT16;
        uint16_t *pair = x;
        for (ptrdiff_t i = 0; is_byte && byte_flip(2) && i < count; i++) pair[i] = (uint16_t)(pair[i] << 8 | pair[i] >> 8);
        job.y_dtype = SL_FLOAT32;
        options(job);
    }
    free(x);
    free(y);
}

/* One shape and dtype, for each kind of input that is not in the set of bits `skipped`; prints a line for each operation if asked. */
static void run_shape(const ptrdiff_t *shape, int storage, unsigned skipped, void (*operations)(sl_job job), int prints) {
    for (int kind = 0; kind < (storage == SL_BFLOAT16 ? 1 : 6); kind++)
        if (!(skipped >> kind & 1)) run_case(shape, storage, kind, operations);
    if (!prints) return;
    char where[80];
    snprintf(where, sizeof where, " (%td, %td, %td) dtype %d", shape[0], shape[1], shape[2], storage);
    print_hashes(sl_active()->name, where);
    clear_hashes();
}

static void run_all(int few, int prints) {
    const ptrdiff_t(*const table)[3] = few ? few_shapes : shapes;
    const size_t count = few ? sizeof few_shapes / sizeof *few_shapes : sizeof shapes / sizeof *shapes;
    const unsigned skips = few ? FEW_SKIPS : LARGE_SKIPS;
    for (size_t s = 0; s < count; s++) {
        const int is_large = table[s][0] * table[s][1] * table[s][2] >= (few ? LARGE_OF_FEW : LARGE);
        for (int storage = SL_FLOAT32; storage <= SL_BFLOAT16; storage++)
            run_shape(table[s], storage, is_large ? skips : 0, every_operation, prints);
    }
    for (int storage = SL_FLOAT32; storage <= SL_FLOAT64; storage++)
        run_shape(column_blocks, storage, skips, operations_on_column_blocks, prints);
}

int main(int argc, char **argv) {
    const char *const what = argc > 1 ? argv[1] : "";
    const int few = !strcmp(what, "few"), prints = !strcmp(what, "each");
    if (argc > 2 || (argc > 1 && !few && !prints)) {
        fprintf(stderr, "usage: bits [few | each]\n");
        return 2;
    }
    for (int path = 0; path < sl_isa_count(); path++) {
        sl_use_isa(sl_isa_name(path));
        state = 1;
        clear_hashes();
        run_all(few, prints);
        if (!prints) print_hashes(sl_isa_name(path), "");
    }
    return 0;
}
