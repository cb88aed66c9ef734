/* softlane.h: the private C interface between the layers. Declarations only.

   A job is one call: an (outer, n, inner) view in C order whose classes run along n.
   softmax and log_softmax write an output of the same shape, logsumexp and expectations (outer, inner), and what is chosen
   of each row is k classes: (outer, k, inner). */
#ifndef SOFTLANE_H
#define SOFTLANE_H
#include <stddef.h>
#include <stdint.h>

typedef enum {
    SL_SOFTMAX,
    SL_LOG_SOFTMAX,
    SL_LOGSUMEXP,
    SL_CROSS_ENTROPY,
    SL_CROSS_ENTROPY_GRAD,
    SL_SOFTMAX_GRAD,
    SL_LOG_SOFTMAX_GRAD,
    SL_SIGMOID,
    SL_LOG_SIGMOID,
    SL_BINARY_CROSS_ENTROPY
} sl_op;

/* How elements lie in memory. All but float64 are computed in float32; results are of the first four. */
typedef enum { SL_FLOAT32, SL_FLOAT64, SL_FLOAT16, SL_BFLOAT16, SL_INT8, SL_UINT8, SL_INT16, SL_UINT16, SL_BOOL } sl_storage;

/* Targets and losses of cross-entropy. Rows are numbered as in (outer, inner); weight is of the compute type. */
typedef struct {
    const int64_t *target; /* a class for each row, in [0, n) or ignore; NULL: dense is there */
    int64_t ignore;
    const void *dense; /* a weight for each class of each row, an (outer, n, inner) array; or NULL */
    sl_storage dense_storage;
    const void *weight;        /* n weights, or NULL: all 1 */
    double smoothing;          /* this part of each target goes to all classes alike */
    double scale;              /* of the gradient */
    double *loss;              /* one for each row */
    ptrdiff_t first, n, inner; /* the number of the job's first row; the shape of dense */
} sl_loss;

/* Some classes of each row, in place of all: pick j of row r is at r * k + j of index, of y and of rank. They have an order:
   NaN, then larger before smaller, then those that a mask hides; equals by index. */
typedef enum {
    SL_GIVEN,   /* index says which; y becomes their probabilities (or logarithms) */
    SL_LARGEST, /* index becomes the first k in order; y as above, or NULL */
    SL_RANK,    /* index says which, rank becomes how many come before */
    SL_DRAWN    /* index becomes one drawn at random; y its log-probability, or NULL */
} sl_choosing;
typedef struct {
    sl_choosing how;
    ptrdiff_t k; /* 1 where inner is not */
    int64_t *index, *rank;
    int sorted; /* the largest: in their order, or in any */
    /* for the draw: of each row the uniform number in [0, 1), and what filters the classes. A step is 0 (one for all) or 1. */
    const double *uniform;
    const int64_t *top_k;
    const double *top_p, *min_p;
    ptrdiff_t top_k_step, top_p_step, min_p_step;
} sl_choice;

typedef struct {
    sl_op op;
    sl_storage x_storage, y_storage; /* of one compute type */
    const void *x;
    void *y; /* may be x itself, if it is of the same type; no other overlap */
    ptrdiff_t outer, n, inner;
    const unsigned char *mask;  /* one for each element of x, 0 where it does not count; or NULL */
    const double *temperature;  /* of row r at temperature[r * temperature_step]; or NULL: all 1 */
    ptrdiff_t temperature_step; /* 0 (one for all) or 1 */
    const sl_loss *loss;        /* for the cross-entropies */
    const void *output;         /* of softmax or log_softmax, for their gradients, where x is the gradient that comes in */
    const void *values;         /* n numbers of the compute type, whose mean is wanted in place of softmax; or NULL. Rows of more than
                                  SL_BLOCK then lie side by side. */
    const sl_choice *choice;
    void *memory; /* for the choice: sl_choice_bytes, of one thread */
} sl_job;

