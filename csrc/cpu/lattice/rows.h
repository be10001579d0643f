// Splat, blur and slice on the CPU: rows of channels, one for each point or vertex, padded to whole
// vectors. Every value is summed in one order, whatever the number of threads: a vertex over its
// points by their numbers, a point over its vertices, a blur the two neighbours first. In a splat
// the threads share the remainders, which have no vertex in common.
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

template <typename T>
FCN_INLINE typename RowLanes<T>::V load_part(const T* row, int k) {
  typename RowLanes<T>::V part;
  std::memcpy(&part, row + k * RowLanes<T>::count, sizeof part);
  return part;
}

template <typename T>
FCN_INLINE void store_part(T* row, int k, const typename RowLanes<T>::V& part) {
  std::memcpy(row + k * RowLanes<T>::count, &part, sizeof part);
}

constexpr int64_t kAhead = 8;   // rows whose neighbours are asked for before they are read
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

// to[v] += weight * from[p] for all points p, in their order, and the vertices v of their simplices
// that have the remainders [begin, end), which no other remainder has
template <typename T>
FCN_CLONES void splat_rows(const Lattice& lattice, const T* from, int64_t pitch, int64_t begin,
                           int64_t end, T* to) {
  using V = typename RowLanes<T>::V;
  const int64_t corners = lattice.axes + 1;
  const int32_t* vertices = lattice.vertices.template const_data_ptr<int32_t>();
  const float* weights = lattice.weights.template const_data_ptr<float>();
  for_row_parts<T>(pitch, [&](int64_t at, auto vectors) __attribute__((always_inline)) {
    constexpr int n = decltype(vectors)::value;
    for (int64_t p = 0; p < lattice.points; ++p) {
      V row[n];
      for (int k = 0; k < n; ++k) row[k] = load_part(from + p * pitch + at, k);
      for (int64_t r = p * corners + begin; r < p * corners + end; ++r) {
        const T weight = static_cast<T>(weights[r]);
        T* sums = to + vertices[r] * pitch + at;
        for (int k = 0; k < n; ++k) store_part(sums, k, load_part(sums, k) + weight * row[k]);
      }
    }
  });
}

// to[v] = from[v] + (from[next] + from[previous]) / 2, for vertices [begin, end)
template <typename T>
FCN_CLONES void blur_rows(const int32_t* neighbours, const T* zero, const T* from, int64_t pitch,
                          int64_t begin, int64_t end, T* to) {
  for_row_parts<T>(pitch, [&](int64_t at, auto vectors) __attribute__((always_inline)) {
    constexpr int n = decltype(vectors)::value;
    for (int64_t v = begin; v < end; ++v) {
      const int32_t next = neighbours[2 * v], previous = neighbours[2 * v + 1];
      if (v + kAhead < end) {
        const int32_t *later = neighbours + 2 * (v + kAhead);
        __builtin_prefetch(from + std::max(later[0], 0) * pitch + at);
        __builtin_prefetch(from + std::max(later[1], 0) * pitch + at);
      }
      const T* own = from + v * pitch + at;
      const T* one = (next < 0 ? zero : from + next * pitch) + at;
      const T* other = (previous < 0 ? zero : from + previous * pitch) + at;
      for (int k = 0; k < n; ++k)
        store_part(to + v * pitch + at, k,
                   load_part(own, k) + T(0.5) * (load_part(one, k) + load_part(other, k)));
    }
  });
}

// What a point's simplex has of some channels: sum of weight * gain * values[vertex]
template <int n, typename T>
FCN_INLINE void slice_row(const int32_t* vertices, const float* weights, int corners, float gain,
                          const T* values, int64_t pitch, typename RowLanes<T>::V (&sums)[n]) {
  for (int k = 0; k < n; ++k) sums[k] = typename RowLanes<T>::V{};
  for (int r = 0; r < corners; ++r) {
    const T weight = static_cast<T>(weights[r]) * static_cast<T>(gain);
    const T* row = values + vertices[r] * pitch;
    for (int k = 0; k < n; ++k) sums[k] += weight * load_part(row, k);
  }
}

// Filtering on a lattice, with memory for the values at its vertices. Where `reverse`, the directions are blurred from the last to the first.
template <typename T>
class LatticeFilter {
 public:
  LatticeFilter(const Lattice& lattice, int64_t pitch)
      : lattice_(lattice), pitch_(pitch), zero_(pitch), values_(lattice.count * pitch),
        blurred_(lattice.count * pitch) {}

  // Splat and blur `from`, (points, pitch); the result is where slice_row finds it
  const T* run(const T* from, bool reverse) {
    T *values = values_.data(), *blurred = blurred_.data();
    const int64_t grain = std::max<int64_t>(1, 16384 / pitch_);
    at::parallel_for(0, lattice_.count, grain, [&](int64_t begin, int64_t end) {
      std::fill(values + begin * pitch_, values + end * pitch_, T(0));
    });
    at::parallel_for(0, lattice_.axes + 1, 1, [&](int64_t begin, int64_t end) {
      splat_rows(lattice_, from, pitch_, begin, end, values);
    });
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

 private:
  const Lattice& lattice_;
  int64_t pitch_;
  AlignedBuffer<T> zero_, values_, blurred_;
};

}  // namespace fcn
