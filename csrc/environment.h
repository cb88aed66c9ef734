/* environment.h: the default floating-point environment of IEEE 754: round to nearest, subnormal numbers are kept, nothing traps. Kernels
   compute in it, whatever the thread that calls them has set. The only place that changes it. */
#ifndef SL_ENVIRONMENT_H
#define SL_ENVIRONMENT_H
#include "softlane.h"

/* Nothing that is read from memory or written to it moves across. */
#if defined(__GNUC__)
static inline void sl_keep_order(void) { __asm__ volatile("" : : : "memory"); }
#elif defined(_MSC_VER)
#include <intrin.h>
static inline void sl_keep_order(void) { _ReadWriteBarrier(); }
#endif

#if defined(SL_X86)
#include <xmmintrin.h>
typedef unsigned sl_environment;
enum { SL_MXCSR_DEFAULT = 0x1f80, SL_MXCSR_FLAGS = 0x3f };
static inline int sl_is_default(sl_environment e) { return (e & ~(unsigned)SL_MXCSR_FLAGS) == SL_MXCSR_DEFAULT; }
static inline sl_environment sl_enter_default(void) {
    const sl_environment before = _mm_getcsr();
    if (!sl_is_default(before)) _mm_setcsr(SL_MXCSR_DEFAULT);
    sl_keep_order();
    return before;
}
static inline void sl_leave_default(sl_environment before) {
    sl_keep_order();
    if (!sl_is_default(before)) _mm_setcsr(before);
}
#elif defined(__aarch64__) && !defined(_MSC_VER)
typedef uint64_t sl_environment;
static inline void sl_set_fpcr(uint64_t value) { __asm__ volatile("msr fpcr, %0" : : "r"(value)); }
static inline sl_environment sl_enter_default(void) {
    sl_environment before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    if (before) sl_set_fpcr(0);
    sl_keep_order();
    return before;
}
static inline void sl_leave_default(sl_environment before) {
    sl_keep_order();
    if (before) sl_set_fpcr(before);
}
#else
#include <fenv.h>
typedef fenv_t sl_environment;
static inline sl_environment sl_enter_default(void) {
    sl_environment before;
    fegetenv(&before);
    fesetenv(FE_DFL_ENV);
    return before;
}
static inline void sl_leave_default(sl_environment before) { fesetenv(&before); }
#endif

/* Arithmetic of a single number in that environment: volatile, as compilers take no notice of the environment. */
static inline double sl_quotient(double a, double b) {
    const sl_environment before = sl_enter_default();
    const volatile double numerator = a, denominator = b;
    const volatile double quotient = numerator / denominator;
    sl_leave_default(before);
    return quotient;
}
static inline float sl_narrow(double a) {
    const sl_environment before = sl_enter_default();
    const volatile double wide = a;
    const volatile float narrow = (float)wide;
    sl_leave_default(before);
    return narrow;
}
#endif