static inline int sl_scales(sl_op op) { return op == SL_SOFTMAX || op == SL_CROSS_ENTROPY_GRAD; } /* results are multiples of exp */
static inline int sl_keeps_exp(const sl_job *job) { return sl_scales(job->op) && !job->choice; }
static inline int sl_visits_classes(const sl_job *job) { /* in a last step, when the sum is known */
    return job->op != SL_LOGSUMEXP && job->op != SL_CROSS_ENTROPY && !job->choice;
}
static inline int sl_writes_rows(const sl_job *job) { return sl_visits_classes(job) && !job->values; } /* an output like x */
static inline int sl_reduces(const sl_job *job) { return job->op == SL_LOGSUMEXP || job->values; }     /* one number for each row */

/* A call without rows: n elements. target and the weights are of the compute type; a weight that is NULL is 1. */
typedef struct {
    sl_op op;
    sl_storage x_storage, y_storage;
    const void *x, *target, *weight, *pos_weight;
    void *y;      /* the result, or the gradient of the cross-entropy if it is wanted; may be x itself, like loss */
    void *loss;   /* one for each element, of the compute type, or NULL */
    double *sums; /* of the losses, one for SL_BLOCK elements each, or NULL */
    double scale; /* of the gradient */
    ptrdiff_t n;
} sl_elements;

/* The shape of the work. These numbers decide the order of summation, so changing one changes the last bits. */
enum {
    SL_SHORT = 32,                  /* rows of up to this many classes are transposed, one row per lane */
    SL_BLOCK = 4096,                /* longer rows are cut into blocks of this many classes */
    SL_TILE = 65536,                /* elements of a packed tile, while at least one vector of columns fits: 256 KiB of float32 */
    SL_TILE_WIDTH = 256,            /* columns of a packed tile at most */
    SL_MAX_SAMPLE_CANDIDATES = 1024 /* candidates of a draw in a list; more are drawn from the row itself */
};

enum {
    SL_VECTORS_PER_MAXIMUM = 16, /* vectors of a part of a row, whose maxima say whether it has one of the largest */
    SL_GROUP = 8,                /* vectors of columns that go through each step together */
    SL_CACHED = 1 << 23,         /* bytes of an output that the caches are likely to hold */
    SL_STATS = 4096,             /* bytes of sl_long's stats */
    SL_PREFETCH = 8192           /* bytes between what is read or written and what is prefetched: some 300 ns of work */
};

/* What the blocks of one long row share. The arrays have one entry, or one vector of lanes, per block. */
typedef struct {
    double shift; /* what is subtracted from x first; 0 but for rows far from zero */
    double *max;
    double *q, *spread, *distance; /* of losses.inc.h; or means of values, and what they have rounded away */
    double picked;                 /* x of the class that an index names */
    void *high, *low;
    void *maxima; /* of each lane of parts of SL_VECTORS_PER_MAXIMUM vectors, if the largest classes are wanted; or NULL */
    void *stats;  /* what finish found, for write */
} sl_long;

typedef void sl_units_fn(const sl_job *job, ptrdiff_t first, ptrdiff_t last, void *scratch);
typedef void sl_blocks_fn(const sl_job *job, ptrdiff_t row, ptrdiff_t first, ptrdiff_t last, sl_long *shared, void *scratch);

typedef void sl_elements_fn(const sl_elements *s, ptrdiff_t first, ptrdiff_t last, void *scratch);

/* The kernels of one compute type. The unit of rows and short_rows is a row, of tiles a tile, of narrow_columns an outer index,
   of choose a row, or SL_TILE_WIDTH columns of one outer index. */
typedef struct {
    sl_units_fn *short_rows, *by_rows, *by_tiles, *narrow_columns, *vjp, *select_kernel;
    sl_elements_fn *elementwise;                                                           /* in blocks of SL_BLOCK */
    sl_blocks_fn *long_max, *long_shift, *long_sum, *long_finish, *long_write, *long_mean; /* one long row; parallel.c has the order */
} sl_kernels;

