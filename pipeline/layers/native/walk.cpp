// PSConv in fp32 as one implicit matrix product that walks the dilation lattice, channels_last: forward, and the same
// walk backward for the input's gradient. As many multiplications as a plain convolution, one copy of the source.
#include <array>
#include <utility>

#include "planes.h"

using Planes32 = Planes<float, DEPTH>;
constexpr int64_t BAND = 300000;  // floats of a band: with a chunk's weights it stays in the second-level cache

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
  float* to;      // the first pixel's channel 0
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

// All pixels of a band for one chunk of output channels, in tiles of nearly equal width.
static void compute_band(const Planes32& planes, const Band<float>& band, const Chunk& chunk, const float* weights, float* y,
                         const Map& map) {
  const int phases = planes.walk.phases;
  for (int phase = 0; phase < phases * phases; ++phase) {
    const int64_t top = phase / phases, left = phase % phases;
    const int64_t columns = (map.width - left + phases - 1) / phases, step = phases * map.channels;
    const int64_t tiles = (columns + PIXELS - 1) / PIXELS;
    for (int64_t row = band.first; row < band.last && row * phases + top < map.height; ++row) {
      float* to = y + ((band.image * map.height + row * phases + top) * map.width + left) * map.channels;
      for (int64_t tile = 0; tile < tiles; ++tile) {
        const int64_t from = columns * tile / tiles, end = columns * (tile + 1) / tiles;
        COMPUTE[end - from - 1]({planes, band, chunk, chunk.phases[phase], weights, row, from, to + from * step, step});
      }
    }
  }
}

extern "C" int lanes() { return LANES; }

// Copy the dense weight, given by its strides (destination channel, source channel, tap), into the order of the visits.
extern "C" void pack(const Layer* layer, int backward, const float* weight, int64_t out, int64_t in, int64_t tap,
                     float* packed) {
  const Walk walk = make_walk(*layer, backward);
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
          if (to == 1)
            for (int k = 0; k < DEPTH; ++k)
              for (int lane = 0; lane < LANES; ++lane) place[k * step + lane] = first[k * from + lane];
          else
            for (int lane = 0; lane < LANES; ++lane)
              for (int k = 0; k < DEPTH; ++k) place[k * step + lane] = first[lane * to + k * from];
          place += LANES;
        }
      }
  }
}

// Convolve the source map x with packed weights into y; both are channels_last and of the layer's channels.
extern "C" void convolve(const Layer* layer, int backward, const float* x, const float* packed, float* y, int64_t images,
                         int64_t height, int64_t width, int64_t out_height, int64_t out_width) {
  const Walk walk = make_walk(*layer, backward);
  const Planes32 planes(walk, {images, height, width, walk.source_channels});
  const Map map{images, out_height, out_width, walk.destination_channels};
  const int64_t rows = (out_height + walk.phases - 1) / walk.phases, threads = layer->threads;
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t thread = 0; thread < threads; ++thread)
    for_bands(planes, images, rows, thread, threads, BAND, [&](const auto& bands) {
      for (const auto& band : bands) planes.fill(band, x);
      for (const Chunk& chunk : walk.chunks)
        for (const auto& band : bands) compute_band(planes, band, chunk, packed, y, map);
    });
}
