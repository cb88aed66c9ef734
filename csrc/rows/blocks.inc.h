/* blocks.inc.h: the scheme of long rows, in every layout. A row of more than SL_BLOCK classes is computed in blocks. Each block has its own
   range reduction, from its own maximum, so that x is read once; they differ by a power of two, which is put right where the sums
   of blocks come together. Only rows far from zero need their maximum first: their shift has to be the same in all blocks. */
#ifndef SL_BLOCKS_INC
#define SL_BLOCKS_INC
#include "ops/table.inc.h"

SL_INLINE ptrdiff_t block_count(const sl_job *job) { return (job->n + SL_BLOCK - 1) / SL_BLOCK; }
SL_INLINE ptrdiff_t block_length(const sl_job *job, ptrdiff_t b) {
    return job->n - b * SL_BLOCK < SL_BLOCK ? job->n - b * SL_BLOCK : SL_BLOCK;
}

/* The targets of one row in one block */
struct block_targets {
    double ignored, target_mass, other_mass, margin;
    real target_logit;
};

/* Of a row in one block: the sum of e(x) * (max - x), from the block's own maximum, and that of e(x) */
struct block_deviation {
    double high, low, weight;
};

/* What the first pass keeps of the blocks of up to `rows` rows */
struct block_facts {
    ptrdiff_t blocks, rows;
    real *max;                          /* [blocks][LANES] */
    real *scale;                        /* [blocks][LANES]: of the block's e, for the range reduction of the row */
    struct block_targets *targets;      /* [blocks][rows]; NULL where the operation collects none */
    struct block_deviation *deviations; /* [blocks][rows]; NULL where the operation sums none */
};

static struct block_facts take_block_facts(const sl_job *job, ptrdiff_t rows, struct arena *arena) {
    struct block_facts f = {.blocks = block_count(job), .rows = rows};
    f.max = take_reals(arena, f.blocks * LANES);
    f.scale = take_reals(arena, f.blocks * LANES);
    if (op_of(job)->collect) f.targets = arena_take(arena, (size_t)(f.blocks * rows) * sizeof *f.targets);
    if (op_of(job)->sums_deviation) f.deviations = arena_take(arena, (size_t)(f.blocks * rows) * sizeof *f.deviations);
    return f;
}

static vec max_of_blocks(const struct block_facts *f) {
    vec m = v_set1(-INFINITY);
    for (ptrdiff_t b = 0; b < f->blocks; b++) m = v_max(v_load(f->max + b * LANES), m);
    return m;
}

/* Writes the shift of rows; are some of them far from zero? */
static int find_shift_of_rows(vec max, const struct temperature_params *temperature, ptrdiff_t rows, real *shift) {
    int any = 0;
    v_store(shift, exp_params_for_max(max, temperature).shift);
    for (ptrdiff_t i = 0; i < rows; i++) any |= shift[i] != 0;
    return any;
}

/* Finds the scale of every block, when the range reduction of the rows is known. */
SL_NOINLINE void find_block_scales(const struct block_facts *f, const struct exp_params *row, int rows) {
    for (ptrdiff_t b = 0; b < f->blocks; b++) {
        const struct exp_params own = exp_params_of_block(v_load(f->max + b * LANES), row->shift, row->temperature);
        v_store(f->scale + b * LANES, block_scale(own.k, row->k, rows));
    }
}

/* The deviations of rows, whose scales are known. What a block has from its own maximum lacks (maximum of the row - its own) e(x). */
SL_NOINLINE void add_block_deviations(const struct block_facts *f, const struct exp_params *row, ptrdiff_t rows, struct row_stats *s) {
    struct exact_sum sums[LANES] = {{0}};
    real row_max[LANES], own_max[LANES];
    v_store(row_max, row->reduced);
    for (ptrdiff_t b = 0; b < f->blocks; b++) {
        v_store(own_max, exp_params_of_block(v_load(f->max + b * LANES), row->shift, row->temperature).reduced);
        for (ptrdiff_t i = 0; i < rows; i++) {
            const struct block_deviation *d = &f->deviations[b * f->rows + i];
            const double scale = f->scale[b * LANES + i];
            exact_add(&sums[i], scale * d->high);
            exact_add(&sums[i], scale * d->low);
            exact_add_product(&sums[i], scale * d->weight, row_max[i], own_max[i]);
        }
    }
    for (ptrdiff_t i = 0; i < LANES; i++) {
        s->deviation[i] = sums[i].sum;
        s->deviation_low[i] = sums[i].low;
    }
}

/* Margins of a block are from its own maximum, or from 0 if that is not finite. */
SL_INLINE double margin_origin(const struct block_facts *f, ptrdiff_t b, ptrdiff_t lane) {
    const real max = f->max[b * LANES + lane];
    return isfinite(max) ? max : 0;
}
static void collect_block(const sl_job *job, const struct block_facts *f, const struct block *x, ptrdiff_t b) {
    struct row_targets t;
    real origin[LANES];
    for (ptrdiff_t i = 0; i < x->rows; i++) origin[i] = (real)margin_origin(f, b, i);
    clear_targets(&t);
    op_of(job)->collect(job, x, origin, &t);
    for (ptrdiff_t i = 0; i < x->rows; i++)
        f->targets[b * f->rows + i] =
            (struct block_targets){t.ignored[i], t.target_mass[i], t.other_mass[i], t.margin[i], t.target_logit[i]};
}
static void add_block_targets(const sl_job *job, const struct block_facts *f, ptrdiff_t rows, vec row_max, struct row_targets *t) {
    const double unit = margin_unit(job);
    real max[LANES];
    v_store(max, row_max);
    clear_targets(t);
    for (ptrdiff_t b = 0; b < f->blocks; b++)
        for (ptrdiff_t i = 0; i < rows; i++) {
            const struct block_targets *own = &f->targets[b * f->rows + i];
            t->ignored[i] = own->ignored;
            if (own->target_mass != 0) t->target_logit[i] = own->target_logit;
            t->target_mass[i] += own->target_mass;
            t->other_mass[i] += own->other_mass;
            t->margin[i] += own->margin;
            if (own->other_mass != 0) t->margin[i] += own->other_mass * (unit * max[i] - unit * margin_origin(f, b, i));
        }
}

#endif
