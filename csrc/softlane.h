/* softlane.h: the private C interface between the layers: what a job is, and what a table of kernels has. Declarations only.

   A job is one call: an (outer, n, inner) view in C order whose classes run along n. A row is one index of outer and inner,
   and rows are numbered in that order. What an operation means is in ops/table.inc.h. */
#ifndef SOFTLANE_H
#define SOFTLANE_H
#include <stddef.h>
#include <stdint.h>

/* All other names are hidden. */
#if defined(_WIN32)
#define SL_EXPORT __declspec(dllexport)
#else
#define SL_EXPORT __attribute__((visibility("default")))
#endif

typedef enum {
    /* y is like x */
    SL_SOFTMAX,
    SL_LOG_SOFTMAX,
    SL_SOFTMAX_HESSIAN_DIAG, /* p (1 - p) */
    /* y has one number for each row */
    SL_LOGSUMEXP,
    SL_ENTROPY,       /* of the softmax, in nats */
    SL_KL_DIVERGENCE, /* sl_kl_args */
    SL_EXPECTATION,   /* sl_expectation_args */
    /* sl_loss_args */
    SL_CROSS_ENTROPY,
    SL_CROSS_ENTROPY_GRAD, /* y is like x: the gradient */
    SL_NLL,                /* x is log-probabilities */
    SL_LOG_LOSS,           /* x is probabilities */
    /* k classes of each row: sl_select_args; y is (outer, k, inner) */
    SL_TAKE_PROBS,
    SL_TAKE_LOG_PROBS,
    SL_TOPK, /* indices alone */
    SL_TOPK_PROBS,
    SL_TOPK_LOG_PROBS,
    SL_RANK,
    SL_SAMPLE, /* sl_sample_args */
    /* vector-Jacobian products: x is the gradient of the output, y that of the input; sl_vjp_args */
    SL_SOFTMAX_VJP,
    SL_LOG_SOFTMAX_VJP,
    /* x is a part of the classes of its rows: sl_part_args */
    SL_PART_STATISTICS, /* y is not used */
    SL_PART_STATISTICS_WITH_DEVIATION,
    SL_PART_SOFTMAX, /* y is like x */
    SL_PART_LOG_SOFTMAX,
    /* sl_elementwise_job */
    SL_SIGMOID,
    SL_LOG_SIGMOID,
    SL_SIGMOID_VJP, /* x is the gradient of the output, y that of the input */
    SL_BINARY_CROSS_ENTROPY,
    SL_BINARY_CROSS_ENTROPY_GRAD,
    SL_BINARY_CROSS_ENTROPY_OF_PROBS,
    SL_BINARY_CROSS_ENTROPY_OF_PROBS_GRAD
} sl_op;

/* float64 is computed in float64, all others in float32. Results are of the first four. */
typedef enum { SL_FLOAT32, SL_FLOAT64, SL_FLOAT16, SL_BFLOAT16, SL_INT8, SL_UINT8, SL_INT16, SL_UINT16, SL_BOOL } sl_dtype;

typedef struct {
    sl_op op;
    sl_dtype x_dtype, y_dtype; /* of one compute type */
    const void *x;
    void *y; /* may be x itself, if it has the same dtype; no other overlap */
    ptrdiff_t outer, n, inner;
    const unsigned char *mask;  /* one for each element of x, 0 where it does not count; or NULL */
    const double *temperature;  /* of row r at temperature[r * temperature_step]; or NULL: all 1 */
    ptrdiff_t temperature_step; /* 0 (one for all rows) or 1 */
    int negate;                 /* are the logits -x? */
    const void *args;           /* what the operation needs besides: see sl_op */
} sl_job;

typedef struct {
    const void *values; /* n numbers of the compute type, whose mean under the probabilities is wanted */
} sl_expectation_args;

/* The target of a row is a class, or a mass for each class: one of target and mass is not NULL. SL_NLL and SL_LOG_LOSS have neither
   label smoothing nor a mask. */
typedef struct {
    const int64_t *target; /* a class for each row, in [0, n), or ignore_index */
    int64_t ignore_index;
    const void *mass; /* like x */
    sl_dtype mass_dtype;
    const void *class_weight; /* n weights of the compute type, or NULL: all 1 */
    const double *row_weight; /* one for each row: its loss and gradient are multiplied by that; 0 is as if ignored; or NULL: all 1 */
    double label_smoothing;
    const int64_t *visible; /* with label smoothing and a mask: how many classes of each row it shows (count_visible) */
    double scale;           /* the gradient is multiplied by this */
    double *loss;           /* one for each row */
    double slack;           /* SL_NLL, SL_LOG_LOSS: x so far outside its domain is taken as its end */
    unsigned char *outside; /* SL_NLL, SL_LOG_LOSS: becomes 1 for each row that has x beyond that, else 0 */
} sl_loss_args;