/* One instruction set. totals.inc.h has the last three. */
typedef struct {
    const char *name;
    const sl_kernels *f32, *f64;
    ptrdiff_t (*wrong_target)(const int64_t *target, ptrdiff_t count, ptrdiff_t n, int64_t ignore, ptrdiff_t *counted);
    double (*total_weight)(const int64_t *target, ptrdiff_t count, int64_t ignore, const double *weight);
    double (*total)(const double *x, ptrdiff_t count);
} sl_isa;

/* isa/<isa>_f64.c; one that this compiler or architecture cannot build is empty, and absent from dispatch.c */
extern const sl_isa sl_portable, sl_avx2, sl_avx512, sl_neon;

#if defined(__x86_64__) || defined(_M_X64)
#define SL_X86 1
#elif defined(__aarch64__) || defined(_M_ARM64)
#define SL_ARM 1
#endif

/* dispatch.c */
int sl_isa_count(void);           /* paths that this build and this processor have, best first */
const char *sl_isa_name(int i);   /* 0 <= i < sl_isa_count() */
const sl_isa *sl_active(void);    /* the path in use */
int sl_use_isa(const char *name); /* 0, or -1 where the name is not available */

/* parallel.c */
int sl_run(const sl_job *job, int threads); /* 0, or -1 where memory ran out; then y has not been written to */
void sl_run_elements(const sl_elements *s, int threads);
int sl_has_openmp(void);
int sl_forked(void); /* 1 in a child of fork(): it runs serially */
void sl_init(void);

/* The form, and every order of summation, come from class count, inner length and type, never the batch. How many rows
   go together may come from the batch: no bit depends on it. */
static inline ptrdiff_t sl_row_stride(ptrdiff_t n, ptrdiff_t lanes) { return (n + lanes - 1) / lanes * lanes; }
static inline int sl_cached(const sl_job *job) {
    const size_t size = job->y_storage == SL_FLOAT64 ? 8 : job->y_storage == SL_FLOAT32 ? 4 : 2;
    return (size_t)job->outer * job->n * job->inner * size < SL_CACHED;
}

/* Does x become float32 or float64, in scratch, while the rows before it are computed? Where row_sum_and_convert is made for its type. */
static inline int sl_converts_ahead(const sl_job *job) {
    if (job->temperature || (job->choice && job->n > SL_BLOCK)) return 0; /* the choice wants maxima of parts of long rows */
    if (job->x_storage == SL_FLOAT16 || job->x_storage == SL_BFLOAT16) return 1;
    return job->mask ? job->x_storage == SL_FLOAT32 || job->x_storage == SL_FLOAT64 : job->x_storage == SL_UINT8;
}

/* What is done once for a group wants many rows, which the first-level cache has to hold with the next ones and their
   results; from memory, with what is prefetched as well. A loss is worth more rows: each needs a logarithm. */
static inline ptrdiff_t sl_rows_together(const sl_job *job, ptrdiff_t lanes) {
    const ptrdiff_t elements = !sl_writes_rows(job) ? 8192 : sl_cached(job) || job->loss ? 4096 : 1024;
    const ptrdiff_t rows = elements / job->n;
    return rows < 1 ? 1 : rows > lanes ? lanes : rows;
}
static inline ptrdiff_t sl_rows_scratch(const sl_job *job, ptrdiff_t lanes) { /* elements that the form rows needs */
    return SL_BLOCK + (1 + sl_converts_ahead(job)) * sl_rows_together(job, lanes) * sl_row_stride(job->n, lanes);
}
static inline ptrdiff_t sl_long_scratch(const sl_job *job) { return (1 + sl_converts_ahead(job)) * SL_BLOCK; } /* long rows */
static inline ptrdiff_t sl_tile_width(ptrdiff_t n, ptrdiff_t inner, ptrdiff_t lanes) {
    ptrdiff_t limit = n > 0 ? SL_TILE / n : SL_TILE_WIDTH;
    if (limit > SL_TILE_WIDTH) limit = SL_TILE_WIDTH;
    if (inner < lanes) return lanes; /* narrow: columns of several outer indices share a tile */
    if (limit > inner) limit = inner;
    limit -= limit % lanes;
    return limit > lanes ? limit : lanes;
}
static inline ptrdiff_t sl_tile_count(const sl_job *job, ptrdiff_t lanes) {
    ptrdiff_t width = sl_tile_width(job->n, job->inner, lanes);
    if (job->inner < lanes) return (job->outer * job->inner + width - 1) / width;
    return job->outer * ((job->inner + width - 1) / width);
}
/* The k largest are sought above a threshold, below k of the maxima of groups of so many vectors' lanes: some 3 k maxima at
   least, of which few groups have two of the k. Where k is most of a row, all classes are candidates. */
