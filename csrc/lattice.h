// The permutohedral lattice of some points, filtering on it, and mean field inference: checked
// arguments (lattice.cpp) for a backend.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace fcn {

// Zero points fill the points up to a multiple of this many, as in the SSE form of Kraehenbuehl's
// code: their vertices are in the lattice, where a blur passes through them.
constexpr int64_t kPointBlock = 4;

// n points of d axes, and their lattice of m vertices. vertices, weights: (n, d + 1), of each
// point's simplex. neighbours: (d + 1, m, 2), along each direction; -1 where there is none.
struct Lattice {
  at::Tensor vertices, weights, neighbours;  // int32, float32, int32; dense
  int64_t points, count;
  int axes;
};

// Kernels of a mean field: what each adds to a point's scores is scale times what it filters.
struct MeanField {
  at::Tensor scores;  // (n, classes) float32, dense
  std::vector<Lattice> lattices;
  std::vector<at::Tensor> scales;  // (n) float32, dense
  int64_t iterations;
};

void check_points(const at::Tensor& points);

// Throw unless values are (points, channels), float32 or float64
void check_lattice_values(const at::Tensor& values);

// Dense arguments of a filter of (n, channels) values, float32 or float64
Lattice prepare_lattice(const char* op, const at::Tensor& vertices, const at::Tensor& weights,
                        const at::Tensor& neighbours, const at::Tensor& values);

MeanField prepare_mean_field(const at::Tensor& scores, at::TensorList vertices,
                             at::TensorList weights, at::TensorList neighbours,
                             at::TensorList scales, int64_t iterations);

}  // namespace fcn
