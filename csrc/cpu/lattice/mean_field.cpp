// Mean field inference of a fully connected CRF (Kraehenbuehl and Koltun 2011) on the CPU: each
// iteration splats and blurs the probabilities on each kernel's lattice; one pass over the points
// then slices them all, adds the scores and normalises.
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include <cmath>
#include <limits>
#include <memory>

#include "../../dense.h"
#include "rows.h"

namespace fcn {
namespace {

constexpr float kNone = -std::numeric_limits<float>::infinity();  // of a class that is not there
constexpr float kNegligible = -20.0f;  // of an exponent: Kraehenbuehl's exp is 0 below

// The lower and the upper half of a vector
template <typename Half, typename V>
FCN_INLINE void halve(V v, Half* low, Half* high) {
  std::memcpy(low, &v, sizeof *low);
  std::memcpy(high, reinterpret_cast<const char*>(&v) + sizeof *low, sizeof *high);
}

// Combine the lanes of a vector by halves
template <typename F>
FCN_INLINE float reduced(VecOf<float> v, const F& combine) {
  typedef float V8 __attribute__((vector_size(32)));
  typedef float V4 __attribute__((vector_size(16)));
  V8 a8, b8;
  halve(v, &a8, &b8);
  V4 a4, b4;
  halve(combine(a8, b8), &a4, &b4);
  const V4 r = combine(a4, b4);
  return combine(combine(r[0], r[2]), combine(r[1], r[3]));
}

// row = softmax(row), of whole vectors: their maxima and sums by lanes, those by halves
FCN_INLINE void normalise_row(float* row, int64_t width) {
  using V = VecOf<float>;
  constexpr int64_t lanes = Lanes<float>::count;
  const auto larger = [](auto a, auto b) __attribute__((always_inline)) { return a < b ? b : a; };
  const auto added = [](auto a, auto b) __attribute__((always_inline)) { return a + b; };
  V most = load(row), sum{};
  for (int64_t c = lanes; c < width; c += lanes) most = larger(most, load(row + c));
  const float maximum = reduced(most, larger);
  for (int64_t c = 0; c < width; c += lanes) {
    const V left = load(row + c) - maximum, e = left < kNegligible ? V{} : exp_lanes(left);
    sum += e;
    store(row + c, e);
  }
  const float part = 1.0f / reduced(sum, added);
  for (int64_t c = 0; c < width; c += lanes) store(row + c, load(row + c) * part);
}

struct Message {
  const int32_t* vertices;
  const float *weights, *scales, *values;
  int corners;
  float gain;
};

FCN_INLINE void copy_row(const float* from, int64_t pitch, float* to) {
  for_row_parts<float>(pitch, [&](int64_t at, auto vectors) __attribute__((always_inline)) {
    for (int k = 0; k < vectors; ++k) store_part(to + at, k, load_part(from + at, k));
  });
}

// The scores in rows of `pitch`, of which those beyond the classes take no part
at::Tensor padded_scores(const at::Tensor& scores, int64_t pitch) {
  const int64_t points = scores.size(0), classes = scores.size(1);
  const float* from = scores.const_data_ptr<float>();
  const at::Tensor padded = at::empty({points, pitch}, scores.options());
  float* to = padded.mutable_data_ptr<float>();
  at::parallel_for(0, points, std::max<int64_t>(1, 16384 / pitch), [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      float* row = to + p * pitch;
      std::fill(std::copy_n(from + p * classes, classes, row), row + pitch, kNone);
    }
  });
  return padded;
}

// probabilities[p] = softmax of the scores and the messages of all kernels, for points [begin, end)
FCN_CLONES void update_points(const std::vector<Message>& messages, const float* scores,
                              int64_t pitch, int64_t begin, int64_t end, float* row,
                              float* probabilities) {
  constexpr int64_t lanes = Lanes<float>::count;
  const int64_t width = (pitch + lanes - 1) / lanes * lanes;
  for (int64_t p = begin; p < end; ++p) {
    copy_row(scores + p * pitch, pitch, row);
    std::fill(row + pitch, row + width, kNone);
    for (const Message& message : messages)
      for_row_parts<float>(pitch, [&](int64_t at, auto vectors) __attribute__((always_inline)) {
        constexpr int n = decltype(vectors)::value;
        RowLanes<float>::V sums[n];
        slice_row(message.vertices + p * message.corners, message.weights + p * message.corners,
                  message.corners, message.gain, message.values + at, pitch, sums);
        for (int k = 0; k < n; ++k)
          store_part(row + at, k, load_part(row + at, k) + message.scales[p] * sums[k]);
      });
    normalise_row(row, width);
    copy_row(row, pitch, probabilities + p * pitch);
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

  const at::Tensor padded = padded_scores(field.scores, pitch), rows = at::empty_like(padded);
  const float* own = padded.const_data_ptr<float>();
  float* probabilities = rows.mutable_data_ptr<float>();
  std::vector<std::unique_ptr<LatticeFilter<float>>> filters;
  std::vector<Message> messages;
  for (const Lattice& lattice : field.lattices)
    filters.push_back(std::make_unique<LatticeFilter<float>>(lattice, pitch));
  const auto update = [&] {
    at::parallel_for(0, points, grain, [&](int64_t begin, int64_t end) {
      AlignedBuffer<float> row(pitch + Lanes<float>::count);
      update_points(messages, own, pitch, begin, end, row.data(), probabilities);
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
                          .values = filters[k]->run(probabilities, false),
                          .corners = lattice.axes + 1,
                          .gain = lattice_gain(lattice.axes)});
    }
    update();
  }
  result.copy_(rows.narrow(1, 0, classes));
  return result;
}

}  // namespace

TORCH_LIBRARY_IMPL(fcn_repro, CPU, m) { m.impl("mean_field", mean_field_cpu); }

}  // namespace fcn
