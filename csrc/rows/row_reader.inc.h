/* row_reader.inc.h: rows as panels, on their way from x to y. A panel is the same block of classes of up to LANES rows, with the classes of
   each row side by side: in place, converted into scratch, or transposed into scratch. It knows no operation. */
#ifndef SL_ROW_READER_INC
#define SL_ROW_READER_INC
#include "rows/blocks.inc.h"
#include "rows/row_kernels.inc.h"
#include "rows/transpose.inc.h"

struct panel {
    ptrdiff_t row; /* lane i has row number row + i of the job */
    int rows;
    ptrdiff_t first_class, n;
    const real *x;
    real *e;                          /* where e(x) goes, or NULL */
    real *y;                          /* where results go: y of the job, or scratch */
    ptrdiff_t x_step, e_step, y_step; /* from one lane to the next */
};

/* Rows of up to SL_BLOCK classes: a panel is a group of rows. Longer rows: a group is one row (or the columns of one outer index), and
   has a panel for each block. */
struct row_reader {
    const sl_job *job;
    const struct op *op;
    struct source source;
    int native, converts_ahead, transposes, is_long;
    ptrdiff_t rows_per_group, stride; /* of a full group; from one row to the next in scratch */
    ptrdiff_t end;                    /* the row (long: the block) after the last one */
    real *buffer, *next_buffer;       /* LANES rows for this panel and for the next one; NULL where not needed */
    real *spare;                      /* one block */
    int max_known;                    /* from the panel before, which read this one along */
    real max[LANES];
};

SL_INLINE ptrdiff_t round_up(ptrdiff_t n, ptrdiff_t step) { return (n + step - 1) / step * step; }
/* Is x converted while the panel before is computed? Those dtypes need a case in rows_exp_sum_and_convert. */
static int converts_ahead(const sl_job *job, const struct op *op) {
    if (job->temperature || job->negate || job->inner > 1 || op->sums_deviation || (op->keeps_part_maxima && job->n > SL_BLOCK)) return 0;
    if (job->mask) return job->x_dtype == OWN_DTYPE;
    return job->x_dtype == SL_FLOAT16 || job->x_dtype == SL_BFLOAT16 || job->x_dtype == SL_UINT8;
}

/* What is done once for a group wants many rows. The first-level cache has to hold them with the next ones and their results, and
   with what is prefetched where the output is not cached. A loss is worth more rows, since each needs a logarithm. */
static ptrdiff_t rows_per_group(const sl_job *job, const struct op *op) {
    if (job->n > SL_BLOCK) return job->inner;
    if (job->inner > 1) return LANES / job->inner * job->inner;
    const int fits = job->n <= 256 || output_is_cached(job) || op->collect;
    const ptrdiff_t rows = (!writes_classes(op) ? 8192 : fits ? 4096 : 1024) / job->n;
    return rows < 1 ? 1 : rows > LANES ? LANES : rows;
}

/* For the units that this thread computes, at most `units` of them. end is set later. */
static void open_rows(struct row_reader *r, const sl_job *job, ptrdiff_t units, struct arena *arena) {
    const struct op *op = op_of(job);
    r->job = job;
    r->op = op;
    r->source = source_of(job);
    r->transposes = job->inner > 1;
    r->is_long = job->n > SL_BLOCK;
    r->native = x_is_native(job) && !r->transposes;
    r->converts_ahead = converts_ahead(job, op);
    r->rows_per_group = rows_per_group(job, op);
    if (!r->transposes && r->rows_per_group > units) r->rows_per_group = units;
    r->stride = round_up(r->is_long ? SL_BLOCK : job->n, LANES);
    const ptrdiff_t rows = r->rows_per_group;
    r->spare = take_reals(arena, SL_BLOCK);
    r->buffer = take_reals(arena, rows * r->stride);
    r->next_buffer = NULL;
    r->max_known = 0;
    v_store(r->max, v_set1(0)); /* for lanes without a row */
    if (r->converts_ahead || (r->transposes && rereads_x(op))) r->next_buffer = take_reals(arena, rows * r->stride);
}

SL_INLINE ptrdiff_t element_of(const struct row_reader *r, const struct panel *p, int lane) {
    return (p->row + lane) * r->job->n + p->first_class;
}

/* What is read along while panel p is computed: the panel after it, if that is as long; else p itself, in vain. */
static struct lookahead lookahead_of(struct row_reader *r, const struct panel *p) {
    const sl_job *job = r->job;
    const ptrdiff_t block = p->first_class / SL_BLOCK + 1, row = p->row + r->rows_per_group;
    ptrdiff_t rows = r->end - row, at = row * job->n;
    if (r->is_long) {
        rows = block < r->end && block_length(job, block) == SL_BLOCK;
        at = element_of(r, p, 0) + SL_BLOCK;
    }
    r->max_known = (r->native || r->converts_ahead) && rows > 0;
    if (!r->max_known) return (struct lookahead){.dtype = OWN_DTYPE, .rows = p->rows, .x = p->x, .step = p->x_step};
    struct lookahead next = {.dtype = job->x_dtype, .x = job->x, .at = at, .step = job->n, .mask = job->mask};
    next.rows = (int)(rows < p->rows ? rows : p->rows);
    if (r->converts_ahead) {
        next.to = r->next_buffer;
        next.to_step = r->stride;
    }
    return next;
}