/* Integers of 1, 2, 4 or 8 bytes. None is negative, so that it does not matter whether they have a sign. */
typedef struct {
    void *at;
    int size; /* of each, in bytes */
} sl_indices;

/* Class j of k of row r of the job is at r * k + j of index, of y and of rank; k is 1 where inner is not. Classes have an
   order: NaN, then larger before smaller, then those that the mask hides; equals by index. */
typedef struct {
    ptrdiff_t k;
    sl_indices index; /* SL_TAKE_*, SL_RANK: which classes; SL_TOPK_*: becomes the first k in order */
    sl_indices rank;  /* SL_RANK: becomes how many classes come before */
    int sorted;       /* SL_TOPK_*: in their order, or in any */
} sl_select_args;

/* Classes of each row, drawn at random, where inner is 1. Draw j of row r is at r * draws + j of index, of uniform and of y, which
   becomes the log-probability of the class, unless it is NULL. A step is 0 (one for all rows) or 1. */
typedef struct {
    ptrdiff_t draws;         /* 1 or more for each row; not more than n without replacement */
    int without_replacement; /* no class twice. A row that has too few classes gets, for each of its draws, how many it has */
    sl_indices index;
    const double *uniform; /* in [0, 1) */
    const int64_t *top_k;  /* filters, or NULL */
    const double *top_p, *min_p;
    ptrdiff_t top_k_step, top_p_step, min_p_step;
} sl_sample_args;

typedef struct {
    const void *other; /* logits of the second distribution, like x */
} sl_kl_args;

typedef struct {
    const void *output; /* of softmax or log_softmax, like x */
} sl_vjp_args;

/* The statistics of rows, one for each: SL_PART_STATISTICS writes those of a part, the others read those of whole rows. Where max is not
   finite, others is 0; or 1 where all classes that count are at -inf. */
typedef struct {
    double *max;                 /* m; NaN where a class is */
    double *others, *others_low; /* the sum of exp((x - m) / T) over the classes but one at m, as a pair */
    double *deviation;           /* the sum of exp((x - m) / T) * (m - x); or NULL */
} sl_part_args;

/* What is known of a row after some of its classes, and the part of it that an entropy needs: ops/summary.inc.h says what digits are. */
enum { SL_DIGIT_BITS = 38, SL_WEIGHT_DIGITS = 3, SL_MOMENT_DIGITS = 4 };
#define SL_NO_DIGITS INT64_MIN
typedef struct {
    double max;
    int64_t top, digit[SL_WEIGHT_DIGITS]; /* where max is -inf: does a class count? */
} sl_weight;
typedef struct {
    int64_t top, digit[SL_MOMENT_DIGITS];
} sl_moment;
typedef struct {
    sl_weight *weight;         /* one for each row */
    sl_moment *moment;         /* the same; or NULL */
    const double *temperature; /* of row r at temperature[r * temperature_step]; or NULL: all 1 */
    ptrdiff_t temperature_step;
} sl_summary;

/* The k best classes of each row, in order (sl_select_args), as far as they have been seen: their logits and their keys. */
#define SL_MASKED_CLASS ((int64_t)1 << 62) /* a key is the index of the class, and this if a mask hides it, at -inf */
#define SL_NO_CLASS INT64_MAX              /* at -inf */
typedef struct {
    double *value;
    int64_t *key;
} sl_best;

/* A step on the summaries of rows */
typedef enum {
    SL_BEGIN, /* y becomes what the statistics of a part say */
    SL_MERGE, /* y becomes what a and b know; y_best, which is neither of the two, the k best of both */
    SL_FINISH /* the statistics of a are written, and the results that are not NULL */
} sl_summary_step;
typedef struct {
    sl_summary_step step;
    ptrdiff_t rows, k; /* k: 0 without the best classes */
    sl_part_args statistics;
    sl_summary a, b, y;
    sl_best a_best, b_best, y_best;
    double *log_sum, *logsumexp, *entropy; /* log_sum: the logarithm of the sum of exp((x - m) / T) */
} sl_summary_job;

