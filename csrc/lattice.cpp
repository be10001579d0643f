// Schemas and argument checks of the permutohedral lattice.
#include "lattice.h"

#include <torch/library.h>

#include <algorithm>

#include "dense.h"
#include "lattice_math.h"

TORCH_LIBRARY_FRAGMENT(fcn_repro, m) {
  m.def("lattice(Tensor points) -> (Tensor, Tensor, Tensor)");
  m.def(
      "lattice_filter(Tensor values, Tensor vertices, Tensor weights, Tensor neighbours, "
      "bool reverse) -> Tensor");
  m.def(
      "mean_field(Tensor scores, Tensor[] vertices, Tensor[] weights, Tensor[] neighbours, "
      "Tensor[] scales, int iterations) -> Tensor");
}

namespace fcn {
namespace {

constexpr int64_t kMostIterations = 100000;  // of mean field; ten do

void check_values(const char* op, const char* name, const at::Tensor& values, bool wide) {
  const auto type = values.scalar_type();
  TORCH_CHECK_VALUE(values.dim() == 2 && (type == at::kFloat || (wide && type == at::kDouble)), op,
                    ": ", name, " is ", type, " of shape ", values.sizes(), ", expected float32",
                    wide ? " or float64" : "", " of 2 axes (points, channels).");
  check_sizes(op, name, values.sizes());
}

// Throw unless all of an int32 tensor's values are in [least, end)
void check_range(const char* op, const char* name, const at::Tensor& t, int64_t least,
                 int64_t end) {
  const int32_t* values = t.const_data_ptr<int32_t>();
  int64_t wrong = 0;
  for (int64_t i = 0, n = t.numel(); i < n; ++i) wrong += values[i] < least || values[i] >= end;
  TORCH_CHECK_VALUE(wrong == 0, op, ": ", name, " has ", wrong, " numbers outside ", least,
                    " ... ", end - 1, ". Pass what the op lattice returned.");
}

// Throw unless the columns of (n, d + 1) vertices are in [0, end), each behind the one before: the
// vertices of one remainder, which threads take for no others'
void check_remainders(const char* op, const at::Tensor& vertices, int64_t end) {
  const int64_t n = vertices.size(0), corners = vertices.size(1);
  const int32_t* numbers = vertices.const_data_ptr<int32_t>();
  int64_t least[kMostAxes + 1], most[kMostAxes + 1];
  std::fill_n(least, corners, end);
  std::fill_n(most, corners, -1);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t r = 0; r < corners; ++r) {
      const int64_t number = numbers[i * corners + r];
      least[r] = std::min(least[r], number);
      most[r] = std::max(most[r], number);
    }
  for (int64_t r = 0; r < corners && n; ++r)
    TORCH_CHECK_VALUE(least[r] > (r ? most[r - 1] : -1) && most[r] < end, op,
                      ": vertices of corner ", r, " are ", least[r], " ... ", most[r], " of ", end,
                      ", behind ", r ? most[r - 1] : -1, " of the corner before. Pass what the op "
                      "lattice returned.");
}

}  // namespace

void check_points(const at::Tensor& points) {
  TORCH_CHECK_VALUE(points.dim() == 2 && points.scalar_type() == at::kFloat,
                    "lattice: points is ", points.scalar_type(), " of shape ", points.sizes(),
                    ", expected float32 of 2 axes (points, axes).");
  const int64_t n = points.size(0), d = points.size(1);
  TORCH_CHECK_VALUE(d >= 1 && d <= kMostAxes, "lattice: points have ", d, " axes, expected 1 to ",
                    kMostAxes, ".");
  TORCH_CHECK_VALUE(n <= kMaxSize / (d + 1) - kPointBlock, "lattice: ", n, " points of ", d,
                    " axes, expected at most ", kMaxSize / (d + 1) - kPointBlock,
                    ". Use a smaller image.");
}

void check_lattice_values(const at::Tensor& values) {
  check_values("lattice_filter", "values", values, true);
}

Lattice prepare_lattice(const char* op, const at::Tensor& vertices, const at::Tensor& weights,
                        const at::Tensor& neighbours, const at::Tensor& values) {
  const at::Device device = values.device();
  const auto check = [&](const char* name, const at::Tensor& t, int64_t axes,
                         at::ScalarType type) {
    TORCH_CHECK_VALUE(t.device() == device && t.scalar_type() == type && t.dim() == axes, op, ": ",
                      name, " is ", t.scalar_type(), " of shape ", t.sizes(), " on ", t.device(),
                      ", expected ", type, " of ", axes, " axes on ", device, ".");
    check_sizes(op, name, t.sizes());
  };
  check("vertices", vertices, 2, at::kInt);
  check("weights", weights, 2, at::kFloat);
  check("neighbours", neighbours, 3, at::kInt);
  const int64_t n = values.size(0), corners = vertices.size(1), m = neighbours.size(1);
  TORCH_CHECK_VALUE(vertices.size(0) == n && weights.sizes() == vertices.sizes() &&
                        neighbours.size(0) == corners && neighbours.size(2) == 2 && corners >= 2 &&
                        corners <= kMostAxes + 1,
                    op, ": vertices ", vertices.sizes(), ", weights ", weights.sizes(),
                    " and neighbours ", neighbours.sizes(), " are no lattice of ", n,
                    " points. Pass what the op lattice returned.");
  check_product(op, {n, corners, values.size(1)});
  check_product(op, {m, corners, values.size(1)});
  TORCH_CHECK_VALUE(n <= kMaxSize / corners, op, ": ", n, " points, expected at most ",
                    kMaxSize / corners, ".");
  Lattice lattice{.vertices = dense(vertices), .weights = dense(weights),
                  .neighbours = dense(neighbours), .points = n, .count = m,
                  .axes = static_cast<int>(corners) - 1};
  check_remainders(op, lattice.vertices, m);
  check_range(op, "neighbours", lattice.neighbours, -1, m);
  return lattice;
}

MeanField prepare_mean_field(const at::Tensor& scores, at::TensorList vertices,
                             at::TensorList weights, at::TensorList neighbours,
                             at::TensorList scales, int64_t iterations) {
  constexpr const char* op = "mean_field";
  check_values(op, "scores", scores, false);
  TORCH_CHECK_VALUE(scores.size(1) >= 1, op, ": scores has shape ", scores.sizes(),
                    ", expected at least 1 class.");
  TORCH_CHECK_VALUE(iterations >= 0 && iterations <= kMostIterations, op, ": iterations is ",
                    iterations, ", expected 0 to ", kMostIterations, ".");
  const size_t kernels = vertices.size();
  TORCH_CHECK_VALUE(weights.size() == kernels && neighbours.size() == kernels &&
                        scales.size() == kernels, op, ": ", kernels, " vertices, ",
                    weights.size(), " weights, ", neighbours.size(), " neighbours and ",
                    scales.size(), " scales. Give one of each for each kernel.");
  MeanField field{.scores = dense(scores), .lattices = {}, .scales = {}, .iterations = iterations};
  for (size_t k = 0; k < kernels; ++k) {
    field.lattices.push_back(prepare_lattice(op, vertices[k], weights[k], neighbours[k], scores));
    check_tensor(op, "scales", scales[k], 1, at::kFloat, scores.device());
    TORCH_CHECK_VALUE(scales[k].size(0) == scores.size(0), op, ": scales has shape ",
                      scales[k].sizes(), ", expected (", scores.size(0), "), one for each point.");
    field.scales.push_back(dense(scales[k]));
  }
  return field;
}

}  // namespace fcn
