// The weight's gradient in bf16, with AMX or else AVX512-BF16. A tile multiplies pairs of pixels: the output's gradient is transposed to
// [channel, pixel], and the input is kept twice, with pixels (0, 1), (2, 3), ... and (1, 2), (3, 4), ... side by side,
// because a tap may begin at an odd pixel. Sums are fp32 and stay in the tiles for a whole band.
#include "planes.h"

#ifdef __AVX512BF16__
#include <immintrin.h>

#include "tiles.h"

constexpr int64_t SHARED_BAND = 400000;  // values of the bands that all threads read at once
constexpr int PAIR = 2 * DEPTH, TAPS = 3;

// A band of rows: pairs of the input [plane, row, 2, pairs, DEPTH, 2], then the output's gradient [row, C_out, pixels].
struct Pairs {
  const Walk& walk;
  Map source, map;
  int64_t rows, columns, pixels, step, pairs;  // `step` pixels at once, `pixels` a row with zeros behind

  Pairs(const Walk& walk, const Map& source, const Map& map)
      : walk(walk), source(source), map(map), rows((source.height + walk.split - 1) / walk.split),
        columns((source.width + walk.split - 1) / walk.split) {
    const int64_t steps = (map.width + 2 * TILE - 1) / (2 * TILE);
    step = (map.width + 2 * steps - 1) / (2 * steps) * 2;
    pixels = steps * step;
    pairs = walk.pad + pixels / 2 + 1;
  }

  int64_t input_row() const { return source.channels * walk.split * walk.split * 2 * pairs * 2; }
  int64_t gradient_row() const { return map.channels * pixels; }
  int64_t row_size() const { return input_row() + gradient_row(); }
  int64_t size(const Band<Half>& band) const {
    return (band.high - band.low) * input_row() + (band.last - band.first) * gradient_row();
  }
  Band<Half> band(int64_t image, int64_t first, int64_t last) const {
    return {image, first, last, std::max<int64_t>(0, first + walk.low), std::min(rows, last + walk.high), nullptr};
  }

  // Return the pairs that a tap reads from a row's first pixel on, or nullptr above or below the map.
  const Half* input(const Band<Half>& band, const Visit& tap, int64_t row) const {
    row += tap.row;
    if (row < band.low || row >= band.high) return nullptr;
    const int64_t first = walk.pad + tap.column, line = tap.plane * (band.high - band.low) + row - band.low;
    return band.data + ((line * 2 + first % 2) * pairs + first / 2) * PAIR;
  }

  Half* gradient(const Band<Half>& band, int64_t row) const {
    return band.data + (band.high - band.low) * input_row() + (row - band.first) * gradient_row();
  }

  void fill(const Band<Half>& band, const Half* x, const Half* grad) const {
    std::vector<Half> line((2 * pairs + 1) * DEPTH);
    const int split = walk.split;
    for (int64_t plane = 0; plane < source.channels / DEPTH * split * split; ++plane)
      for (int64_t row = band.low; row < band.high; ++row) {
        const int part = plane % (split * split);
        const int64_t from_row = row * split + part / split, left = part % split;
        const int64_t there = from_row < source.height ? (source.width - left + split - 1) / split : 0;
        const Half* from = x + ((band.image * source.height + from_row) * source.width + left) * source.channels +
                           plane / (split * split) * DEPTH;
        std::memset(line.data(), 0, line.size() * sizeof(Half));
        for (int64_t column = 0; column < there; ++column)
          std::memcpy(line.data() + (walk.pad + column) * DEPTH, from + column * split * source.channels,
                      DEPTH * sizeof(Half));
        Half* to = band.data + (plane * (band.high - band.low) + row - band.low) * 2 * pairs * PAIR;
        for (int odd = 0; odd < 2; ++odd, to += pairs * PAIR)
          for (int64_t pair = 0; pair < pairs; ++pair)
            _mm512_storeu_si512(to + pair * PAIR, side_by_side(line.data() + (2 * pair + odd) * DEPTH, DEPTH));
      }
    for (int64_t row = band.first; row < band.last; ++row) transpose_row(grad + (band.image * map.height + row) * map.width * map.channels, gradient(band, row));
  }

  void transpose_row(const Half* from, Half* to) const {
    const __mmask16 there = (1u << step / 2) - 1;
    for (int64_t first = 0; first < pixels; first += step)
      for (int64_t channel = 0; channel < map.channels; channel += TILE) {
        __m512i block[TILE];
        for (int pair = 0; pair < TILE; ++pair) {
          const int64_t pixel = first + 2 * pair;
          const Half* at = from + pixel * map.channels + channel;
          if (2 * pair >= step || pixel >= map.width) block[pair] = _mm512_setzero_si512();
          else if (pixel + 1 < map.width) block[pair] = side_by_side(at, map.channels);
          else block[pair] = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)at));
        }
        transpose(block);
        for (int c = 0; c < TILE; ++c) _mm512_mask_storeu_epi32(to + (channel + c) * pixels + first, there, block[c]);
      }
  }
};