/* A call without rows: n elements. target and the weights are of the compute type; a weight that is NULL is 1. Of the last four
   operations the first two take logits, and the others probabilities, which they clip to [0, 1]. */
typedef struct {
    sl_op op;
    sl_dtype x_dtype, y_dtype;
    const void *x, *target, *weight, *pos_weight;
    const void *output;         /* SL_SIGMOID_VJP: of sigmoid, like x */
    const double *temperature;  /* > 0, of element i at temperature[i * temperature_step]; NULL: all 1, as with probabilities and a VJP */
    ptrdiff_t temperature_step; /* 0 or 1 */
    void *y;                    /* the result, or the gradient; may be x itself, like loss, or output; NULL where losses are all */
    void *loss;                 /* one for each element, of the compute type, or NULL */
    double *sums;               /* of the losses, a pair for SL_BLOCK elements each, or NULL */
    double *scaled_sums;        /* with sums, of float64: of the losses times 2^-64, which do not overflow; one for SL_BLOCK elements */
    unsigned char *outside;     /* of probabilities, one for SL_BLOCK elements each: is any of them outside [0, 1]? */
    double scale;               /* of the gradient */
    ptrdiff_t n;
} sl_elementwise_job;

enum { SL_BLOCK = 4096 }; /* longer rows are computed in blocks of this many classes */

/* How a job is cut, and what each thread needs. Units are independent of each other. */
typedef struct {
    void (*run)(const sl_job *job, ptrdiff_t first, ptrdiff_t last, char *scratch); /* units first to last */
    ptrdiff_t units, unit_size;                                                     /* elements in a unit */
    ptrdiff_t units_per_group;                                                      /* that one step of the kernel takes */
    size_t scratch;                                                                 /* bytes for each thread */
    ptrdiff_t blocks;                                                               /* that threads may share within a unit, or 1 */
    size_t shared;                                                                  /* bytes that threads share then */
    int max_first;                                                                  /* is the maximum of a row needed before its sum? */
    int maps, stores_result;                                                        /* has row_map, row_store_result anything to do? */
} sl_partition;

/* Steps on one long row whose blocks threads share: over blocks first to last, or once for the row. rows/by_rows.inc.h has the order. */
typedef void sl_blocks_fn(const sl_job *job, ptrdiff_t row, ptrdiff_t first, ptrdiff_t last, char *shared, char *scratch);
typedef void sl_row_fn(const sl_job *job, ptrdiff_t row, char *shared, char *scratch);

/* The kernels of one instruction set and compute type */
typedef struct {
    void (*plan)(const sl_job *job, sl_partition *partition);
    sl_blocks_fn *row_max, *row_sum, *row_map;
    int (*row_find_shift)(const sl_job *job, ptrdiff_t row, char *shared, char *scratch); /* 1: row_sum has to run again */
    sl_row_fn *row_start, *row_finish, *row_store_result;
    void (*elementwise)(const sl_elementwise_job *job, ptrdiff_t first, ptrdiff_t last,
                        char *scratch); /* blocks; SL_BLOCK float64 of scratch */
} sl_kernels;

/* One instruction set. totals.inc.h and summary.inc.h have its functions. */
typedef struct {
    const char *name;
    const sl_kernels *f32, *f64;
    ptrdiff_t (*wrong_target)(const int64_t *target, ptrdiff_t count, ptrdiff_t n, int64_t ignore_index, ptrdiff_t *counted);
    double (*total_weight)(const int64_t *target, ptrdiff_t count, int64_t ignore_index, const double *weight, const double *row_weight);
    double (*total)(const double *x, ptrdiff_t count);
    void (*count_visible)(const sl_job *job, int64_t *visible);
    void (*summaries)(const sl_summary_job *job, ptrdiff_t first, ptrdiff_t last);
} sl_isa;

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
void sl_run_elementwise(const sl_elementwise_job *job, int threads);
void sl_run_summaries(const sl_summary_job *job, int threads);
int sl_may_share(ptrdiff_t elements);         /* is a call of this size worth more than one thread? */
int sl_most_threads(void);                    /* that the settings of OpenMP allow */
SL_EXPORT const char *sl_thread_engine(void); /* "pool", "openmp" or "none": a choice of the build */

/* pool.c. number: of the thread in this job; 0 is the calling thread, and all are below threads */
typedef void sl_chunk_fn(const void *job, ptrdiff_t chunk, int number);
int sl_pool_run(sl_chunk_fn *run, const void *job, ptrdiff_t chunks, int threads); /* 1; or 0: no chunk was run, there is no other thread */

#endif
