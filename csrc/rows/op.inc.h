/* op.inc.h: what an operation on rows is: a record. The layouts (by_rows, by_tiles) find the statistics of rows, call the hooks of the
   record and know no operation by name. Hooks run once per group of rows or per block, never per element. */
#ifndef SL_OP_INC
#define SL_OP_INC
#include "math/exp.inc.h"

/* What an operation makes of a class, in a second pass over the classes or for selected ones */
enum map {
    MAP_NONE,
    MAP_SCALE_EXP,   /* e * scale: a probability */
    MAP_SHIFT_LOGIT, /* (x - max) / T - log_sum: a log-probability */
    MAP_EXPECT       /* the sum of probabilities times class_values */
};

/* The same classes of some rows: class first_class + k of row first_row + i is at[i * row_step + k * class_step]. */
struct block {
    ptrdiff_t first_row, rows, first_class, classes;
    real *at;
    ptrdiff_t row_step, class_step;
};

/* What the targets of rows come to, one row per lane (ops/cross_entropy.inc.h). An ignored row has neither loss nor gradient. */
struct row_targets {
    double ignored[LANES];          /* 0 or 1 */
    double target_mass[LANES];      /* of the class that an index names; 0 without */
    double other_mass[LANES];       /* sum of the mass of classes, but for that */
    double margin[LANES];           /* sum of mass * (origin - x) * margin_unit, where origin is the maximum at the end */
    real target_logit[LANES];       /* x of the class that an index names */
    real target_gradient[LANES];    /* the gradient of that class, unless all classes have a mass */
    double row_weight[LANES];       /* where the job has weights of rows */
    double scale[LANES];            /* of the gradient: weight and temperature are in it */
    double weight_of_others[LANES]; /* scale * mass * (1 - p) of the maximum */
    real variance_of_max[LANES];    /* of SL_SOFTMAX_HESSIAN_DIAG: p (1 - p) of a class above 1/2 */
    double special[LANES];          /* NaN where the gradient of the row is NaN or, as it is ignored, 0 */
    int any_special;
};

SL_INLINE void clear_targets(struct row_targets *t) {
    double *const sums[] = {t->ignored, t->target_mass, t->other_mass, t->margin};
    for (int i = 0; i < 4; i++)
        for (int h = 0; h < HALVES; h++) f64_store(sums[i] + 8 * h, f64_set1(0.0));
    v_store(t->target_logit, v_set1(0));
}

/* With a temperature T, margins are halved until they are divided by T / 2: a difference of logits may be beyond the largest number. */
SL_INLINE double margin_unit(const sl_job *job) { return job->temperature ? 0.5 : 1; }

struct row_stats;

/* What hooks are told of a group of rows, one per lane: job rows first to first + rows */
struct row_group {
    const sl_job *job;
    ptrdiff_t first;
    int rows;
    struct exp_params params;
    struct row_stats *stats;
    struct row_targets *targets; /* unset where the operation collects none */
    const real *x;               /* all classes of lane i side by side at x + i * x_step; or NULL */
    ptrdiff_t x_step;
    const real *tile; /* class k of lane i at tile[k * tile_stride + i]; or NULL */
    ptrdiff_t tile_stride;
    const real *results;     /* of two classes: class k of lane i at results[k * LANES + i]; or NULL */
    const real *part_maxima; /* of one long row: as by_rows keeps them; or NULL */
    void *op_scratch;        /* of take_scratch */
};

struct arena;
struct op {
    enum map map;
    int visits_classes;    /* in a second pass, when the sum is known */
    int per_row;           /* y has one number for each row: stats->result */
    int needs_log;         /* log(sum / e(max)) */
    int sums_deviation;    /* stats->deviation, in the first pass; not where e is kept */
    int keeps_part_maxima; /* of long rows; not with visits_classes */
    int is_of_part;        /* x is a part of its rows: args are sl_part_args */
    int has_given_max;     /* the maxima of the whole rows are in them */
    real of_masked;        /* the result for a masked class */
    void *(*take_scratch)(const sl_job *job, struct arena *arena);
    const real *(*class_values)(const sl_job *job);                                                             /* for MAP_EXPECT */
    void (*collect)(const sl_job *job, const struct block *x, const real *origin, struct row_targets *targets); /* in the first pass */
    void (*finish)(struct row_group *group);                                                                    /* when the sum is known */
    real (*result_of_nonfinite)(const struct row_group *group, int lane);                                       /* for per_row */
    void (*run)(const sl_job *job, ptrdiff_t first, ptrdiff_t last,
                char *scratch); /* units of its own (struct strip), without the layouts */
    void (*patch)(const sl_job *job, const struct block *y, const struct row_targets *targets); /* in the second pass, after the map */
};

/* The maxima of rows first to first + rows, from those of what is in x */
SL_INLINE vec max_of_rows(const sl_job *job, const struct op *op, ptrdiff_t first, int rows, vec max) {
    real given[LANES];
    if (!op->has_given_max) return max;
    v_store(given, max);
    for (int i = 0; i < rows; i++) given[i] = (real)((const sl_part_args *)job->args)->max[first + i];
    return v_load(given);
}

SL_INLINE int scales_exp(const struct op *op) { return op->map == MAP_SCALE_EXP || op->map == MAP_EXPECT; }
SL_INLINE int keeps_exp(const struct op *op) { return scales_exp(op) && op->visits_classes; }
/* x of the job is read again when the sum is known, for confident rows: in place, e may not go to y. */
SL_INLINE int rereads_x(const struct op *op) { return op->needs_log && keeps_exp(op); }
SL_INLINE int writes_classes(const struct op *op) { return op->visits_classes && !op->per_row; } /* y is like x */

/* ---- units of operations that need no layout ------------------------------------------------------------------- */

enum { TILE_WIDTH = 256 }; /* columns that are computed together at most */

/* A unit is a row, or where inner is not 1 up to TILE_WIDTH columns of one outer index. */
struct strip {
    ptrdiff_t first, rows; /* rows of the job */
};
SL_INLINE ptrdiff_t strips_per_outer(const sl_job *job) { return (job->inner + TILE_WIDTH - 1) / TILE_WIDTH; }
SL_INLINE struct strip strip_of_unit(const sl_job *job, ptrdiff_t unit) {
    if (job->inner == 1) return (struct strip){unit, 1}; /* without the divisions, which cost as much as a short row */
    const ptrdiff_t strips = strips_per_outer(job), column = unit % strips * TILE_WIDTH, left = job->inner - column;
    return (struct strip){unit / strips * job->inner + column, left < TILE_WIDTH ? left : TILE_WIDTH};
}

/* ---- scratch memory ------------------------------------------------------------------------------------------- */

/* Takes follow each other in one piece of memory. An arena without memory finds out how much all of them need, so that size and
   use cannot differ. */
struct arena {
    char *memory; /* or NULL */
    size_t used;
};
enum { ARENA_ALIGN = 64 };

static void *arena_take(struct arena *a, size_t bytes) {
    const size_t size = (bytes + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
    char *at = a->memory ? a->memory + a->used : NULL;
    a->used += size + SL_SCRATCH_GUARD;
    if (!at) return NULL;
    sl_unpoison(at, bytes);
    sl_poison(at + bytes, size - bytes + SL_SCRATCH_GUARD);
    return at;
}
SL_INLINE real *take_reals(struct arena *a, ptrdiff_t count) { return arena_take(a, (size_t)count * sizeof(real)); }

#endif
