/* few_classes.h: instruct. The operations load_few and store_few of instruction sets that have nothing faster than transpose: they do
   nothing. A vector header that has its own defines HAS_F32_FEW or HAS_F64_FEW. */

/* LANES rows of n contiguous classes to n columns and back, where that is faster than transpose; 0: it is not */
#ifndef HAS_F32_FEW
static inline int f32_load_few(const float *x, int n, float *column, ptrdiff_t stride) {
    (void)x, (void)n, (void)column, (void)stride;
    return 0;
}
static inline int f32_store_few(const float *column, ptrdiff_t stride, int n, float *y) {
    (void)column, (void)stride, (void)n, (void)y;
    return 0;
}
#endif
#ifndef HAS_F64_FEW
static inline int f64_load_few(const double *x, int n, double *column, ptrdiff_t stride) {
    (void)x, (void)n, (void)column, (void)stride;
    return 0;
}
static inline int f64_store_few(const double *column, ptrdiff_t stride, int n, double *y) {
    (void)column, (void)stride, (void)n, (void)y;
    return 0;
}
#endif
