/* unit.h: what every unit (isa/<isa>_<type>.c) includes before it opens its target region: no system header may come inside. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "sanitize.h"
#include "softlane.h"

enum { PREFETCH_DISTANCE = 8192 }; /* bytes between what is read or written and what is prefetched: some 300 ns of work */

#if defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>
#define SL_INLINE static __forceinline
SL_INLINE int sl_lowest_bit(uint64_t bits) {
    unsigned long place;
#if defined(_WIN64)
    _BitScanForward64(&place, bits);
#else
    if (!_BitScanForward(&place, (unsigned long)bits)) {
        _BitScanForward(&place, (unsigned long)(bits >> 32));
        place += 32;
    }
#endif
    return (int)place;
}
#else
#define SL_INLINE static inline __attribute__((always_inline))
SL_INLINE int sl_lowest_bit(uint64_t bits) { return __builtin_ctzll(bits); }
#endif
