// Which source values meet which weights: a PSConv layer as a list of visits for every tile of its outputs.
//
// A convolution reads a source map and writes a destination map: input and output forward, the output's gradient and
// the input's gradient backward. With a stride one of the two maps falls into stride x stride parts, every stride-th
// row and column: forward the source (planes), backward the destination (phases). All of them then have the same number
// of rows and columns, a tap is a constant shift, and neighbouring pixels of a part are adjacent in memory.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <mutex>
#include <vector>

// All else stays inside: two kernels in one process, for other instructions, must not share what they keep.
#define PUBLIC extern "C" __attribute__((visibility("default")))

#if defined(__AVX512F__)
constexpr int LANES = 16, PIXELS = 14;  // outputs a vector; pixels of a tile: 28 sums, 2 weights and 2 inputs in 32 registers
#else
constexpr int LANES = 8, PIXELS = 6;  // 12 sums, 2 weights and 1 input in 16 registers
#endif
typedef float Vector __attribute__((vector_size(LANES * 4)));
typedef float Loose __attribute__((vector_size(LANES * 4), aligned(4)));  // at any address

constexpr int UNITS = 2;   // vectors of outputs in a tile
constexpr int DEPTH = 16;  // source channels of a plane in fp32

// The lattice in blocks of channels; pipeline/layers/native/kernel.py has the same fields.
struct Layer {
  int64_t groups, rows, columns;  // row blocks (outputs) and column blocks (inputs) of a group
  int64_t height, width;          // channels of a row block and of a column block
  int64_t size, stride, threads;  // kernel size, stride, threads
  const int32_t* dilations;       // [rows, columns]
  int dilation(int row, int column) const { return dilations[row * columns + column]; }
};

struct Unit {  // one vector of outputs
  int channel;  // of the destination
  int weight;   // the same channel along the weight's dimension: inputs are counted in a group
  int block;
};

struct Visit {
  int32_t plane, row, column;  // where to read, relative to the output's row and column of its phase
  int32_t units;               // bits: which of the chunk's units
  int32_t source, tap;         // of the weight
  int64_t weights;             // where the packed weights of a plane's channels stand
};

struct Chunk {
  int count;
  Unit units[UNITS];
  std::vector<std::vector<Visit>> phases;  // [phases * phases]
};

struct Walk {
  int64_t source_channels, destination_channels;
  int split, phases;  // the source's planes and the destination's phases along one axis
  int low, high;      // rows that visits reach before and after their own
  int pad;            // columns, on both sides
  std::vector<Chunk> chunks;
};

inline int floor_divide(int a, int b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }

// Units of one block share their dilations; units that are left over are paired with each other.
inline std::vector<std::vector<Unit>> paired_units(int first, int weight, int blocks, int channels) {
  std::vector<std::vector<Unit>> pairs;
  std::vector<Unit> left;
  for (int block = 0; block < blocks; ++block) {
    int place = block * channels, end = place + channels;
    for (; place + UNITS * LANES <= end; place += UNITS * LANES)
      pairs.push_back({{first + place, weight + place, block}, {first + place + LANES, weight + place + LANES, block}});
    if (place < end) left.push_back({first + place, weight + place, block});
  }
  // Two blocks apart first: in the pattern (1, 2, 1, 4) they share dilation 1.
  while (!left.empty()) {
    Unit unit = left.front();
    left.erase(left.begin());
    size_t other = 0;
    while (other < left.size() && left[other].block != unit.block + 2) ++other;
    if (other == left.size()) other = 0;
    if (left.empty()) pairs.push_back({unit});
    else {
      pairs.push_back({unit, left[other]});
      left.erase(left.begin() + other);
    }
  }
  return pairs;
}

