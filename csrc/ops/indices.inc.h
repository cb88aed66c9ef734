/* indices.inc.h: integers of the size that the caller has chosen: indices of classes, and counts of classes. None is negative. */
#ifndef SL_INDICES_INC
#define SL_INDICES_INC
#include "rows/op.inc.h"

SL_INLINE int64_t index_at(const sl_indices *a, ptrdiff_t i) {
    switch (a->size) {
        case 1: return ((const uint8_t *)a->at)[i];
        case 2: return ((const uint16_t *)a->at)[i];
        case 4: return ((const uint32_t *)a->at)[i];
        default: return ((const int64_t *)a->at)[i];
    }
}
SL_INLINE void store_index(const sl_indices *a, ptrdiff_t i, int64_t index) {
    switch (a->size) {
        case 1: ((uint8_t *)a->at)[i] = (uint8_t)index; break;
        case 2: ((uint16_t *)a->at)[i] = (uint16_t)index; break;
        case 4: ((uint32_t *)a->at)[i] = (uint32_t)index; break;
        default: ((int64_t *)a->at)[i] = index;
    }
}
/* Those from number i on */
SL_INLINE sl_indices indices_from(const sl_indices *a, ptrdiff_t i) { return (sl_indices){(char *)a->at + i * a->size, a->size}; }

#endif