/* The maximum of a block, and those of its parts */
static real block_max_with_parts(const real *x, ptrdiff_t n, real *part_maxima) {
    vec nan = v_set1(0);
    return v_reduce_max(part_maxima_of_block(x, n, VECTORS_PER_MAXIMUM, part_maxima, &nan));
}

/* x of the rows of a panel, and, if finds_max is set, their maxima to r->max. part_maxima: of one long row, or NULL */
static void load_panel(struct row_reader *r, struct panel *p, int finds_max, real *part_maxima) {
    const sl_job *job = r->job;
    if (r->max_known && r->converts_ahead) { /* the panel is in the other buffer */
        real *other = r->buffer;
        r->buffer = r->next_buffer;
        r->next_buffer = other;
    }
    p->x = r->native ? (const real *)job->x + element_of(r, p, 0) : r->buffer;
    p->x_step = r->native ? job->n : r->stride;
    for (ptrdiff_t i = 0; r->transposes && i < p->rows; i += job->inner)
        transpose_to_rows(job, start_of_row(job, p->row + i) + p->first_class * job->inner, p->n, r->buffer + i * r->stride, r->stride);
    for (int i = 0; !r->max_known && i < p->rows; i++) {
        const real *x = p->x + i * p->x_step;
        if (!r->native && !r->transposes) r->max[i] = convert_block(&r->source, element_of(r, p, i), p->n, r->buffer + i * r->stride);
        else if (finds_max && !part_maxima) r->max[i] = row_max(x, p->n);
        if (part_maxima) r->max[i] = block_max_with_parts(x, p->n, part_maxima);
    }
    r->max_known = 0;
}

/* Are results written from x right after the sum, to memory that is not in a cache? */
SL_INLINE int writes_soon(const struct row_reader *r) {
    return writes_classes(r->op) && r->native && y_is_native(r->job) && !r->is_long && !output_is_cached(r->job);
}

/* Rows far from zero, one at a time */
static void sum_shifted_rows(const struct row_reader *r, const struct panel *p, vec shift_of_rows, struct rows_sum *s) {
    real shift[LANES];
    v_store(shift, shift_of_rows);
    for (s->rows = 1, s->x_step = 0; s->first < p->rows; s->first++) {
        s->x = p->x + s->first * p->x_step;
        if (shift[s->first] != 0) {
            row_shift(s->x, p->n, shift[s->first], r->spare);
            s->x = r->spare;
        }
        rows_exp_sum(s);
    }
}

/* sums[i] becomes the sum of e(x) of lane i, in LANES lanes; e goes where p->e says. The panel after this one is read along. deviations: as
   rows_sum has them, or NULL */
static void sum_panel(struct row_reader *r, const struct panel *p, const struct exp_params *params, struct pair *sums,
                      real *next_part_maxima, double (*deviations)[2]) {
    struct rows_sum s; /* field by field: zeros for all of it would cost more than a short row */
    s.first = 0;
    s.rows = p->rows;
    s.n = p->n;
    s.x = p->x;
    s.x_step = p->x_step;
    s.e = p->e;
    s.e_step = p->e_step;
    s.y = p->e || writes_soon(r) ? p->y : NULL;
    s.y_step = p->y_step;
    s.temperature = params->temperature;
    s.next = lookahead_of(r, p);
    s.next_part_maxima = r->max_known ? next_part_maxima : NULL;
    s.sums = sums;
    s.deviations = deviations;
    if (deviations) v_store(s.max, params->reduced);
    v_store(s.round_magic, params->round_magic);
    v_store(s.lower_bound, params->lower_bound);
    if (params->shifted) sum_shifted_rows(r, p, params->shift, &s);
    else rows_exp_sum(&s);
    if (r->max_known) v_store(r->max, transpose_reduce_max(s.next_max, p->rows));
}

SL_INLINE struct block block_of_x(const struct panel *p) {
    return (struct block){p->row, p->rows, p->first_class, p->n, (real *)p->x, p->x_step, 1};
}
SL_INLINE struct block block_of_y(const struct panel *p) {
    return (struct block){p->row, p->rows, p->first_class, p->n, p->y, p->y_step, 1};
}

/* Are results of 16 bits rounded where they are computed? */
SL_INLINE int maps_to_16_bits(const struct row_reader *r) {
    return !y_is_native(r->job) && writes_classes(r->op) && !r->op->patch && !r->transposes;
}

/* Results that lie in scratch, to y of the job */
static void store_panel(const struct row_reader *r, const struct panel *p) {
    const sl_job *job = r->job;
    for (ptrdiff_t i = 0; r->transposes && i < p->rows; i += job->inner)
        transpose_from_rows(job, p->y + i * p->y_step, p->y_step, start_of_row(job, p->row + i) + p->first_class * job->inner, p->n);
    for (int i = 0; !r->transposes && !y_is_native(job) && i < p->rows; i++)
        store_converted(job, element_of(r, p, i), p->n, p->y + i * p->y_step);
}

#endif
