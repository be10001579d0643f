// A 1x1 convolution with stride 1, channels last, as one matrix product over the pixels, with what
// follows it: the sum with another blob and a ReLU or PReLU, while the sums are in the cache.
//
//   y[p, o] = f(bias[o] + other[p, o] + sum over c of x[p, c] * w[o, c])
//
// A is the image in place, (pixels x channels); B the filters in the column panels that the
// micro-kernel streams, packed once. A task has up to kRows pixels and kColumns outputs; partial
// sums over kDepth channels are added one after another in a buffer in the L2 cache, where A and
// a panel of B stay too.
//
// In training the gradient of the image is the same product with the transposed filters, that of
// the filters one over the pixels, of which image and gradient are read in place; so its columns
// are whole vectors of the channels of one of them.
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <optional>

#include "../../counts.h"
#include "../../dense.h"
#include "operands.h"

TORCH_LIBRARY_FRAGMENT(fcn_repro, m) {
  m.def("pointwise_filters(Tensor weight) -> Tensor");
  m.def(
      "pointwise(Tensor x, Tensor filters, SymInt outputs, Tensor? bias, Tensor? other, "
      "Tensor? slope, bool relu) -> Tensor");
  m.def("conv1x1(Tensor x, Tensor weight, Tensor? bias) -> Tensor");
  m.def("conv1x1_input(Tensor grad, Tensor weight) -> Tensor");
  m.def("conv1x1_weight(Tensor grad, Tensor x) -> Tensor");
}

