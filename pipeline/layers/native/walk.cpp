// PSConv in fp32 as one implicit matrix product that walks the dilation lattice, channels_last: forward, and the same
// walk backward for the input's gradient. As many multiplications as a plain convolution, one copy of the source.
#include <array>
#include <utility>

#include "planes.h"
#if defined(__AVX512F__)
#include "transpose.h"
#endif

using Planes32 = Planes<float, DEPTH>;
// Measured with a second-level cache of 2 MiB, in floats. A small weight stays there as a whole, with few bands, and
// outputs are written row by row. Of a larger one a chunk stays there, and as all of it is read for each group of bands,
// these are as many more.
constexpr int64_t SMALL = 150000, SMALL_BAND = 130000, BAND = 300000, SHARE_OF_WEIGHT = 8;

// The weights of the next chunk, fetched into the second-level cache while tiles of this one are computed.
struct Ahead {
  const float *next, *end;
  int64_t lines;  // of 16 floats, for each tile
  void fetch() {
    for (int64_t line = 0; line < lines && next < end; ++line, next += 16) __builtin_prefetch(next, 0, 2);
  }
};

// Add DEPTH source channels of P neighbouring pixels times the weights of units [FROM, TO).
template <int P, int FROM, int TO>
static inline __attribute__((always_inline)) void add(Vector (&sums)[P][UNITS], const float* __restrict x,
                                                      const float* __restrict weights) {
#pragma GCC unroll 4
  for (int k = 0; k < DEPTH; ++k) {
    Vector w[UNITS];
#pragma GCC unroll 2
    for (int u = FROM; u < TO; ++u) w[u] = *(const Loose*)(weights + (k * (TO - FROM) + u - FROM) * LANES);
#pragma GCC unroll 16
    for (int p = 0; p < P; ++p) {
      const Vector value = x[p * DEPTH + k] - Vector{};  // a broadcast
#pragma GCC unroll 2
      for (int u = FROM; u < TO; ++u) sums[p][u] += value * w[u];
    }
  }
}

struct Tile {
  const Planes32& planes;
  const Band<float>& band;
  const Chunk& chunk;
  const std::vector<Visit>& visits;
  const float* weights;
  int64_t row, column;
  float* to;     // the first pixel's channel 0
  int64_t step;  // floats from pixel to pixel
};

template <int P>
static void compute(const Tile& tile) {
  Vector sums[P][UNITS] = {};
  for (const Visit& visit : tile.visits) {
    const float* x = tile.planes.at(tile.band, visit, tile.row, tile.column);
    if (!x) continue;
    const float* w = tile.weights + visit.weights;
    if (visit.units == 3) add<P, 0, 2>(sums, x, w);
    else if (visit.units == 1) add<P, 0, 1>(sums, x, w);
    else add<P, 1, 2>(sums, x, w);
  }
  for (int u = 0; u < tile.chunk.count; ++u) {
    float* to = tile.to + tile.chunk.units[u].channel;
#pragma GCC unroll 16
    for (int p = 0; p < P; ++p) *(Loose*)(to + p * tile.step) = u ? sums[p][1] : sums[p][0];
  }
}

template <int... P>
static constexpr auto by_pixels(std::integer_sequence<int, P...>) {
  return std::array<void (*)(const Tile&), sizeof...(P)>{compute<P + 1>...};
}
static constexpr auto COMPUTE = by_pixels(std::make_integer_sequence<int, PIXELS>{});

// All pixels of rows [first, last) of a band for one chunk of output channels, in tiles of nearly equal width.
static void compute_rows(const Planes32& planes, const Band<float>& band, const Chunk& chunk, const float* weights, float* y,
                         const Map& map, int64_t first, int64_t last, Ahead& ahead) {
  const int phases = planes.walk.phases;
  for (int phase = 0; phase < phases * phases; ++phase) {
    const int64_t top = phase / phases, left = phase % phases;
    const int64_t columns = (map.width - left + phases - 1) / phases, step = phases * map.channels;
    const int64_t tiles = (columns + PIXELS - 1) / PIXELS;
    for (int64_t row = first; row < last && row * phases + top < map.height; ++row) {
      float* to = y + ((band.image * map.height + row * phases + top) * map.width + left) * map.channels;
      for (int64_t tile = 0; tile < tiles; ++tile) {
        ahead.fetch();
        const int64_t from = columns * tile / tiles, end = columns * (tile + 1) / tiles;
        COMPUTE[end - from - 1]({planes, band, chunk, chunk.phases[phase], weights, row, from, to + from * step, step});
      }
    }
  }
}

