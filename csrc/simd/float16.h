/* float16.h: convert. float16 and bfloat16 to and from float32, in integer arithmetic: the definition that the vector
   operations agree with. Rounds to nearest even, once; every NaN becomes the canonical quiet one. */
#include <stdint.h>
#include <string.h>

static inline float sl_float_of_bits(uint32_t b) {
    float f;
    memcpy(&f, &b, sizeof f);
    return f;
}
static inline uint32_t sl_bits_of_float(float f) {
    uint32_t b;
    memcpy(&b, &f, sizeof b);
    return b;
}

static inline float sl_from_float16(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, magnitude = (uint32_t)(h & 0x7FFFu) << 13;
    if (magnitude >= 0x7C00u << 13) return sl_float_of_bits(sign | 0x7F800000u | (magnitude & 0x007FFFFFu)); /* inf, NaN */
    if (magnitude >= 0x0400u << 13) return sl_float_of_bits(sign | (magnitude + (112u << 23)));
    return sl_float_of_bits(sign | sl_bits_of_float((float)(h & 0x03FFu) * 0x1p-24f)); /* subnormal */
}

static inline uint16_t sl_to_float16(float f) {
    uint32_t b = sl_bits_of_float(f), sign = (b >> 16) & 0x8000u, m = b & 0x7FFFFFFFu;
    if (m > 0x7F800000u) return 0x7E00u;
    if (m >= 0x47800000u) return (uint16_t)(sign | 0x7C00u); /* 65536 and more */
    if (m >= 0x38800000u) return (uint16_t)(sign | ((m - (112u << 23) + 0x0FFFu + ((m >> 13) & 1u)) >> 13));
    /* below the smallest normal 2^-14: the sum with 0.5 has its last bit at 2^-24, and rounds to it */
    return (uint16_t)(sign | (sl_bits_of_float(sl_float_of_bits(m) + 0.5f) - 0x3F000000u));
}

static inline float sl_from_bfloat16(uint16_t h) { return sl_float_of_bits((uint32_t)h << 16); }

static inline uint16_t sl_to_bfloat16(float f) {
    uint32_t b = sl_bits_of_float(f);
    if ((b & 0x7FFFFFFFu) > 0x7F800000u) return 0x7FC0u;
    return (uint16_t)((b + 0x7FFFu + ((b >> 16) & 1u)) >> 16);
}