#ifdef __AMX_BF16__
// Tiles 0 to 2: sums of three taps. 3: the output's gradient. 4 to 6: the input for each tap.
static void configure(int step) {
  Config config;
  for (int tile = 0; tile < 7; ++tile) {
    config.bytes[tile] = tile == 3 ? 2 * step : 4 * TILE;
    config.rows[tile] = tile < 4 ? TILE : step / 2;
  }
  _tile_loadconfig(&config);
}

// Add to the kernels of TILE outputs and DEPTH inputs, for up to three taps of one row.
static void add(const Pairs& pairs, const std::vector<Band<Half>>& bands, int64_t channel, const Visit* taps, int count,
                float* to, int64_t tap, int64_t output) {
  _tile_loadd(0, to, output * 4);
  if (count > 1) _tile_loadd(1, to + tap, output * 4);
  if (count > 2) _tile_loadd(2, to + 2 * tap, output * 4);
  for (const Band<Half>& band : bands)
    for (int64_t row = band.first; row < band.last; ++row) {
      const Half* x[TAPS] = {};
      for (int t = 0; t < count; ++t) x[t] = pairs.input(band, taps[t], row);
      if (!x[0]) continue;
      const Half* grad = pairs.gradient(band, row) + channel * pairs.pixels;
      for (int64_t first = 0; first < pairs.pixels; first += pairs.step) {
        const int64_t place = first / 2 * PAIR;
        _tile_loadd(3, grad + first, pairs.pixels * 2);
        _tile_loadd(4, x[0] + place, PAIR * 2);
        _tile_dpbf16ps(0, 3, 4);
        if (count > 1) {
          _tile_loadd(5, x[1] + place, PAIR * 2);
          _tile_dpbf16ps(1, 3, 5);
        }
        if (count > 2) {
          _tile_loadd(6, x[2] + place, PAIR * 2);
          _tile_dpbf16ps(2, 3, 6);
        }
      }
    }
  _tile_stored(0, to, output * 4);
  if (count > 1) _tile_stored(1, to + tap, output * 4);
  if (count > 2) _tile_stored(2, to + 2 * tap, output * 4);
}

#else
static void configure(int) {}

// Sums of a tap stay in registers for all bands.
static void add(const Pairs& pairs, const std::vector<Band<Half>>& bands, int64_t channel, const Visit* taps, int count,
                float* to, int64_t tap, int64_t output) {
  for (int t = 0; t < count; ++t, to += tap) {
    __m512 sum[TILE];
    for (int c = 0; c < TILE; ++c) sum[c] = _mm512_loadu_ps(to + c * output);
    for (const Band<Half>& band : bands)
      for (int64_t row = band.first; row < band.last; ++row) {
        const Half* x = pairs.input(band, taps[t], row);
        if (!x) continue;
        const Half* grad = pairs.gradient(band, row) + channel * pairs.pixels;
        for (int64_t pixel = 0; pixel < pairs.pixels; pixel += 2) {
          const __m512bh right = (__m512bh)_mm512_loadu_si512(x + pixel / 2 * PAIR);
          for (int c = 0; c < TILE; ++c) sum[c] = dot(sum[c], grad + c * pairs.pixels + pixel, right);
        }
      }
    for (int c = 0; c < TILE; ++c) _mm512_storeu_ps(to + c * output, sum[c]);
  }
}
#endif

PUBLIC void weight_gradient_bf16(const Layer* layer, const Half* grad, const Half* x, float* result, int64_t images,
                                     int64_t height, int64_t width, int64_t out_height, int64_t out_width) {
  const Walk& walk = walk_of(*layer, false);
  const Map map{images, out_height, out_width, walk.destination_channels};
  const Pairs pairs(walk, {images, height, width, walk.source_channels}, map);
  for_bands(pairs, images, out_height, 0, 1, SHARED_BAND * layer->threads, [&](const auto& bands) {
#pragma omp parallel num_threads(layer->threads)
    {
#pragma omp for schedule(dynamic)
      for (size_t b = 0; b < bands.size(); ++b) pairs.fill(bands[b], x, grad);
      written();
      configure(pairs.step);
#pragma omp for schedule(dynamic)
      for (int64_t channel = 0; channel < map.channels; channel += TILE)
        for_taps(*layer, channel, TAPS, [&](const Visit* taps, int count, int64_t to, int64_t tap, int64_t output) {
          add(pairs, bands, channel, taps, count, result + to, tap, output);
        });
      release();
    }
  });
}
#endif