inline Walk make_walk(const Layer& layer, bool backward, int depth) {
  const int size = layer.size, stride = layer.stride;
  const int blocks = backward ? layer.columns : layer.rows, channels = backward ? layer.width : layer.height;
  const int source_blocks = backward ? layer.rows : layer.columns;
  const int source_channels = backward ? layer.height : layer.width;
  Walk walk{layer.groups * source_blocks * source_channels, layer.groups * blocks * channels,
            backward ? 1 : stride, backward ? stride : 1, 0, 0, 0, {}};
  const int phases = walk.phases, split = walk.split;
  int64_t weights = 0;
  for (int group = 0; group < layer.groups; ++group) {
    const int first = group * blocks * channels, source_first = group * source_blocks * source_channels;
    for (auto& units : paired_units(first, backward ? 0 : first, blocks, channels)) {
      Chunk chunk{(int)units.size(), {}, {}};
      for (int u = 0; u < chunk.count; ++u) chunk.units[u] = units[u];
      auto dilation = [&](int u, int s) {
        return backward ? layer.dilation(s, chunk.units[u].block) : layer.dilation(chunk.units[u].block, s);
      };
      for (int phase = 0; phase < phases * phases; ++phase) {
        std::vector<Visit> visits;
        for (int s = 0; s < source_blocks; ++s)
          for (int part = 0; part < source_channels; part += depth) {
            const int source = s * source_channels + part, plane = (source_first + source) / depth;
            auto visit = [&](int d, int mask, int wide) {
              for (int tap = 0; tap < size * size; ++tap) {
                const int down = (tap / size - size / 2) * d, across = (tap % size - size / 2) * d;
                int row, column, of = plane;
                if (backward) {  // source row * stride + down = destination row
                  if ((phase / phases - down) % phases || (phase % phases - across) % phases) continue;
                  row = (phase / phases - down) / phases, column = (phase % phases - across) / phases;
                } else {
                  row = floor_divide(down, split), column = floor_divide(across, split);
                  of = (plane * split + (down - row * split)) * split + (across - column * split);
                }
                visits.push_back({of, row, column, mask, (backward ? source_first : 0) + source, tap, weights});
                weights += (int64_t)depth * wide * LANES;
                if (row < walk.low) walk.low = row;
                if (row > walk.high) walk.high = row;
                walk.pad = std::max(walk.pad, std::abs(column));
              }
            };
            if (chunk.count == 2 && dilation(0, s) == dilation(1, s)) visit(dilation(0, s), 3, 2);
            else
              for (int u = 0; u < chunk.count; ++u) visit(dilation(u, s), 1 << u, 1);
          }
        chunk.phases.push_back(visits);
      }
      walk.chunks.push_back(chunk);
    }
  }
  return walk;
}

// Return the walk of a layer, made when it is first needed: that takes as long as a small convolution.
inline const Walk& walk_of(const Layer& layer, bool backward, int depth = DEPTH) {
  static std::mutex changing;
  static std::map<std::vector<int64_t>, Walk> known;
  std::vector<int64_t> key{layer.groups, layer.rows, layer.columns, layer.height, layer.width,
                           layer.size,   layer.stride, backward,    depth};
  key.insert(key.end(), layer.dilations, layer.dilations + layer.rows * layer.columns);
  const std::lock_guard<std::mutex> lock(changing);
  const auto found = known.find(key);
  return found != known.end() ? found->second : known.emplace(key, make_walk(layer, backward, depth)).first->second;
}

// Call use(taps, count, to, tap, output) for all kernels of the outputs from `channel` on, DEPTH inputs and up to `most`
// taps of one row at a time: `to` is the first value of the weight [C_out, k, k, C_in / groups], then its steps.
template <class Use>
void for_taps(const Layer& layer, int64_t channel, int most, Use use) {
  const int64_t group = channel / (layer.rows * layer.height), block = channel / layer.height % layer.rows;
  const int64_t depth = layer.columns * layer.width;
  const int size = layer.size, split = layer.stride;
  std::vector<Visit> taps(most);
  for (int64_t source = 0; source < depth; source += DEPTH)
    for (int line = 0; line < size; ++line)
      for (int first = 0; first < size; first += most) {
        const int d = layer.dilation(block, source / layer.width), count = std::min(most, size - first);
        for (int t = 0; t < count; ++t) {
          const int down = (line - size / 2) * d, across = (first + t - size / 2) * d;
          const int row = floor_divide(down, split), column = floor_divide(across, split);
          const int plane = (group * depth + source) / DEPTH;
          taps[t] = {(plane * split + down - row * split) * split + across - column * split, row, column, 0, 0, 0, 0};
        }
        use(taps.data(), count, ((channel * size + line) * size + first) * depth + source, depth, size * size * depth);
      }
}
