// The weight's gradient of PSConv in fp32, channels_last: each kernel sums (output's gradient) x (input, shifted by its
// tap) over all pixels. A vector holds neighbouring inputs; up to three taps of a kernel's row share an output's gradient.
#include "planes.h"

using Planes32 = Planes<float, DEPTH>;
constexpr int OUTPUTS = LANES / 2, TAPS = 3;    // sums: 8 x 3 of 32 registers, or 4 x 3 of 16
constexpr int64_t SHARED_BAND = 200000;         // floats of the bands that all threads read at once, and as many more
constexpr int64_t SHARE_OF_WEIGHT = 12;         // as this part of the weight, which is read and written for each of them

struct Strip {
  const Planes32& planes;
  const std::vector<Band<float>>& bands;
  const float* grad;
  Map map;          // of the output
  int64_t channel;  // first of OUTPUTS
  const Visit* taps;
  int lane;        // first of LANES in a plane's pixel
  float* to;       // first output's first tap
  int64_t tap, output;  // steps of `to`
};

template <int T>
static void add(const Strip& strip) {
  Vector sums[OUTPUTS][T];
#pragma GCC unroll 8
  for (int o = 0; o < OUTPUTS; ++o)
#pragma GCC unroll 3
    for (int t = 0; t < T; ++t) sums[o][t] = *(const Loose*)(strip.to + o * strip.output + t * strip.tap);
  for (const Band<float>& band : strip.bands)
    for (int64_t row = band.first; row < band.last; ++row) {
      const float* x[T];
      bool inside = true;
      for (int t = 0; t < T; ++t) {
        x[t] = strip.planes.at(band, strip.taps[t], row, 0);
        inside = inside && x[t];
      }
      if (!inside) continue;  // taps of one row of the kernel read one row of the map
      for (int t = 0; t < T; ++t) x[t] += strip.lane;
      const float* grad = strip.grad + (band.image * strip.map.height + row) * strip.map.width * strip.map.channels +
                          strip.channel;
      for (int64_t column = 0; column < strip.map.width; ++column, grad += strip.map.channels) {
        Vector value[T];
#pragma GCC unroll 3
        for (int t = 0; t < T; ++t) value[t] = *(const Loose*)(x[t] + column * DEPTH);
#pragma GCC unroll 8
        for (int o = 0; o < OUTPUTS; ++o) {
          const Vector g = grad[o] - Vector{};  // a broadcast
#pragma GCC unroll 3
          for (int t = 0; t < T; ++t) sums[o][t] += g * value[t];
        }
      }
    }
#pragma GCC unroll 8
  for (int o = 0; o < OUTPUTS; ++o)
#pragma GCC unroll 3
    for (int t = 0; t < T; ++t) *(Loose*)(strip.to + o * strip.output + t * strip.tap) = sums[o][t];
}

// Add the gradient of the weight to result [C_out, k, k, C_in / groups].
PUBLIC void weight_gradient(const Layer* layer, const float* grad, const float* x, float* result, int64_t images,
                                int64_t height, int64_t width, int64_t out_height, int64_t out_width) {
  const Walk& walk = walk_of(*layer, false);
  const Planes32 planes(walk, {images, height, width, walk.source_channels});
  const Map map{images, out_height, out_width, walk.destination_channels};
  const int64_t weight = map.channels * layer->size * layer->size * layer->columns * layer->width;
  const int64_t limit = (SHARED_BAND + weight / SHARE_OF_WEIGHT) * layer->threads;
  for_bands(planes, images, out_height, 0, 1, limit, [&](const auto& bands) {
#pragma omp parallel num_threads(layer->threads)
    {
#pragma omp for schedule(dynamic)
      for (size_t b = 0; b < bands.size(); ++b) planes.fill(bands[b], x);
#pragma omp for schedule(dynamic)
      for (int64_t channel = 0; channel < map.channels; channel += OUTPUTS)
        for_taps(*layer, channel, TAPS, [&](const Visit* taps, int count, int64_t to, int64_t tap, int64_t output) {
          for (int lane = 0; lane < DEPTH; lane += LANES) {
            const Strip strip{planes, bands, grad, map, channel, taps, lane, result + to + lane, tap, output};
            count == 3 ? add<3>(strip) : count == 2 ? add<2>(strip) : add<1>(strip);
          }
        });
    }
  });
}
