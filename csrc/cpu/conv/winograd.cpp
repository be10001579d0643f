// Convolutions of 3x3 filters with stride 1 on the CPU, channels last, by Winograd's algorithm:
// tiles to points, one matrix product a point, points to tiles. Threads share the tiles; those of a
// task and their products stay in the cache.
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <optional>

#include "../../dense.h"
#include "operands.h"
#include "winograd_transforms.h"

TORCH_LIBRARY_FRAGMENT(fcn_repro, m) {
  m.def("conv3x3(Tensor x, Tensor weight, Tensor? bias, SymInt[2] pad) -> Tensor");
  m.def("conv3x3_input(Tensor grad, Tensor weight, SymInt[2] pad) -> Tensor");
  m.def("conv3x3_weight(Tensor grad, Tensor x, SymInt[2] pad) -> Tensor");
  m.def("winograd_filters(Tensor taps) -> Tensor");
  m.def("winograd(Tensor x, Tensor filters, SymInt outputs, Tensor? bias, SymInt[2] pad) "
        "-> Tensor");
}

namespace fcn {
namespace {

constexpr int64_t kWork = 384 * 1024;  // numbers of a task, inputs and outputs at the points
constexpr int64_t kFew = 56, kMany = 168;
constexpr int64_t kSlab = 128;         // tiles of a gradient that are summed at once
constexpr int64_t kMostPad = 2;        // the gradient of the input is a convolution with 2 - pad

// Tiles of a task: as many tasks as keep all threads equally busy
int64_t tiles_of_task(int64_t tiles, int64_t channels) {
  const int64_t most = std::clamp(kWork / (kPlaces * channels), kFew, kMany);
  const int64_t threads = at::get_num_threads();
  const int64_t rounds = (tiles + threads * most - 1) / (threads * most);
  return (tiles + threads * rounds - 1) / (threads * rounds);
}

void check_channels(const char* op, int64_t channels) {
  TORCH_CHECK_VALUE(channels >= kLanes && channels % kLanes == 0, op, ": ", channels,
                    " channels, expected a multiple of ", kLanes, ".");
}

void check_pad(const char* op, at::IntArrayRef pad) {
  TORCH_CHECK_VALUE(pad.size() == 2 && std::min(pad[0], pad[1]) >= 0 &&
                        std::max(pad[0], pad[1]) <= kMostPad, op, ": pad ", pad,
                    ", expected two numbers of 0 to ", kMostPad, ".");
}

// The tiles over the output of a convolution; as the input sees them, a pad further out
Grid outputs_of(const char* op, const at::Tensor& x, int64_t channels, at::IntArrayRef pad) {
  check_pad(op, pad);
  const int64_t height = x.size(2) + 2 * pad[0] - 2, width = x.size(3) + 2 * pad[1] - 2;
  TORCH_CHECK_VALUE(height > 0 && width > 0, op, ": x of ", x.sizes(), " and pad ", pad,
                    " leave no output.");
  return {x.size(0), height, width, channels, 0, 0, (height + kTile - 1) / kTile,
          (width + kTile - 1) / kTile};
}

Grid inputs_of(const at::Tensor& x, const Grid& out, at::IntArrayRef pad) {
  return {out.images, x.size(2), x.size(3), x.size(1), pad[0], pad[1], out.tiles_y, out.tiles_x};
}

int64_t panels(int64_t cols) { return (cols + kPanel<float> - 1) / kPanel<float>; }

// The shape of filters at the points, (36, panels, factors, numbers of a panel)
std::vector<int64_t> packed_shape(at::ScalarType type, int64_t channels, int64_t outputs) {
  return {kPlaces, panels(outputs), channels / per_factor(type), kPanel<float> * per_factor(type)};
}

template <typename T>
void fill_filters(const at::Tensor& taps, const at::Tensor& result) {
  const int64_t depth = result.size(2), cols = taps.size(3);
  at::parallel_for(0, depth, std::max<int64_t>(1, 4096 / cols), [&](int64_t begin, int64_t end) {
    filters_to_points(data<T>(taps), depth, cols, begin, end,
                      data<typename Factor<T>::type>(result));
  });
}

at::Tensor winograd_filters(const at::Tensor& taps) {
  constexpr const char* op = "winograd_filters";
  const auto type = taps.scalar_type();
  check(op, "taps", taps, 4, type);
  TORCH_CHECK_VALUE(taps.size(0) == 3 && taps.size(1) == 3 && taps.size(2) >= per_factor(type) &&
                        taps.size(2) % per_factor(type) == 0, op, ": taps of shape ", taps.sizes(),
                    ", expected (3, 3, C, C_out).");
  check_channels(op, taps.size(3));
  const at::Tensor from = dense(taps);
  const auto shape = packed_shape(type, taps.size(2), taps.size(3));
  const at::Tensor result = taps.size(3) % kPanel<float> ? at::zeros(shape, taps.options())
                                                         : at::empty(shape, taps.options());
  type == at::kFloat ? fill_filters<float>(from, result) : fill_filters<Bf16>(from, result);
  return result;
}

// Tensors, dense and channels last, and how tiles lie on x and on the result
struct Convolution {
  Grid in, out;
  at::Tensor x, filters, bias, result;
};

template <typename T>
void convolve(const Convolution& op) {
  using F = typename Factor<T>::type;
  constexpr int64_t per = sizeof(F) / sizeof(T);
  const Grid &in = op.in, &out = op.out;
  const int64_t step = tiles_of_task(out.count(), in.channels + out.channels);
  const int64_t tasks = (out.count() + step - 1) / step, depth = in.channels / per;
  const Tiles before(in.channels, step), after(out.channels, step);
  const int64_t threads = std::min<int64_t>(tasks, at::get_num_threads());
  const auto numbers = op.filters.options();
  const at::Tensor points = at::empty({threads, before.size()}, numbers);
  const at::Tensor copies = at::empty({threads, kPlaces * in.channels}, numbers);
  const at::Tensor sums = at::empty({threads, after.size()}, numbers.dtype(at::kFloat));
  at::parallel_for(0, tasks, 1, [&](int64_t begin, int64_t end) {
    const int64_t thread = at::get_thread_num();
    T* v = data<T>(points) + thread * points.size(1);
    float* m = data<float>(sums) + thread * sums.size(1);
    for (int64_t task = begin; task < end; ++task) {
      const int64_t first = task * step, count = std::min(step, out.count() - first);
      inputs_to_points(in, data<T>(op.x), first, count,
                       data<T>(copies) + thread * copies.size(1), before, v);
      for (int64_t p = 0; p < kPlaces; ++p)
        multiply(Product<F>{count, out.channels, 1, depth,
                            reinterpret_cast<const F*>(v + p * before.place), before.line / per, 0,
                            1, data<F>(op.filters) + p * op.filters.stride(0) / per,
                            depth * kPanel<F>, 0, kPanel<F>, m + p * after.place, after.line,
                            false});
      outputs_from_points(out, after, m, first, count, data<T>(op.bias), data<T>(op.result));
    }
  });
}

at::Tensor winograd(const at::Tensor& x, const at::Tensor& filters, int64_t outputs,
                    const std::optional<at::Tensor>& bias, at::IntArrayRef pad) {
  constexpr const char* op = "winograd";
  const auto type = x.scalar_type();
  check(op, "x", x, 4, type);
  check(op, "filters", filters, 4, type);
  check_channels(op, x.size(1));
  check_channels(op, outputs);
  const auto shape = packed_shape(type, x.size(1), outputs);
  TORCH_CHECK_VALUE(filters.sizes() == at::IntArrayRef(shape), op, ": filters of shape ",
                    filters.sizes(), ", expected ", at::IntArrayRef(shape), ".");
  if (bias) {
    check(op, "bias", *bias, 1, type);
    TORCH_CHECK_VALUE(bias->numel() == outputs, op, ": ", bias->numel(), " biases for ", outputs,
                      " channels.");
  }
  const Grid out = outputs_of(op, x, outputs, pad);
  const at::Tensor result = at::empty({out.images, outputs, out.height, out.width},
                                      x.options().memory_format(at::MemoryFormat::ChannelsLast));
  if (result.numel() == 0) return result;
  const Convolution all{inputs_of(x, out, pad), out, dense(x, at::MemoryFormat::ChannelsLast),
                        dense(filters), bias ? dense(*bias) : at::Tensor(), result};
  type == at::kFloat ? convolve<float>(all) : convolve<Bf16>(all);
  return result;
}

// An image and filters (C_out, C, 3, 3), whose `axis` is its channels
void check_filters(const char* op, const at::Tensor& image, const at::Tensor& weight, int64_t axis) {
  check(op, axis ? "x" : "grad", image, 4);
  check(op, "weight", weight, 4);
  TORCH_CHECK_VALUE(weight.size(2) == 3 && weight.size(3) == 3 &&
                        weight.size(axis) == image.size(1), op, ": filters of ", weight.sizes(),
                    " for ", image.size(1), " channels, expected (C_out, C, 3, 3).");
  check_channels(op, weight.size(0));
  check_channels(op, weight.size(1));
}

// Summed directly, as torch does: what ReLUs and maxima decide by this is then decided alike at all
// places of equal inputs, as in Caffe
at::Tensor conv3x3(const at::Tensor& x, const at::Tensor& weight,
                   const std::optional<at::Tensor>& bias, at::IntArrayRef pad) {
  constexpr const char* op = "conv3x3";
  check_filters(op, x, weight, 1);
  if (bias) {
    check(op, "bias", *bias, 1);
    TORCH_CHECK_VALUE(bias->numel() == weight.size(0), op, ": ", bias->numel(), " biases for ",
                      weight.size(0), " channels.");
  }
  outputs_of(op, x, weight.size(0), pad);
  return dense(at::conv2d(dense(x, at::MemoryFormat::ChannelsLast),
                          dense(weight, at::MemoryFormat::ChannelsLast), bias, 1, pad),
               at::MemoryFormat::ChannelsLast);
}

// The gradient of x: a convolution with the filters turned around
at::Tensor conv3x3_input(const at::Tensor& grad, const at::Tensor& weight, at::IntArrayRef pad) {
  check_filters("conv3x3_input", grad, weight, 0);
  check_pad("conv3x3_input", pad);
  return winograd(grad, winograd_filters(weight.flip({2, 3}).permute({2, 3, 0, 1})),
                  weight.size(1), std::nullopt, {2 - pad[0], 2 - pad[1]});
}

// The gradient of the weight (C_out, C, 3, 3), channels last
at::Tensor conv3x3_weight(const at::Tensor& grad, const at::Tensor& x, at::IntArrayRef pad) {
  constexpr const char* op = "conv3x3_weight";
  check(op, "grad", grad, 4);
  check(op, "x", x, 4);
  check_channels(op, x.size(1));
  check_channels(op, grad.size(1));
  const Grid out = outputs_of(op, x, grad.size(1), pad), in = inputs_of(x, out, pad);
  TORCH_CHECK_VALUE(grad.size(0) == x.size(0) && grad.size(2) == out.height &&
                        grad.size(3) == out.width, op, ": grad of ", grad.sizes(), " for x of ",
                    x.sizes(), " and pad ", pad, ".");
  const int64_t rows = grad.size(1), cols = x.size(1);
  const at::Tensor image = dense(x, at::MemoryFormat::ChannelsLast);
  const at::Tensor top = dense(grad, at::MemoryFormat::ChannelsLast);
  const at::Tensor result = at::empty({rows, cols, 3, 3},
                                      x.options().memory_format(at::MemoryFormat::ChannelsLast));
  const at::Tensor sums = out.count() ? at::empty({kPlaces, rows, cols}, x.options())
                                      : at::zeros({kPlaces, rows, cols}, x.options());
  const int64_t step = std::min(kSlab, std::max<int64_t>(1, out.count()));
  const Tiles right(cols, step), left(rows, step);
  const at::Tensor memory = at::empty({left.size() + right.size()}, x.options());
  const at::Tensor copies = at::empty({at::get_num_threads(), kPlaces * std::max(rows, cols)},
                                      x.options());
  float *u = memory.mutable_data_ptr<float>(), *v = u + left.size();
  for (int64_t first = 0; first < out.count(); first += step) {
    const int64_t count = std::min(step, out.count() - first);
    at::parallel_for(0, count, 4, [&](int64_t begin, int64_t end) {
      float* copy = copies.mutable_data_ptr<float>() + at::get_thread_num() * copies.size(1);
      gradients_to_points(out, top.const_data_ptr<float>(), first + begin, end - begin, copy, left,
                          u + begin * left.line);
      inputs_to_points(in, image.const_data_ptr<float>(), first + begin, end - begin, copy, right,
                       v + begin * right.line);
    });
    at::parallel_for(0, kPlaces, 1, [&](int64_t begin, int64_t end) {
      for (int64_t p = begin; p < end; ++p)
        multiply(Product<float>{rows, cols, 1, count, u + p * left.place, 1, 0, left.line,
                                v + p * right.place, kPanel<float>, 0, right.line,
                                sums.mutable_data_ptr<float>() + p * rows * cols, cols, first > 0});
    });
  }
  at::parallel_for(0, rows, std::max<int64_t>(1, 4096 / cols), [&](int64_t begin, int64_t end) {
    filters_from_points(sums.const_data_ptr<float>(), rows, cols, begin, end,
                        result.mutable_data_ptr<float>());
  });
  return result;
}

}  // namespace

TORCH_LIBRARY_IMPL(fcn_repro, CPU, m) {
  m.impl("winograd_filters", winograd_filters);
  m.impl("winograd", winograd);
  m.impl("conv3x3", conv3x3);
  m.impl("conv3x3_input", conv3x3_input);
  m.impl("conv3x3_weight", conv3x3_weight);
}

}  // namespace fcn
