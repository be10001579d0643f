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
#include <cstdint>

namespace fcn {

constexpr int kMostAxes = 7;          // of a point
constexpr float kFarthest = 32000.0f;  // coordinate of a vertex, in a key of 16 bits

using LatticeKey = std::array<int16_t, 8>;  // one for each axis of the points, the others 0

// A simplex by its vertex 0 and by the rank of each axis, which leads to the other vertices
struct Simplex {
  LatticeKey base{};
  std::array<uint8_t, 8> rank{};
  bool operator==(const Simplex&) const = default;
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

// Find the simplex around a point of d axes and the d + 1 weights of its vertices; false for a
// point that is not finite or too far away
inline bool enclose(const float* point, int d, const float* factors, Simplex* simplex,
                    float* weights) {
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
  for (int i = 0; i <= d; ++i) weights[i] = steps[i];
  for (int i = 0; i < d; ++i) {
    simplex->base[i] = static_cast<int16_t>(nearest[i]);
    simplex->rank[i] = static_cast<uint8_t>(rank[i]);
  }
  return true;
}

// The key of a simplex's vertex `remainder`
inline LatticeKey vertex_of(const Simplex& simplex, int d, int remainder) {
  LatticeKey key = simplex.base;
  for (int i = 0; i < d; ++i)
    key[i] += simplex.rank[i] <= d - remainder ? remainder : remainder - (d + 1);
  return key;
}

// The key of the vertex one step along direction `axis`, of 0 ... d, from another
inline LatticeKey next_vertex(LatticeKey key, int d, int axis) {
  for (int i = 0; i < d; ++i) key[i] += i == axis ? d : -1;
  return key;
}

}  // namespace fcn