// Copy a vector's weights for DEPTH source channels: place[k * step + lane] = first[lane * to + k * from].
static void copy(float* place, int64_t step, const float* first, int64_t to, int64_t from) {
#if defined(__AVX512F__)
  if (from == 1) {  // a forward pack of channels_last weights: one by one, it would cost as much as a small convolution
    __m512i block[LANES];
    for (int lane = 0; lane < LANES; ++lane) block[lane] = _mm512_loadu_si512(first + lane * to);
    transpose(block);
    for (int k = 0; k < DEPTH; ++k) _mm512_storeu_si512(place + k * step, block[k]);
    return;
  }
#endif
  if (to == 1) {
    for (int k = 0; k < DEPTH; ++k) *(Loose*)(place + k * step) = *(const Loose*)(first + k * from);
    return;
  }
  for (int lane = 0; lane < LANES; ++lane)
    for (int k = 0; k < DEPTH; ++k) place[k * step + lane] = first[lane * to + k * from];
}

// Copy the dense weight, given by its strides (destination channel, source channel, tap), into the order of the visits.
PUBLIC void pack(const Layer* layer, int backward, const float* weight, int64_t out, int64_t in, int64_t tap,
                     float* packed) {
  const Walk& walk = walk_of(*layer, backward);
  const int64_t to = backward ? in : out, from = backward ? out : in;  // strides of destination and source channels
#pragma omp parallel for num_threads(layer->threads) schedule(static)
  for (size_t c = 0; c < walk.chunks.size(); ++c) {
    const Chunk& chunk = walk.chunks[c];
    for (const auto& visits : chunk.phases)
      for (const Visit& visit : visits) {
        float* place = packed + visit.weights;
        const int64_t step = (visit.units == 3 ? 2 : 1) * LANES;
        for (int u = 0; u < chunk.count; ++u) {
          if (!(visit.units >> u & 1)) continue;
          const float* first = weight + chunk.units[u].weight * to + visit.source * from + visit.tap * tap;
          copy(place, step, first, to, from);
          place += LANES;
        }
      }
  }
}

// Convolve the source map x with packed weights into y; both are channels_last and of the layer's channels.
PUBLIC void convolve(const Layer* layer, int backward, const float* x, const float* packed, float* y, int64_t images,
                         int64_t height, int64_t width, int64_t out_height, int64_t out_width) {
  const Walk& walk = walk_of(*layer, backward);
  const Planes32 planes(walk, {images, height, width, walk.source_channels});
  const Map map{images, out_height, out_width, walk.destination_channels};
  const int64_t rows = (out_height + walk.phases - 1) / walk.phases, threads = layer->threads;
  const int64_t weight = walk.source_channels * map.channels / layer->groups * layer->size * layer->size;
  const int64_t limit = weight > SMALL ? BAND + weight / SHARE_OF_WEIGHT : SMALL_BAND;
  const int64_t chunk_weight = weight / walk.chunks.size();
  const int64_t row_tiles = walk.phases * walk.phases * ((out_width + walk.phases * PIXELS - 1) / (walk.phases * PIXELS));
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t thread = 0; thread < threads; ++thread)
    for_bands(planes, images, rows, thread, threads, limit, [&](const auto& bands) {
      for (const auto& band : bands) planes.fill(band, x);
      Ahead ahead{packed, packed, 0};
      if (weight <= SMALL) {
        for (const auto& band : bands)
          for (int64_t row = band.first; row < band.last; ++row)
            for (const Chunk& chunk : walk.chunks) compute_rows(planes, band, chunk, packed, y, map, row, row + 1, ahead);
        return;
      }
      int64_t tiles = 0;
      for (const auto& band : bands) tiles += (band.last - band.first) * row_tiles;
      for (size_t c = 0; c < walk.chunks.size(); ++c) {
        const int64_t next = chunk_weight * (c + 1);
        if (c + 1 < walk.chunks.size())
          ahead = {packed + next, packed + next + chunk_weight, chunk_weight / (16 * tiles) + 1};
        for (const auto& band : bands)
          compute_rows(planes, band, walk.chunks[c], packed, y, map, band.first, band.last, ahead);
      }
    });
}
