// The same walk as walk.cpp in bf16, with AMX or else AVX512-BF16: tiles of 16 pixels by 16 outputs, sums in fp32.
// Weights are packed with neighbouring source channels in pairs: [units, D / 2, LANES, 2].
#include "planes.h"

#ifdef __AVX512BF16__
#include <sys/syscall.h>
#include <unistd.h>

#include "tiles.h"

constexpr int64_t BAND = 500000;  // values of a band

#ifdef __AMX_BF16__
// Tiles 0 to 3: sums of (row of pixels, unit). 4 and 5: pixels of two rows. 6 and 7: weights of two units.
template <int D>
static void configure(int pixels) {
  Config config;
  for (int tile = 0; tile < 8; ++tile) {
    config.bytes[tile] = tile == 4 || tile == 5 ? 2 * D : 4 * LANES;
    config.rows[tile] = tile < 6 ? pixels : D / 2;
  }
  _tile_loadconfig(&config);
}

template <int D>
static void compute_tile(const Planes<Half, D>& planes, const Band<Half>& band, const std::vector<Visit>& visits,
                         const Half* weights, int64_t row, int64_t column, int64_t, float* sums) {
  alignas(64) static const Half zeros[TILE * D] = {};
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (const Visit& visit : visits) {
    const Half* x0 = planes.at(band, visit, row, column);
    const Half* x1 = planes.at(band, visit, row + 1, column);
    if (!x0 && !x1) continue;
    const Half* w = weights + visit.weights;
    _tile_loadd(4, x0 ? x0 : zeros, 2 * D);
    _tile_loadd(5, x1 ? x1 : zeros, 2 * D);
    if (visit.units & 1) {
      _tile_loadd(6, w, 4 * LANES);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(2, 5, 6);
      w += D * LANES;
    }
    if (visit.units & 2) {
      _tile_loadd(7, w, 4 * LANES);
      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(0, sums, 4 * LANES);
  _tile_stored(1, sums + TILE * LANES, 4 * LANES);
  _tile_stored(2, sums + 2 * TILE * LANES, 4 * LANES);
  _tile_stored(3, sums + 3 * TILE * LANES, 4 * LANES);
}

#else
// Sums of a block of pixels stay in registers over all visits: up to 16 of them, 2 weights and a pair of channels.
template <int D, int ROWS>
static void compute_block(const Planes<Half, D>& planes, const Band<Half>& band, const std::vector<Visit>& visits,
                          const Half* weights, int64_t row, int64_t column, float* sums) {
  __m512 sum[UNITS][ROWS];
  for (auto& unit : sum)
    for (auto& one : unit) one = _mm512_setzero_ps();
  for (const Visit& visit : visits) {
    const Half* x = planes.at(band, visit, row, column);
    if (!x) continue;
    const Half* w = weights + visit.weights;
    const auto multiply = [&](auto first, auto count) {
      for (int pair = 0; pair < D; pair += 2) {
        __m512bh right[UNITS];
        for (int u = 0; u < count; ++u) right[u] = (__m512bh)_mm512_load_si512(w + u * D * LANES + pair * LANES);
        for (int p = 0; p < ROWS; ++p)
          for (int u = 0; u < count; ++u) sum[first + u][p] = dot(sum[first + u][p], x + p * D + pair, right[u]);
      }
    };
    using std::integral_constant;
    if (visit.units == 3) multiply(integral_constant<int, 0>(), integral_constant<int, 2>());
    else if (visit.units == 1) multiply(integral_constant<int, 0>(), integral_constant<int, 1>());
    else multiply(integral_constant<int, 1>(), integral_constant<int, 1>());
  }
  for (int u = 0; u < UNITS; ++u)
    for (int p = 0; p < ROWS; ++p) _mm512_store_ps(sums + (u * TILE + p) * LANES, sum[u][p]);
}

template <int D>
static void configure(int) {}

template <int D>
static void compute_tile(const Planes<Half, D>& planes, const Band<Half>& band, const std::vector<Visit>& visits,
                         const Half* weights, int64_t row, int64_t column, int64_t pixels, float* sums) {
  const int64_t blocks = (pixels + 7) / 8;
  for (int r = 0; r < 2; ++r)
    for (int64_t block = 0; block < blocks; ++block) {
      const int64_t first = pixels * block / blocks;
      float* to = sums + (r * UNITS * TILE + first) * LANES;
      const auto run = [&](auto rows) { compute_block<D, rows>(planes, band, visits, weights, row + r, column + first, to); };
      switch (pixels * (block + 1) / blocks - first) {
        case 8: run(std::integral_constant<int, 8>()); break;
        case 7: run(std::integral_constant<int, 7>()); break;
        case 6: run(std::integral_constant<int, 6>()); break;
        case 5: run(std::integral_constant<int, 5>()); break;
        case 4: run(std::integral_constant<int, 4>()); break;
        case 3: run(std::integral_constant<int, 3>()); break;
        case 2: run(std::integral_constant<int, 2>()); break;
        default: run(std::integral_constant<int, 1>());
      }
    }
}

#endif

template <int D>
static void compute_band(const Planes<Half, D>& planes, const Band<Half>& band, const Chunk& chunk, const Half* weights,
                         Half* y, const Map& map) {
  alignas(64) float sums[2 * UNITS * TILE * LANES];
  const int phases = planes.walk.phases;
  for (int phase = 0; phase < phases * phases; ++phase) {
    const int64_t top = phase / phases, left = phase % phases, step = phases * map.channels;
    const int64_t columns = (map.width - left + phases - 1) / phases;
    const int64_t rows = std::min(band.last, (map.height - top + phases - 1) / phases);
    if (!columns) continue;
    const int64_t tiles = (columns + TILE - 1) / TILE, pixels = (columns + tiles - 1) / tiles;
    configure<D>(pixels);
    for (int64_t row = band.first; row < rows; row += 2)
      for (int64_t tile = 0; tile < tiles; ++tile) {
        const int64_t column = std::min(tile * pixels, columns - pixels);  // the last one may overlap
        compute_tile<D>(planes, band, chunk.phases[phase], weights, row, column, pixels, sums);
        for (int64_t r = row; r < std::min(row + 2, rows); ++r)
          for (int u = 0; u < chunk.count; ++u) {
            const float* from = sums + ((r - row) * UNITS + u) * TILE * LANES;
            Half* to = y + ((band.image * map.height + r * phases + top) * map.width + left) * map.channels +
                       column * step + chunk.units[u].channel;
            for (int64_t p = 0; p < pixels; ++p)
              _mm256_storeu_si256((__m256i*)(to + p * step), (__m256i)_mm512_cvtneps_pbh(_mm512_load_ps(from + p * LANES)));
          }
      }
  }
}

template <int D>
static void convolve(const Layer& layer, bool backward, const Half* x, const Half* packed, Half* y, const Map& source,
                     const Map& map) {
  const Walk& walk = walk_of(layer, backward, D);
  const Planes<Half, D> planes(walk, source);
  const int64_t rows = (map.height + walk.phases - 1) / walk.phases;
#pragma omp parallel for num_threads(layer.threads) schedule(static)
  for (int64_t thread = 0; thread < layer.threads; ++thread) {
    for_bands(planes, map.images, rows, thread, layer.threads, BAND, [&](const auto& bands) {
      for (const auto& band : bands) planes.fill(band, x);
      written();
      for (const Chunk& chunk : walk.chunks)
        for (const auto& band : bands) compute_band<D>(planes, band, chunk, packed, y, map);
    });
    release();
  }
}

// Source channels of a plane: as many as a tile takes, or what blocks of 16 channels have.
static int depth(const Layer& layer, bool backward) { return (backward ? layer.height : layer.width) % 32 ? 16 : 32; }

// Ask the system for AMX, which a process may use only then.
PUBLIC int has_bf16() {
#ifdef __AMX_BF16__
  constexpr long request = 0x1023, tiles = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, request, tiles) == 0;
#else
  return 1;
#endif
}

PUBLIC void pack_bf16(const Layer* layer, int backward, const Half* weight, int64_t out, int64_t in, int64_t tap,
                          Half* packed) {
  const int d = depth(*layer, backward);
  const Walk& walk = walk_of(*layer, backward, d);
  const int64_t to = backward ? in : out, from = backward ? out : in;
#pragma omp parallel for num_threads(layer->threads) schedule(static)
  for (size_t c = 0; c < walk.chunks.size(); ++c)
    for (const auto& visits : walk.chunks[c].phases)
      for (const Visit& visit : visits) {
        Half* place = packed + visit.weights;
        for (int u = 0; u < walk.chunks[c].count; ++u) {
          if (!(visit.units >> u & 1)) continue;
          const Half* first = weight + walk.chunks[c].units[u].weight * to + visit.source * from + visit.tap * tap;
          for (int lane = 0; lane < LANES; ++lane)
            for (int k = 0; k < d; ++k) place[k / 2 * 2 * LANES + 2 * lane + k % 2] = first[lane * to + k * from];
          place += d * LANES;
        }
      }
}

PUBLIC void convolve_bf16(const Layer* layer, int backward, const Half* x, const Half* packed, Half* y,
                              int64_t images, int64_t height, int64_t width, int64_t out_height, int64_t out_width) {
  const int64_t outputs = layer->groups * layer->rows * layer->height;
  const int64_t inputs = layer->groups * layer->columns * layer->width;
  const Map source{images, height, width, backward ? outputs : inputs};
  const Map map{images, out_height, out_width, backward ? inputs : outputs};
  (depth(*layer, backward) == 32 ? convolve<32> : convolve<16>)(*layer, backward, x, packed, y, source, map);
}
#else
PUBLIC int has_bf16() { return 0; }
#endif