namespace fcn {
namespace {

constexpr int64_t kRows = 224, kDepth = 256, kColumns = 512;
constexpr int64_t kLeastRows = 28;  // of a task, for the filters that it reads
constexpr int64_t kFilterRows = 112, kLeastFilterRows = 14, kPixels = 256;  // of filters' gradients

int64_t panels(int64_t outputs) { return (outputs + kPanel<float> - 1) / kPanel<float>; }

// (C_out, C, 1, 1) to column panels (panels, C, kPanel), with zeros behind the last
at::Tensor pointwise_filters(const at::Tensor& weight) {
  constexpr const char* op = "pointwise_filters";
  check_tensor(op, "weight", weight, 4);
  check_sizes(op, "weight", weight.sizes());
  TORCH_CHECK_VALUE(weight.size(2) == 1 && weight.size(3) == 1 && weight.size(0) >= 1 &&
                        weight.size(1) >= 1,
                    op, ": weight of shape ", weight.sizes(), ", expected (C_out, C, 1, 1).");
  const int64_t outputs = weight.size(0), channels = weight.size(1);
  check_product(op, {outputs, channels});
  const at::Tensor from = dense(weight.flatten(1)), result =
      at::zeros({panels(outputs), channels, kPanel<float>}, weight.options());
  const float* w = from.const_data_ptr<float>();
  float* to = result.mutable_data_ptr<float>();
  at::parallel_for(0, outputs, 16, [&](int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; ++o)
      for (int64_t c = 0; c < channels; ++c)
        to[(o / kPanel<float> * channels + c) * kPanel<float> + o % kPanel<float>] =
            w[o * channels + c];
  });
  return result;
}

// What a task does with its sums: rows of `columns` outputs
struct Finish {
  const float *bias, *other, *slope;  // the last two may be null: none
  bool relu;
};

// `rows` rows of sums + bias (+ other), rectified. The pointers begin at the task's first output.
FCN_CLONES void finish(const Finish& f, const float* sums, int64_t pitch, int64_t rows,
                       int64_t columns, int64_t outputs, float* top) {
  const float *bias = f.bias, *other = f.other, *slope = f.slope;
  for (int64_t i = 0; i < rows; ++i, sums += pitch, top += outputs) {
    const float* __restrict__ from = sums;
    float* __restrict__ to = top;
    if (other) {
      for (int64_t j = 0; j < columns; ++j) to[j] = from[j] + bias[j] + other[j];
      other += outputs;
    } else {
      for (int64_t j = 0; j < columns; ++j) to[j] = from[j] + bias[j];
    }
    if (f.relu)
      for (int64_t j = 0; j < columns; ++j) to[j] = to[j] < 0 ? 0 : to[j];
    if (slope)
      for (int64_t j = 0; j < columns; ++j) to[j] = to[j] > 0 ? to[j] : slope[j] * to[j];
  }
}

// Throw unless one of the counts of channels is whole vectors: the columns of a gradient
void check_columns(const char* op, int64_t outputs, int64_t channels) {
  TORCH_CHECK_VALUE(outputs >= 1 && channels >= 1 &&
                        (outputs % kVector<float> == 0 || channels % kVector<float> == 0),
                    op, ": ", channels, " channels to ", outputs, ", expected a multiple of ",
                    kVector<float>, " for one of them.");
}

void check_row(const char* op, const char* name, const std::optional<at::Tensor>& row,
               int64_t outputs) {
  if (!row) return;
  check_tensor(op, name, *row, 1);
  TORCH_CHECK_VALUE(row->numel() == outputs, op, ": ", name, " has ", row->numel(),
                    " numbers for ", outputs, " channels.");
}

at::Tensor pointwise(const at::Tensor& x, const at::Tensor& filters, int64_t outputs,
                     const std::optional<at::Tensor>& bias, const std::optional<at::Tensor>& other,
                     const std::optional<at::Tensor>& slope, bool relu) {
  constexpr const char* op = "pointwise";
  check_tensor(op, "x", x, 4);
  check_tensor(op, "filters", filters, 3);
  check_sizes(op, "x", x.sizes());
  const int64_t channels = x.size(1);
  TORCH_CHECK_VALUE(outputs >= 1 && outputs <= kMaxSize && channels >= 1, op, ": ", channels,
                    " channels to ", outputs, ", expected at least one of each.");
  const std::vector<int64_t> packed{panels(outputs), channels, kPanel<float>};
  TORCH_CHECK_VALUE(filters.sizes() == packed, op, ": filters of shape ", filters.sizes(),
                    ", expected ", at::IntArrayRef(packed), ".");
  check_product(op, {x.size(0), x.size(2), x.size(3), channels, outputs});
  check_row(op, "bias", bias, outputs);
  check_row(op, "slope", slope, outputs);
  const std::vector<int64_t> shape{x.size(0), outputs, x.size(2), x.size(3)};
  if (other) {
    check_tensor(op, "other", *other, 4);
    TORCH_CHECK_VALUE(other->sizes() == shape, op, ": other is of shape ", other->sizes(),
                      ", expected ", at::IntArrayRef(shape), ".");
  }
  const auto last = at::MemoryFormat::ChannelsLast;
  const at::Tensor result = at::empty(shape, x.options().memory_format(last));
  const int64_t pixels = x.size(0) * x.size(2) * x.size(3);
  if (pixels == 0) return result;
  const at::Tensor image = dense(x, last), b = dense(filters);
  const at::Tensor added = other ? dense(*other, last) : at::Tensor();
  const at::Tensor biases = bias ? dense(*bias) : at::zeros({outputs}, x.options());
  const at::Tensor slopes = slope ? dense(*slope) : at::Tensor();
  const int64_t threads = at::get_num_threads(), blocks = (outputs + kColumns - 1) / kColumns;
  // as many rows a task as fit, in equal numbers for all threads
  const int64_t rounds = (pixels * blocks + threads * kRows - 1) / (threads * kRows);
  const int64_t step = std::clamp((pixels * blocks + threads * rounds - 1) / (threads * rounds),
                                  kLeastRows, kRows);
  const int64_t bands = (pixels + step - 1) / step;
  const int64_t pitch = std::min(kColumns, panels(outputs) * kPanel<float>) + kVector<float>;
  const at::Tensor buffers = at::empty({threads, step * pitch}, x.options());
  at::parallel_for(0, bands * blocks, 1, [&](int64_t begin, int64_t end) {
    float* sums = data<float>(buffers) + at::get_thread_num() * buffers.size(1);
    for (int64_t task = begin; task < end; ++task) {
      const int64_t band = task / blocks, column = task % blocks * kColumns;
      const int64_t row = pixels * band / bands, rows = pixels * (band + 1) / bands - row;
      const int64_t columns = std::min(kColumns, outputs - column);
      const int64_t wide = (columns + kVector<float> - 1) / kVector<float> * kVector<float>;
      for (int64_t c = 0; c < channels; c += kDepth)
        gemm(Gemm<float>{.m = rows,
                         .n = wide,
                         .k_outer = 1,
                         .k_inner = std::min(kDepth, channels - c),
                         .a = data<float>(image) + row * channels + c,
                         .a_row = channels,
                         .a_outer = 0,
                         .a_inner = 1,
                         .b = data<float>(b) + column * channels + c * kPanel<float>,
                         .b_panel = channels * kPanel<float>,
                         .b_outer = 0,
                         .b_inner = kPanel<float>,
                         .c = sums,
                         .c_row = pitch,
                         .accumulate = c > 0});
      const int64_t at = row * outputs + column;
      const Finish f{.bias = data<float>(biases) + column,
                     .other = other ? data<float>(added) + at : nullptr,
                     .slope = slope ? data<float>(slopes) + column : nullptr,
                     .relu = relu};
      finish(f, sums, pitch, rows, columns, outputs, data<float>(result) + at);
    }
  });
  return result;
}

at::Tensor conv1x1(const at::Tensor& x, const at::Tensor& weight,
                   const std::optional<at::Tensor>& bias) {
  check_tensor("conv1x1", "x", x, 4);
  const at::Tensor filters = pointwise_filters(weight);
  check_columns("conv1x1", weight.size(0), weight.size(1));
  TORCH_CHECK_VALUE(x.size(1) == weight.size(1), "conv1x1: x of shape ", x.sizes(),
                    " with filters of ", weight.size(1), " channels.");
  return pointwise(x, filters, weight.size(0), bias, {}, {}, false);
}

at::Tensor conv1x1_input(const at::Tensor& grad, const at::Tensor& weight) {
  check_tensor("conv1x1_input", "weight", weight, 4);
  return conv1x1(grad, weight.transpose(0, 1), {});
}

// (m, n): the sums over k of a[k, m] * b[k, n], for rows of `m` and `n` numbers, n whole vectors
void transposed_product(const float* a, int64_t m, const float* b, int64_t n, int64_t depth,
                        float* to) {
  const int64_t threads = at::get_num_threads(), blocks = (n + kColumns - 1) / kColumns;
  const int64_t rounds = (m * blocks + threads * kFilterRows - 1) / (threads * kFilterRows);
  const int64_t step = std::clamp((m * blocks + threads * rounds - 1) / (threads * rounds),
                                  kLeastFilterRows, kFilterRows);
  const int64_t bands = (m + step - 1) / step;
  at::parallel_for(0, bands * blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t band = task / blocks, column = task % blocks * kColumns;
      const int64_t row = m * band / bands, rows = m * (band + 1) / bands - row;
      for (int64_t k = 0; k < depth; k += kPixels)
        gemm(Gemm<float>{.m = rows,
                         .n = std::min(kColumns, n - column),
                         .k_outer = 1,
                         .k_inner = std::min(kPixels, depth - k),
                         .a = a + k * m + row,
                         .a_row = 1,
                         .a_outer = 0,
                         .a_inner = m,
                         .b = b + k * n + column,
                         .b_panel = kPanel<float>,
                         .b_outer = 0,
                         .b_inner = n,
                         .c = to + row * n + column,
                         .c_row = n,
                         .accumulate = k > 0});
    }
  });
}