static inline int sl_has_threshold(ptrdiff_t n, ptrdiff_t k) { return n >= k + k / 4 + 16; }
static inline ptrdiff_t sl_vectors_per_maximum(ptrdiff_t n, ptrdiff_t k, ptrdiff_t lanes) {
    const ptrdiff_t all = (n + lanes - 1) / lanes;
    ptrdiff_t vectors = 1;
    while (vectors < all && (all + 2 * vectors - 1) / (2 * vectors) * lanes >= 3 * k) vectors *= 2;
    return vectors;
}
static inline ptrdiff_t sl_candidates(ptrdiff_t n, ptrdiff_t k) { return 2 * k + 64 < n ? 2 * k + 64 : n; }
static inline ptrdiff_t sl_listed(const sl_choice *c, ptrdiff_t n) { /* classes for which there is a list */
    const ptrdiff_t k = c->how == SL_DRAWN ? SL_MAX_SAMPLE_CANDIDATES : c->how == SL_LARGEST ? c->k : 0;
    return k < n ? k : n;
}
static inline size_t sl_entry_bytes(ptrdiff_t n, ptrdiff_t k, size_t each) { /* of the list, and as much to sort it */
    return 2 * each * (size_t)sl_candidates(n, k);
}
static inline size_t sl_maxima_bytes(ptrdiff_t n, ptrdiff_t k,
                                     ptrdiff_t lanes) { /* of parts of SL_VECTORS_PER_MAXIMUM vectors, or fewer for a large k */
    const ptrdiff_t vectors = sl_vectors_per_maximum(n, k, lanes),
                    part = (vectors < SL_VECTORS_PER_MAXIMUM ? vectors : SL_VECTORS_PER_MAXIMUM) * lanes;
    return 64 * (size_t)((n + part - 1) / part); /* a vector has 64 bytes */
}
static inline size_t sl_block_bytes(ptrdiff_t n) {
    return 8 * (size_t)(n > SL_BLOCK ? SL_BLOCK : n < SL_TILE_WIDTH ? SL_TILE_WIDTH : sl_row_stride(n, 8));
}
static inline size_t sl_choice_bytes(const sl_job *job) {
    if (!job->choice || job->choice->how == SL_GIVEN) return 0;
    const ptrdiff_t n = job->n, k = sl_listed(job->choice, n);
    const int wide = job->x_storage == SL_FLOAT64;
    size_t bytes = sl_block_bytes(n);
    if (k) bytes += sl_entry_bytes(n, k, wide ? 16 : 8) + sl_maxima_bytes(n, k, wide ? 8 : 16);
    if (job->choice->how == SL_DRAWN) bytes += 8 * (size_t)(SL_MAX_SAMPLE_CANDIDATES + sl_row_stride(n, SL_BLOCK) / SL_BLOCK);
    return bytes;
}
static inline ptrdiff_t sl_block_count(const sl_job *job) { return (job->n + SL_BLOCK - 1) / SL_BLOCK; }

#endif
