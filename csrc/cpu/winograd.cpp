// Convolutions of 3x3 filters with stride 1 on the CPU, channels last, by Winograd's algorithm:
// tiles to points, one matrix product a point, points to tiles. Threads share the tiles; those of a
// task and their products stay in the cache.
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <optional>

#include "../dense.h"
#include "winograd.h"

TORCH_LIBRARY_FRAGMENT(fcn_repro, m) {
  m.def("conv3x3(Tensor x, Tensor weight, Tensor? bias, SymInt[2] pad) -> Tensor");
  m.def("conv3x3_gradient(Tensor grad, Tensor x, SymInt[2] pad) -> Tensor");
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

void check(const char* op, const char* name, const at::Tensor& t, int64_t axes) {
  TORCH_CHECK_VALUE(t.is_cpu() && t.scalar_type() == at::kFloat && t.dim() == axes, op, ": ", name,
                    " is ", t.scalar_type(), " of shape ", t.sizes(), " on ", t.device(),
                    ", expected float32 of ", axes, " axes on cpu.");
}

void check_channels(const char* op, int64_t channels) {
  TORCH_CHECK_VALUE(channels >= kLanes && channels % kLanes == 0, op, ": ", channels,
                    " channels, expected a multiple of ", kLanes, ".");
}

// The tiles over the output of a convolution; as the input sees them, a pad further out
Grid outputs_of(const char* op, const at::Tensor& x, int64_t channels, at::IntArrayRef pad) {
  TORCH_CHECK_VALUE(pad.size() == 2 && std::min(pad[0], pad[1]) >= 0 &&
                        std::max(pad[0], pad[1]) <= kMostPad, op, ": pad ", pad,
                    ", expected two numbers of 0 to ", kMostPad, ".");
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

at::Tensor winograd_filters(const at::Tensor& taps) {
  constexpr const char* op = "winograd_filters";
  check(op, "taps", taps, 4);
  TORCH_CHECK_VALUE(taps.size(0) == 3 && taps.size(1) == 3 && taps.size(2) >= 1, op,
                    ": taps of shape ", taps.sizes(), ", expected (3, 3, C, C_out).");
  const int64_t depth = taps.size(2), cols = taps.size(3);
  check_channels(op, cols);
  const at::Tensor from = dense(taps);
  const std::vector<int64_t> shape{kPlaces, panels(cols), depth, kPanel<float>};
  const at::Tensor result = cols % kPanel<float> ? at::zeros(shape, taps.options())
                                                 : at::empty(shape, taps.options());
  at::parallel_for(0, depth, std::max<int64_t>(1, 4096 / cols), [&](int64_t begin, int64_t end) {
    filters_to_points(from.const_data_ptr<float>(), depth, cols, begin, end,
                      result.mutable_data_ptr<float>());
  });
  return result;
}

at::Tensor winograd(const at::Tensor& x, const at::Tensor& filters, int64_t outputs,
                    const std::optional<at::Tensor>& bias, at::IntArrayRef pad) {
  constexpr const char* op = "winograd";
  check(op, "x", x, 4);
  check(op, "filters", filters, 4);
  check_channels(op, x.size(1));
  check_channels(op, outputs);
  const std::vector<int64_t> shape{kPlaces, panels(outputs), x.size(1), kPanel<float>};
  TORCH_CHECK_VALUE(filters.sizes() == at::IntArrayRef(shape), op, ": filters of shape ",
                    filters.sizes(), ", expected ", at::IntArrayRef(shape), ".");
  if (bias) {
    check(op, "bias", *bias, 1);
    TORCH_CHECK_VALUE(bias->numel() == outputs, op, ": ", bias->numel(), " biases for ", outputs,
                      " channels.");
  }
  const Grid out = outputs_of(op, x, outputs, pad), in = inputs_of(x, out, pad);
  const at::Tensor image = dense(x, at::MemoryFormat::ChannelsLast), packed = dense(filters);
  const at::Tensor shift = bias ? dense(*bias) : at::Tensor();
  const at::Tensor result = at::empty({out.images, outputs, out.height, out.width},
                                      x.options().memory_format(at::MemoryFormat::ChannelsLast));
  if (result.numel() == 0) return result;
  const int64_t step = tiles_of_task(out.count(), in.channels + outputs);
  const Tiles before(in.channels, step), after(outputs, step);
  const int64_t tasks = (out.count() + step - 1) / step, copy = kPlaces * in.channels;
  const at::Tensor memory = at::empty(
      {std::min<int64_t>(tasks, at::get_num_threads()), before.size() + after.size() + copy},
      x.options());
  at::parallel_for(0, tasks, 1, [&](int64_t begin, int64_t end) {
    float* v = memory.mutable_data_ptr<float>() + at::get_thread_num() * memory.size(1);
    float *m = v + before.size(), *window = m + after.size();
    for (int64_t task = begin; task < end; ++task) {
      const int64_t first = task * step, count = std::min(step, out.count() - first);
      inputs_to_points(in, image.const_data_ptr<float>(), first, count, window, before, v);
      for (int64_t p = 0; p < kPlaces; ++p)
        multiply(Product<float>{
            count, outputs, 1, in.channels, v + p * before.place, before.line, 0, 1,
            packed.const_data_ptr<float>() + p * packed.stride(0), packed.stride(1), 0,
            kPanel<float>, m + p * after.place, after.line, false});
      outputs_from_points(out, after, m, first, count,
                          bias ? shift.const_data_ptr<float>() : nullptr,
                          result.mutable_data_ptr<float>());
    }
  });
  return result;
}

at::Tensor conv3x3(const at::Tensor& x, const at::Tensor& weight,
                   const std::optional<at::Tensor>& bias, at::IntArrayRef pad) {
  check("conv3x3", "x", x, 4);
  check("conv3x3", "weight", weight, 4);
  TORCH_CHECK_VALUE(weight.size(1) == x.size(1), "conv3x3: filters of ", weight.sizes(), " for ",
                    x.size(1), " channels.");
  return winograd(x, winograd_filters(weight.permute({2, 3, 1, 0})), weight.size(0), bias, pad);
}

// The gradient of the weight (C_out, C, 3, 3), channels last
at::Tensor conv3x3_gradient(const at::Tensor& grad, const at::Tensor& x, at::IntArrayRef pad) {
  constexpr const char* op = "conv3x3_gradient";
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
  m.impl("conv3x3_gradient", conv3x3_gradient);
}

}  // namespace fcn