at::Tensor conv1x1_weight(const at::Tensor& grad, const at::Tensor& x) {
  constexpr const char* op = "conv1x1_weight";
  check_tensor(op, "grad", grad, 4);
  check_tensor(op, "x", x, 4);
  check_sizes(op, "x", x.sizes());
  const int64_t outputs = grad.size(1), channels = x.size(1);
  const std::vector<int64_t> shape{x.size(0), outputs, x.size(2), x.size(3)};
  TORCH_CHECK_VALUE(grad.sizes() == shape, op, ": grad is of shape ", grad.sizes(), ", expected ",
                    at::IntArrayRef(shape), ".");
  check_columns(op, outputs, channels);
  check_product(op, {x.size(0), x.size(2), x.size(3), channels, outputs});
  const int64_t pixels = x.size(0) * x.size(2) * x.size(3);
  if (pixels == 0) return at::zeros({outputs, channels, 1, 1}, x.options());
  const auto last = at::MemoryFormat::ChannelsLast;
  const at::Tensor image = dense(x, last), top = dense(grad, last);
  const bool turned = channels % kVector<float> != 0;
  const at::Tensor result = at::empty({turned ? channels : outputs, turned ? outputs : channels},
                                      x.options());
  const float *a = data<float>(turned ? image : top), *b = data<float>(turned ? top : image);
  transposed_product(a, result.size(0), b, result.size(1), pixels, data<float>(result));
  return (turned ? result.t().contiguous() : result).view({outputs, channels, 1, 1});
}

}  // namespace

TORCH_LIBRARY_IMPL(fcn_repro, CPU, m) {
  m.impl("pointwise_filters", pointwise_filters);
  m.impl("pointwise", pointwise);
  m.impl("conv1x1", conv1x1);
  m.impl("conv1x1_input", conv1x1_input);
  m.impl("conv1x1_weight", conv1x1_weight);
}

}  // namespace fcn
