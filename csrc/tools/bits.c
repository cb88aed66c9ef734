/* bits.c: hash what every path of this machine computes over a fixed set of inputs, and print one line per path.

   The promise is that the hashes agree across instruction sets: `make neon` builds this program for x86-64 and for
   AArch64, runs the latter under qemu-user, and compares. Needs nothing but a C compiler:

       cc -std=c11 -O2 -ffp-contract=off csrc/tools/bits.c csrc/[a-z]*.c -Icsrc -lm -o bits

   Inputs come from an integer generator and exact scalings, so they are the same on every machine. */
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

static uint64_t hash(uint64_t h, const unsigned char *p, size_t n) { /* FNV-1a */
    for (size_t i = 0; i < n; i++) h = (h ^ p[i]) * 0x100000001B3u;
    return h;
}

static const ptrdiff_t shapes[][3] = {
    {37, 1, 1},    {200, 2, 1}, {150, 3, 1},  {40, 7, 1},  {300, 10, 1}, {33, 16, 1},  {50, 21, 1},
    {17, 32, 1},   {19, 33, 1}, {23, 80, 1},  {9, 257, 1}, {5, 1000, 1}, {2, 4096, 1}, {3, 4097, 1},
    {1, 20000, 1}, {2, 5, 3},   {3, 21, 100}, {2, 16, 33}, {1, 300, 17}, {1, 4100, 5}, {1, 4100, 40},
};

static const size_t size[] = {4, 8, 2, 2};

/* The losses of x, and what takes arrays beside it: weights, targets, the output of softmax. */
static uint64_t losses(uint64_t h, sl_job job) {
    const ptrdiff_t rows = job.outer * job.inner, count = rows * job.n;
    const int wide = job.y_storage == SL_FLOAT64;
    double *loss = malloc((size_t)(count + job.n) * 16 + (size_t)rows * 16);
    if (!loss) exit(1);
    int64_t *target = (int64_t *)(loss + rows);
    char *dense = (char *)(target + rows), *weight, *other = dense + 8 * (count + job.n);
    for (ptrdiff_t i = 0; i < rows; i++) target[i] = next() % 9 ? (int64_t)(next() % (uint64_t)job.n) : -100;
    for (ptrdiff_t i = 0; i < count + job.n; i++) {
        const double v = ldexp((double)(next() % 64), -6);
        if (wide) ((double *)dense)[i] = v;
        else ((float *)dense)[i] = (float)v;
    }
    weight = dense + (wide ? 8 : 4) * count;
    for (int kind = 0; kind < 4; kind++) {
        const sl_loss l = {kind % 2 ? NULL : target,
                           -100,
                           kind % 2 ? dense : NULL,
                           wide ? SL_FLOAT64 : SL_FLOAT32,
                           kind > 1 ? weight : NULL,
                           kind > 1 ? 0.125 : 0,
                           0.25,
                           loss,
                           0,
                           job.n,
                           job.inner};
        job.loss = &l;
        for (int op = SL_CROSS_ENTROPY; op <= SL_CROSS_ENTROPY_GRAD; op++) {
            job.op = (sl_op)op;
            if (sl_run(&job, 1)) exit(1);
            h = hash(h, (unsigned char *)loss, (size_t)rows * sizeof *loss);
        }
        h = hash(h, job.y, (size_t)count * size[job.y_storage]);
    }
    job.loss = NULL;
    job.op = SL_SOFTMAX;
    job.output = NULL;
    if (sl_run(&job, 1)) exit(1);
    job.output = job.y;
    job.y = other;
    for (int op = SL_SOFTMAX_GRAD; op <= SL_LOG_SOFTMAX_GRAD; op++) {
        job.op = (sl_op)op;
        if (sl_run(&job, 1)) exit(1);
        h = hash(h, job.y, (size_t)count * size[job.y_storage]);
    }
    for (int op = SL_SIGMOID; op <= SL_BINARY_CROSS_ENTROPY; op++) {
        memset(loss, 0, (size_t)rows * sizeof *loss);
        sl_elements e = {(sl_op)op, job.x_storage, job.y_storage, job.x, dense, NULL, NULL, other, NULL, NULL, 0.5, count};
        if (op == SL_BINARY_CROSS_ENTROPY) e.weight = e.pos_weight = dense;
        double sums[64] = {0};
        if (op == SL_BINARY_CROSS_ENTROPY) e.sums = sums;
        sl_run_elements(&e, 1);
        h = hash(h, (unsigned char *)other, (size_t)count * size[job.y_storage]);
        h = hash(h, (unsigned char *)sums, sizeof sums);
    }
    free(loss);
    return h;
}

