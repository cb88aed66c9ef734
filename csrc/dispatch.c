/* dispatch.c: choose. Which kernels this processor and its operating system can run. The only place that asks the CPU.
   It knows nothing of what the kernels compute. */
#include <stdatomic.h>
#include <string.h>

#include "softlane.h"

#ifdef SL_X86
#if defined(_MSC_VER)
#include <intrin.h>
static void cpuid(unsigned leaf, unsigned r[4]) { __cpuidex((int *)r, (int)leaf, 0); }
static uint64_t xcr0(void) { return _xgetbv(0); }
#else
#include <cpuid.h>
static void cpuid(unsigned leaf, unsigned r[4]) {
    if (!__get_cpuid_count(leaf, 0, &r[0], &r[1], &r[2], &r[3])) memset(r, 0, 4 * sizeof r[0]);
}
static uint64_t xcr0(void) {
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return ((uint64_t)high << 32) | low;
}
#endif

static int bit(unsigned word, int i) { return (int)(word >> i & 1u); }

/* A processor feature counts only where the operating system saves the registers that it uses. */
static void probe_x86(int *avx2, int *avx512) {
    unsigned one[4], seven[4];
    *avx2 = *avx512 = 0;
    cpuid(1, one);
    if (!bit(one[2], 27)) return; /* OSXSAVE: xgetbv may be executed */
    const uint64_t saved = xcr0();
    cpuid(7, seven);
    *avx2 = (saved & 0x06) == 0x06            /* xmm, ymm */
            && bit(one[2], 28)                /* AVX */
            && bit(one[2], 12)                /* FMA */
            && bit(one[2], 29)                /* F16C */
            && bit(seven[1], 5);              /* AVX2 */
    *avx512 = *avx2 && (saved & 0xE0) == 0xE0 /* mask registers, upper halves of zmm0-15, zmm16-31 */
              && bit(seven[1], 16)            /* F */
              && bit(seven[1], 17)            /* DQ */
              && bit(seven[1], 30)            /* BW */
              && bit(seven[1], 31);           /* VL */
}
#endif

/* isa/<isa>_f64.c; that of another architecture is empty, and not in probe */
extern const sl_isa sl_portable, sl_avx2, sl_avx512, sl_neon;

static const sl_isa *available[4]; /* best first */
static int count;
static _Atomic(const sl_isa *) active; /* tests change it */

static void probe(void) {
    if (count) return;
#ifdef SL_X86
    int avx2, avx512;
    probe_x86(&avx2, &avx512);
    if (avx512) available[count++] = &sl_avx512;
    if (avx2) available[count++] = &sl_avx2;
#endif
#ifdef SL_ARM
    available[count++] = &sl_neon;
#endif
    available[count++] = &sl_portable;
    active = available[0];
}

int sl_isa_count(void) {
    probe();
    return count;
}
const char *sl_isa_name(int i) {
    probe();
    return available[i]->name;
}
const sl_isa *sl_active(void) { return active; }

int sl_use_isa(const char *name) {
    probe();
    for (int i = 0; i < count; i++)
        if (!strcmp(available[i]->name, name)) {
            active = available[i];
            return 0;
        }
    return -1;
}
