// A band of a source map's rows as planes of D channels of type T: pixels adjacent, zeros on both sides.
#pragma once
#include <cstring>
#include <type_traits>

#include "walk.h"

struct Map {
  int64_t images, height, width, channels;
};

// Rows [first, last) of an image's destination (of each phase) with the source rows [low, high) that they read.
template <class T>
struct Band {
  int64_t image, first, last, low, high;
  T* data;
};

template <class T, int D>
struct Planes {
  const Walk& walk;
  Map source;
  int64_t rows, columns;  // of a plane of the whole map
  int64_t width;          // of a stored row, in pixels

  Planes(const Walk& walk, const Map& source)
      : walk(walk), source(source), rows((source.height + walk.split - 1) / walk.split),
        columns((source.width + walk.split - 1) / walk.split), width(columns + 2 * walk.pad) {}

  int64_t row_size() const {  // values of all planes' one row
    return source.channels * walk.split * walk.split * width;
  }

  Band<T> band(int64_t image, int64_t first, int64_t last) const {
    return {image, first, last, std::max<int64_t>(0, first + walk.low), std::min(rows, last + walk.high), nullptr};
  }

  int64_t size(const Band<T>& band) const { return std::max<int64_t>(0, band.high - band.low) * row_size(); }

  // Return the pixel of a band, or nullptr above or below the map.
  const T* at(const Band<T>& band, const Visit& visit, int64_t row, int64_t column) const {
    row += visit.row;
    if (row < band.low || row >= band.high) return nullptr;
    return band.data + ((visit.plane * (band.high - band.low) + row - band.low) * width + walk.pad + column +
                        visit.column) * D;
  }

  void fill(const Band<T>& band, const T* x) const {
    const int split = walk.split;
    const int64_t channels = source.channels, plane = (band.high - band.low) * width * D, pad = walk.pad;
    for (int64_t row = band.low; row < band.high; ++row)
      for (int part = 0; part < split * split; ++part) {
        const int64_t from_row = row * split + part / split, left = part % split;
        const int64_t there = from_row < source.height ? (source.width - left + split - 1) / split : 0;
        T* to = band.data + part * plane + (row - band.low) * width * D;
        const T* from = x + ((band.image * source.height + from_row) * source.width + left) * channels;
        for (int64_t c = 0; c < channels / D; ++c) {
          T* line = to + c * split * split * plane;
          std::memset(line, 0, pad * D * sizeof(T));
          std::memset(line + (pad + there) * D, 0, (width - pad - there) * D * sizeof(T));
        }
        for (int64_t column = 0; column < there; ++column)
          for (int64_t c = 0; c < channels / D; ++c)
            std::memcpy(to + c * split * split * plane + (pad + column) * D,
                        from + column * split * channels + c * D, D * sizeof(T));
      }
  }
};

// Memory of a thread that is kept between calls: fresh pages would cost as much as the copy into them.
template <class T>
T* scratch(int64_t values) {
  struct Held {
    void* data = nullptr;
    int64_t size = 0;
    ~Held() { std::free(data); }
  };
  thread_local Held held;
  const int64_t bytes = (values * sizeof(T) + 4095) / 4096 * 4096;
  if (held.size < bytes) {
    std::free(held.data);
    held.data = std::aligned_alloc(64, bytes);
    held.size = bytes;
  }
  return static_cast<T*>(held.data);
}

// Walk over a thread's share of all rows of all images, in as many bands at once as `limit` values hold.
template <class Planes, class Use>
void for_bands(const Planes& planes, int64_t images, int64_t rows, int64_t part, int64_t parts, int64_t limit, Use use) {
  using Band = decltype(planes.band(0, 0, 0));
  constexpr int64_t least_rows = 8;
  const int64_t halo = planes.walk.high - planes.walk.low;
  const int64_t most = std::max(least_rows, limit / std::max<int64_t>(1, planes.row_size()) - halo);
  int64_t next = images * rows * part / parts;
  const int64_t end = images * rows * (part + 1) / parts;
  while (next < end) {
    std::vector<Band> bands;
    int64_t size = 0;
    while (next < end) {
      const int64_t first = next % rows, last = std::min({rows, first + most, first + end - next});
      const Band band = planes.band(next / rows, first, last);
      if (size && size + planes.size(band) > limit) break;
      bands.push_back(band);
      size += planes.size(band);
      next += last - first;
    }
    auto* data = scratch<std::remove_pointer_t<decltype(Band::data)>>(size);
    for (Band& band : bands) {
      band.data = data;
      data += planes.size(band);
    }
    use(bands);
  }
}
