// Mean field inference of a fully connected CRF (Kraehenbuehl and Koltun 2011) on the CPU: each
// iteration splats and blurs the probabilities on each kernel's lattice; one pass over the points
// then slices them all, adds the scores and normalises.
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <cmath>
#include <limits>
#include <memory>

#include "../../dense.h"
#include "rows.h"

namespace fcn {
namespace {

constexpr float kNegligible = -20.0f;  // of an exponent: Kraehenbuehl's exp is 0 below

// row = softmax(row), of whole vectors: their maxima and sums by lanes, those by halves
FCN_INLINE void normalise_row(float* row, int64_t width) {
  using V = VecOf<float>;
  constexpr int lanes = Lanes<float>::count;
  V most = load(row), sum{};
  for (int64_t c = lanes; c < width; c += lanes) {
    const V other = load(row + c);
    most = most < other ? other : most;
  }
  for (int half = lanes / 2; half; half /= 2)
    for (int i = 0; i < half; ++i) most[i] = most[i] < most[i + half] ? most[i + half] : most[i];
  for (int64_t c = 0; c < width; c += lanes) {
    const V left = load(row + c) - most[0], e = left < kNegligible ? V{} : exp_lanes(left);
    sum += e;
    store(row + c, e);
  }
  for (int half = lanes / 2; half; half /= 2)
    for (int i = 0; i < half; ++i) sum[i] += sum[i + half];
  for (int64_t c = 0; c < width; c += lanes) store(row + c, load(row + c) / sum[0]);
}

struct Message {
  const int32_t* vertices;
  const float *weights, *scales, *values;
  int corners;
  float gain;
};

// probabilities[p] = softmax of the scores and the messages of all kernels, for points [begin, end)
FCN_CLONES void update_points(const std::vector<Message>& messages, const float* scores,
                              int64_t classes, int64_t pitch, int64_t begin, int64_t end,
                              float* row, float* probabilities) {
  constexpr int64_t lanes = Lanes<float>::count;
  const int64_t width = (classes + lanes - 1) / lanes * lanes;
  for (int64_t p = begin; p < end; ++p) {
    std::copy_n(scores + p * classes, classes, row);
    std::fill(row + classes, row + width, -std::numeric_limits<float>::infinity());
    for (const Message& message : messages)
      for_row_parts<float>(pitch, [&](int64_t at, auto vectors) __attribute__((always_inline)) {
        constexpr int n = decltype(vectors)::value;
        RowLanes<float>::V sums[n], own[n];
        slice_row(message.vertices + p * message.corners, message.weights + p * message.corners,
                  message.corners, message.gain, message.values + at, pitch, sums);
        std::memcpy(own, row + at, sizeof own);
        for (int k = 0; k < n; ++k) own[k] += message.scales[p] * sums[k];
        std::memcpy(row + at, own, sizeof own);
      });
    normalise_row(row, width);
    std::copy_n(row, pitch, probabilities + p * pitch);
  }
}

at::Tensor mean_field_cpu(const at::Tensor& scores, at::TensorList vertices,
                          at::TensorList weights, at::TensorList neighbours, at::TensorList scales,
                          int64_t iterations) {
  const MeanField field =
      prepare_mean_field(scores, vertices, weights, neighbours, scales, iterations);
  const int64_t points = scores.size(0), classes = scores.size(1);
  const int64_t pitch = row_pitch<float>(classes);
  const int64_t grain = std::max<int64_t>(1, 4096 / pitch);
  at::Tensor result = at::empty(scores.sizes(), scores.options());
  if (!result.numel()) return result;

  const float* own = field.scores.const_data_ptr<float>();
  AlignedBuffer<float> probabilities(points * pitch);
  std::vector<std::unique_ptr<LatticeFilter<float>>> filters;
  std::vector<Message> messages;
  for (const Lattice& lattice : field.lattices)
    filters.push_back(std::make_unique<LatticeFilter<float>>(lattice, pitch));
  const auto update = [&] {
    at::parallel_for(0, points, grain, [&](int64_t begin, int64_t end) {
      AlignedBuffer<float> row(pitch + Lanes<float>::count);
      update_points(messages, own, classes, pitch, begin, end, row.data(), probabilities.data());
    });
  };
  update();
  for (int64_t i = 0; i < iterations; ++i) {
    messages.clear();
    for (size_t k = 0; k < filters.size(); ++k) {
      const Lattice& lattice = field.lattices[k];
      messages.push_back({.vertices = lattice.vertices.const_data_ptr<int32_t>(),
                          .weights = lattice.weights.const_data_ptr<float>(),
                          .scales = field.scales[k].const_data_ptr<float>(),
                          .values = filters[k]->run(probabilities.data(), false),
                          .corners = lattice.axes + 1,
                          .gain = lattice_gain(lattice.axes)});
    }
    update();
  }
  float* to = result.mutable_data_ptr<float>();
  for (int64_t p = 0; p < points; ++p)
    std::copy_n(probabilities.data() + p * pitch, classes, to + p * classes);
  return result;
}

}  // namespace

TORCH_LIBRARY_IMPL(fcn_repro, CPU, m) { m.impl("mean_field", mean_field_cpu); }

}  // namespace fcn
