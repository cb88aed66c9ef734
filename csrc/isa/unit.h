/* unit.h: what every unit (isa/<isa>_<type>.c) includes first: system headers, and how to open a target region. No system header may
   come inside one. */
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
#define SL_NOINLINE static __declspec(noinline)
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
/* What a compiler would repeat for several callers */
#if defined(__clang__)
#define SL_NOINLINE static __attribute__((noinline))
#else
#define SL_NOINLINE static __attribute__((noinline, noclone))
#endif
SL_INLINE int sl_lowest_bit(uint64_t bits) { return __builtin_ctzll(bits); }
#endif

/* A target region: its functions may use the processor features of SL_TARGET, which a vector header defines where it needs some. MSVC
   compiles every intrinsic without. */
#define SL_PRAGMA(text) _Pragma(#text)
#if defined(__clang__)
#define SL_OPEN_TARGET(features) SL_PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function))
#define SL_CLOSE_TARGET SL_PRAGMA(clang attribute pop)
#elif defined(__GNUC__)
#define SL_OPEN_TARGET(features) SL_PRAGMA(GCC push_options) SL_PRAGMA(GCC target(features))
#define SL_CLOSE_TARGET SL_PRAGMA(GCC pop_options)
#else
#define SL_OPEN_TARGET(features)
#define SL_CLOSE_TARGET
#endif
