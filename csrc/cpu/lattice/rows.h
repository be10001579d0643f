// Splat, blur and slice on the CPU: rows of channels, one for each point or vertex, padded to whole
// vectors. Every value is summed in one order, whatever the number of threads: a vertex over its
// points by their numbers, a point over its vertices, a blur the two neighbours first.
#pragma once

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "../../lattice.h"
#include "../../lattice_math.h"
#include "../common/simd.h"
#include "../common/target.h"

namespace fcn {

template <typename T>
struct RowLanes {
  static constexpr int count = 32 / sizeof(T);
  typedef T V __attribute__((vector_size(32)));
};

constexpr int kRowVectors = 4;  // of a row that are summed at once, in registers

template <typename T>
int64_t row_pitch(int64_t channels) {
  constexpr int64_t lanes = RowLanes<T>::count;
  return (channels + lanes - 1) / lanes * lanes;
}

// Call f(first channel, vectors) for the parts of a row, `vectors` as a compile-time constant
template <typename T, typename F>
FCN_INLINE void for_row_parts(int64_t pitch, const F& f) {
  constexpr int64_t lanes = RowLanes<T>::count;
  int64_t at = 0;
  for (; at + kRowVectors * lanes <= pitch; at += kRowVectors * lanes)
    f(at, std::integral_constant<int, kRowVectors>{});
  switch ((pitch - at) / lanes) {
    case 3: return f(at, std::integral_constant<int, 3>{});
    case 2: return f(at, std::integral_constant<int, 2>{});
    case 1: return f(at, std::integral_constant<int, 1>{});
  }
}

// The points of each vertex, by their numbers, with their weights; cut into parts of about equal
// work
struct SplatLists {
  std::vector<int64_t> starts;  // of each vertex, and the end
  std::vector<int32_t> points;
  std::vector<float> weights;
  std::vector<int64_t> cuts;    // vertices at which parts begin, and the end

  explicit SplatLists(const Lattice& lattice) {
    const int corners = lattice.axes + 1;
    const int64_t n = lattice.points * corners;
    const int32_t* vertices = lattice.vertices.const_data_ptr<int32_t>();
    const float* given = lattice.weights.const_data_ptr<float>();
    starts.resize(lattice.count + 2);
    points.resize(n);
    weights.resize(n);
    for (int64_t i = 0; i < n; ++i) ++starts[vertices[i] + 2];
    for (int64_t v = 2; v < lattice.count + 2; ++v) starts[v] += starts[v - 1];
    for (int64_t p = 0, i = 0; p < lattice.points; ++p)
      for (int r = 0; r < corners; ++r, ++i) {
        const int64_t at = starts[vertices[i] + 1]++;
        points[at] = static_cast<int32_t>(p);
        weights[at] = given[i];
      }
    starts.pop_back();
    constexpr int64_t kParts = 256;
    for (int64_t part = 0; part < kParts; ++part)
      cuts.push_back(std::lower_bound(starts.begin(), starts.end() - 1, part * n / kParts) -
                     starts.begin());
    cuts.front() = 0;
    cuts.push_back(lattice.count);
  }
};

// to[v] = sum of weight * from[p] over the points p of vertex v, for vertices [begin, end)
template <typename T>
FCN_CLONES void splat_rows(const SplatLists& lists, const T* from, int64_t pitch, int64_t begin,
                           int64_t end, T* to) {
  using V = typename RowLanes<T>::V;
  for_row_parts<T>(pitch, [&](int64_t at, auto vectors) __attribute__((always_inline)) {
    constexpr int n = decltype(vectors)::value;
    for (int64_t v = begin; v < end; ++v) {
      V sums[n] = {};
      for (int64_t e = lists.starts[v]; e < lists.starts[v + 1]; ++e) {
        const T weight = static_cast<T>(lists.weights[e]);
        V row[n];
        std::memcpy(row, from + lists.points[e] * pitch + at, sizeof row);
        for (int k = 0; k < n; ++k) sums[k] += weight * row[k];
      }
      std::memcpy(to + v * pitch + at, sums, sizeof sums);
    }
  });
}

// to[v] = from[v] + (from[next] + from[previous]) / 2, for vertices [begin, end)
template <typename T>
FCN_CLONES void blur_rows(const int32_t* neighbours, const T* zero, const T* from, int64_t pitch,
                          int64_t begin, int64_t end, T* to) {
  using V = typename RowLanes<T>::V;
  for_row_parts<T>(pitch, [&](int64_t at, auto vectors) __attribute__((always_inline)) {
    constexpr int n = decltype(vectors)::value;
    for (int64_t v = begin; v < end; ++v) {
      const int32_t next = neighbours[2 * v], previous = neighbours[2 * v + 1];
      V own[n], one[n], other[n];
      std::memcpy(own, from + v * pitch + at, sizeof own);
      std::memcpy(one, (next < 0 ? zero : from + next * pitch) + at, sizeof one);
      std::memcpy(other, (previous < 0 ? zero : from + previous * pitch) + at, sizeof other);
      for (int k = 0; k < n; ++k) own[k] += T(0.5) * (one[k] + other[k]);
      std::memcpy(to + v * pitch + at, own, sizeof own);
    }
  });
}

// What a point's simplex has of some channels: sum of weight * gain * values[vertex]
template <int n, typename T>
FCN_INLINE void slice_row(const int32_t* vertices, const float* weights, int corners, float gain,
                          const T* values, int64_t pitch, typename RowLanes<T>::V (&sums)[n]) {
  for (int k = 0; k < n; ++k) sums[k] = typename RowLanes<T>::V{};
  for (int r = 0; r < corners; ++r) {
    const T weight = static_cast<T>(weights[r] * gain);
    typename RowLanes<T>::V row[n];
    std::memcpy(row, values + vertices[r] * pitch, sizeof row);
    for (int k = 0; k < n; ++k) sums[k] += weight * row[k];
  }
}

// A lattice with what filtering on it needs: the lists of the splat, and values at the vertices.
// Where `reverse`, the directions are blurred from the last to the first.
template <typename T>
class LatticeFilter {
 public:
  LatticeFilter(const Lattice& lattice, int64_t pitch)
      : lattice_(lattice), lists_(lattice), pitch_(pitch), zero_(pitch),
        values_(lattice.count * pitch), blurred_(lattice.count * pitch) {}

  // Splat and blur `from`, (points, pitch); the result is where slice_row finds it
  const T* run(const T* from, bool reverse) {
    T *values = values_.data(), *blurred = blurred_.data();
    const int64_t parts = static_cast<int64_t>(lists_.cuts.size()) - 1;
    at::parallel_for(0, parts, 1, [&](int64_t begin, int64_t end) {
      splat_rows(lists_, from, pitch_, lists_.cuts[begin], lists_.cuts[end], values);
    });
    const int64_t grain = std::max<int64_t>(1, 16384 / pitch_);
    for (int i = 0; i <= lattice_.axes; ++i) {
      const int axis = reverse ? lattice_.axes - i : i;
      const int32_t* neighbours =
          lattice_.neighbours.template const_data_ptr<int32_t>() + axis * lattice_.count * 2;
      at::parallel_for(0, lattice_.count, grain, [&](int64_t begin, int64_t end) {
        blur_rows(neighbours, zero_.data(), values, pitch_, begin, end, blurred);
      });
      std::swap(values, blurred);
    }
    return values;
  }

  const Lattice& lattice() const { return lattice_; }

 private:
  const Lattice& lattice_;
  SplatLists lists_;
  int64_t pitch_;
  AlignedBuffer<T> zero_, values_, blurred_;
};

}  // namespace fcn
