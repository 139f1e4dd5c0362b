// Tiles of 16 rows of 64 bytes, AMX's own where there is AMX, and how bf16 values are brought into their order.
#pragma once
#include <cstdint>
#include <cstring>

#include "transpose.h"

typedef uint16_t Half;  // the bits of a bf16

constexpr int TILE = 16;

struct alignas(64) Config {
  uint8_t palette = 1, start = 0, reserved[14] = {};
  uint16_t bytes[16] = {};  // of a row
  uint8_t rows[16] = {};
};

// The compiler does not know that a tile reads memory: have all written before.
inline void written() { __asm__ volatile("" ::: "memory"); }

inline void release() {
#ifdef __AMX_BF16__
  _tile_release();
#endif
}

#ifndef __AMX_BF16__
// Add to each sum the products of two neighbouring values on the left, the same for all lanes, and two of each lane.
inline __m512 dot(__m512 sum, const Half* left, __m512bh right) {
  int32_t both;
  std::memcpy(&both, left, sizeof(both));
  return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_set1_epi32(both), right);
}
#endif

// Return 16 values of this pixel and of the next one, `step` further, in turns.
inline __m512i side_by_side(const Half* pixel, int64_t step) {
  const __m512i both = _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256((const __m256i*)pixel)),
                                          _mm256_loadu_si256((const __m256i*)(pixel + step)), 1);
  alignas(64) static constexpr uint16_t turns[32] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                     8,  24, 9,  25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  return _mm512_permutexvar_epi16(_mm512_load_si512(turns), both);
}
