// The permutohedral lattice (Adams, Baek and Davis 2010, sections 3.1 and 3.2): which simplex
// encloses a point, and the point's weights there. In float32 and in the order of operations of
// Kraehenbuehl's code, which DeepLab and CRF-RNN took over: where a point is near a face, its
// rounding decides the simplex.
//
// A vertex has d + 1 integer coordinates, whose sum is 0 and whose remainders of d + 1 are equal:
// the remainder is the vertex's number in its simplex. The first d coordinates are its key.
#pragma once

#include <array>
#include <cmath>
#include <compare>
#include <cstdint>

namespace fcn {

constexpr int kMostAxes = 7;          // of a point
constexpr float kFarthest = 32000.0f;  // coordinate of a vertex, in a key of 16 bits

// The first d coordinates of a vertex, each plus 2^15 in 16 bits, the first one in the highest: so
// the order is that of the coordinates, and a step to another vertex is one addition
struct LatticeKey {
  uint64_t high, low;
  auto operator<=>(const LatticeKey&) const = default;

  // Add to one coordinate, or set it where it is still 0
  void add(int axis, int64_t value) {
    (axis < 4 ? high : low) += static_cast<uint64_t>(value) << (48 - 16 * (axis % 4));
  }
  LatticeKey operator+(const LatticeKey& other) const {
    return {high + other.high, low + other.low};
  }
};

// The step to the next vertex along direction `axis`, of 0 ... d: its remainder is one less
inline LatticeKey step_along(int d, int axis) {
  LatticeKey step{};
  for (int i = 0; i < d; ++i) step.add(i, i == axis ? d : -1);
  return step;
}

// A simplex by the keys of its vertices and the weights that a point has there
struct Simplex {
  std::array<LatticeKey, kMostAxes + 1> keys;
  std::array<float, kMostAxes + 1> weights;
};

// The factors of the axes: the blur of all d + 1 directions is then a Gaussian of deviation 1
inline std::array<float, kMostAxes> axis_factors(int d) {
  std::array<float, kMostAxes> factors{};
  const float deviation = static_cast<float>(std::sqrt(2.0 / 3.0) * (d + 1));
  for (int i = 0; i < d; ++i)
    factors[i] = static_cast<float>(1.0 / std::sqrt((i + 2.0) * (i + 1.0)) * deviation);
  return factors;
}

// Factor of a filtered value: splat, blur and slice are together this much too large
inline float lattice_gain(int d) { return 1.0f / (1.0f + std::exp2(-static_cast<float>(d))); }

// Find the simplex around a point of d axes; false for a point that is not finite or too far away
inline bool enclose(const float* point, int d, const float* factors, Simplex* simplex) {
  float elevated[kMostAxes + 1], nearest[kMostAxes + 1];
  float sum = 0.0f;
  for (int i = d; i > 0; --i) {
    const float scaled = point[i - 1] * factors[i - 1];
    elevated[i] = sum - static_cast<float>(i) * scaled;
    sum += scaled;
  }
  elevated[0] = sum;

  const float size = static_cast<float>(d + 1), part = 1.0f / size;
  int off_plane = 0;  // sum of the nearest multiples of d + 1, over d + 1
  for (int i = 0; i <= d; ++i) {
    const float multiple = std::nearbyint(part * elevated[i]);
    nearest[i] = multiple * size;
    if (!(std::abs(nearest[i]) <= kFarthest)) return false;
    off_plane += static_cast<int>(multiple);
  }

  int rank[kMostAxes + 1] = {};
  for (int i = 0; i < d; ++i)
    for (int j = i + 1; j <= d; ++j)
      ++rank[elevated[i] - nearest[i] < elevated[j] - nearest[j] ? i : j];
  float steps[kMostAxes + 2] = {};
  for (int i = 0; i <= d; ++i) {
    rank[i] += off_plane;
    const int back = rank[i] < 0 ? d + 1 : rank[i] > d ? -(d + 1) : 0;
    rank[i] += back;
    nearest[i] += static_cast<float>(back);
    const float inside = (elevated[i] - nearest[i]) * part;
    steps[d - rank[i]] += inside;
    steps[d - rank[i] + 1] -= inside;
  }
  steps[0] += 1.0f + steps[d + 1];
  LatticeKey key{};
  int at_rank[kMostAxes + 1];
  for (int i = 0; i <= d; ++i) {
    if (i < d) key.add(i, static_cast<int64_t>(nearest[i]) + (1 << 15));
    at_rank[rank[i]] = i;
  }
  for (int r = 0; r <= d; ++r) {  // from one vertex to the next all coordinates grow by one, but
    simplex->keys[r] = key;       // that of the largest rank so far falls by d
    simplex->weights[r] = steps[r];
    for (int i = 0; i < d; ++i) key.add(i, i == at_rank[d - r] ? -d : 1);
  }
  return true;
}

}  // namespace fcn
