/* elementwise.inc.h: the kernel of all operations without rows: it cuts a job into blocks. */
#ifndef SL_ELEMENTWISE_INC
#define SL_ELEMENTWISE_INC
#include "math/convert.inc.h"
#include "ops/binary.inc.h"
#include "ops/sigmoid.inc.h"

SL_INLINE const real *reals_from(const void *array, ptrdiff_t i) { return array ? (const real *)array + i : NULL; }

/* n elements from number at on, which is in block k; those that have to be converted go into scratch. */
static struct elementwise_block block_of(const sl_elementwise_job *job, const sl_job *io, ptrdiff_t k, ptrdiff_t n, real *scratch) {
    const ptrdiff_t at = k * SL_BLOCK;
    struct elementwise_block b = {.n = n, .x = load_block(io, at, n, scratch), .scale = (real)job->scale};
    b.y = job->y ? output_at(io, at, scratch) : NULL;
    b.target = reals_from(job->target, at);
    b.weight = reals_from(job->weight, at);
    b.pos_weight = reals_from(job->pos_weight, at);
    b.temperature = job->temperature ? job->temperature + at * job->temperature_step : NULL;
    b.temperature_step = job->temperature_step;
    b.loss = job->loss ? (real *)job->loss + at : NULL;
    b.sum = job->sums ? job->sums + 2 * k : NULL;
    b.scaled_sum = job->sums && job->scaled_sums ? job->scaled_sums + k : NULL;
    b.outside = job->outside ? job->outside + k : NULL;
    if (job->output) {
        const struct source output = {job->x_dtype, 0, job->output, NULL};
        b.output = load_source(&output, at, n, scratch + SL_BLOCK); /* of float32: half of the scratch is left */
    }
    return b;
}

/* Entry of the kernel table: blocks first to last of SL_BLOCK elements. */
static void elementwise(const sl_elementwise_job *job, ptrdiff_t first, ptrdiff_t last, char *scratch) {
    const struct logistic_params logistic = logistic_params_make();
    const struct sigmoid_params sigmoid = sigmoid_params_make();
    const sl_job io = {.x_dtype = job->x_dtype, .y_dtype = job->y_dtype, .x = job->x, .y = job->y}; /* for loading and storing */
    for (ptrdiff_t k = first; k < last; k++) {
        const ptrdiff_t at = k * SL_BLOCK, n = job->n - at < SL_BLOCK ? job->n - at : SL_BLOCK;
        const struct elementwise_block b = block_of(job, &io, k, n, (real *)(void *)scratch);
        switch (job->op) {
            case SL_SIGMOID: sigmoid_block(&b, &sigmoid); break;
            case SL_LOG_SIGMOID: log_sigmoid_block(&b, &logistic); break;
            case SL_SIGMOID_VJP: sigmoid_vjp_block(&b); break;
            case SL_BINARY_CROSS_ENTROPY: binary_cross_entropy_block(&b, &logistic); break;
            case SL_BINARY_CROSS_ENTROPY_GRAD: binary_cross_entropy_grad_block(&b, &logistic); break;
            default: probs_block(&b); break; /* SL_BINARY_CROSS_ENTROPY_OF_PROBS, with the gradient or without */
        }
        if (job->y) store_converted(&io, at, n, b.y);
    }
}

#endif