/* Classes chosen from the rows, and the means of values. */
static uint64_t choices(uint64_t h, sl_job job) {
    const ptrdiff_t rows = job.outer * job.inner, k = job.inner > 1 ? 1 : job.n < 40 ? job.n : 40;
    const size_t width = (size_t)size[job.y_storage];
    int64_t *index = malloc((size_t)(rows * k) * sizeof *index), *rank = malloc((size_t)(rows * k) * sizeof *rank);
    double *uniform = malloc((size_t)rows * sizeof *uniform), top_p = 0.9, min_p = 0.01;
    const int64_t top_k = 30;
    char *values = malloc((size_t)job.n * 8);
    if (!index || !rank || !uniform || !values) exit(1);
    for (ptrdiff_t i = 0; i < rows; i++) uniform[i] = ldexp((double)(next() % 65536), -16);
    for (ptrdiff_t i = 0; i < job.n; i++) {
        const double v = ldexp((double)(next() % 4096), -8) - 8;
        if (job.y_storage == SL_FLOAT64) ((double *)values)[i] = v;
        else ((float *)values)[i] = (float)v;
    }
    job.op = SL_SOFTMAX;
    if (job.n <= SL_BLOCK || job.inner == 1) {
        job.values = values;
        if (sl_run(&job, 1)) exit(1);
        h = hash(h, job.y, (size_t)rows * width);
        job.values = NULL;
    }
    sl_choice c = {.how = SL_LARGEST, .k = k, .index = index, .rank = rank, .sorted = 1, .uniform = uniform};
    job.choice = &c;
    for (int op = SL_SOFTMAX; op <= SL_LOG_SOFTMAX; op++)
        for (int how = SL_LARGEST; how >= SL_GIVEN; how--) {
            job.op = (sl_op)op;
            c.how = (sl_choosing)how;
            if (sl_run(&job, 1)) exit(1);
            h = hash(h, job.y, (size_t)(rows * k) * width);
            h = hash(h, (unsigned char *)index, (size_t)(rows * k) * sizeof *index);
        }
    c.how = SL_RANK;
    if (job.inner == 1 && rows * k * job.n < 1 << 22) {
        if (sl_run(&job, 1)) exit(1);
        h = hash(h, (unsigned char *)rank, (size_t)(rows * k) * sizeof *rank);
    }
    c.how = SL_DRAWN;
    c.k = 1;
    for (int filters = 0; filters < 4 && job.inner == 1; filters++) {
        c.top_k = filters & 1 ? &top_k : NULL;
        c.top_p = filters & 2 ? &top_p : NULL;
        c.min_p = filters == 3 ? &min_p : NULL;
        if (sl_run(&job, 1)) exit(1);
        h = hash(h, job.y, (size_t)rows * width);
        h = hash(h, (unsigned char *)index, (size_t)rows * sizeof *index);
    }
    free(index);
    free(rank);
    free(uniform);
    free(values);
    return h;
}

/* Masks, temperatures and small integers, through the first three operations and the choices. */
static uint64_t options(uint64_t h, sl_job job) {
    const ptrdiff_t rows = job.outer * job.inner, count = rows * job.n;
    unsigned char *mask = malloc((size_t)count);
    double *temperature = malloc((size_t)rows * sizeof *temperature);
    if (!mask || !temperature) exit(1);
    for (ptrdiff_t i = 0; i < count; i++) mask[i] = next() % 4 != 0;
    for (ptrdiff_t i = 0; i < rows; i++) temperature[i] = 0.25 + ldexp((double)(next() % 1024), -8);
    for (int choice = 0; choice < 4; choice++) {
        for (int op = SL_SOFTMAX; op <= SL_LOGSUMEXP; op++) {
            job.op = (sl_op)op;
            job.mask = choice == 1 || choice == 3 ? mask : NULL;
            job.temperature = choice >= 2 ? temperature : NULL;
            job.temperature_step = choice == 3;
            if (sl_run(&job, 1)) exit(1);
            h = hash(h, job.y, (size_t)(op == SL_LOGSUMEXP ? rows : count) * size[job.y_storage]);
        }
        h = choices(h, job);
    }
    free(mask);
    free(temperature);
    return h;
}

int main(void) {
    for (int path = 0; path < sl_isa_count(); path++) {
        sl_use_isa(sl_isa_name(path));
        uint64_t h = 0xCBF29CE484222325u;
        state = 1;
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
            for (int storage = SL_FLOAT32; storage <= SL_BFLOAT16; storage++)
                for (int kind = 0; kind < 6; kind++) {
                    const ptrdiff_t outer = shapes[s][0], n = shapes[s][1], inner = shapes[s][2], count = outer * n * inner;
                    void *x = malloc((size_t)count * 8), *y = malloc((size_t)count * 8);
                    if (!x || !y) return 1;
                    for (ptrdiff_t i = 0; i < count; i++) {
                        const double v = element(kind, i, n);
                        if (storage == SL_FLOAT32) ((float *)x)[i] = (float)v;
                        else if (storage == SL_FLOAT64) ((double *)x)[i] = v;
                        else ((uint16_t *)x)[i] = (uint16_t)next(); /* any bits: subnormals, NaN, infinities */
                    }
                    sl_job job = {.x_storage = (sl_storage)storage,
                                  .y_storage = (sl_storage)storage,
                                  .x = x,
                                  .y = y,
                                  .outer = outer,
                                  .n = n,
                                  .inner = inner};
                    h = losses(h, job);
                    h = options(h, job);
                    if (storage == SL_FLOAT16 && kind < 5) { /* the same bits as integers */
                        job.x_storage = (sl_storage)(SL_INT8 + kind);
                        job.y_storage = SL_FLOAT32;
                        h = options(h, job);
                    }
                    free(x);
                    free(y);
                }
        printf("%s %016llx\n", sl_isa_name(path), (unsigned long long)h);
    }
    return 0;
}
