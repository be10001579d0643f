// 3x3 convolution with stride 1, channels last, by Winograd's algorithm on the CPU
// (winograd_transforms.h): the ops, the blocking, and the gradients.
//
// A task is a block of tiles: transform the inputs to the 36 points, multiply (tiles x channels)
// by (channels x outputs) at each point, transform back. The block is chosen so that its
// transformed inputs and products stay in the cache (kTaskElements) and that all threads get
// equally many. A larger kernel is a sum of 3x3 ones, one for each block of taps, with zeros beyond
// its edges: their products are added at the points, and transformed back once. Filters are transformed once, into the column panels that the micro-kernel
// streams. The gradient of the input is the same convolution with flipped filters; that of the
// filters is one product per point over the tiles, accumulated over blocks of kGradientTiles.
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <optional>

#include "../../dense.h"
#include "../../winograd.h"
#include "operands.h"
#include "winograd_transforms.h"

namespace fcn {
namespace {

constexpr int64_t kTaskElements = 384 * 1024;  // transformed inputs and products of a task
constexpr int64_t kMinTaskTiles = 56, kMaxTaskTiles = 168;
constexpr int64_t kGradientTiles = 128;  // per partial sum of the filters' gradient

// Tiles per task: as many as fit the cache, in equal numbers for all threads
int64_t tiles_per_task(int64_t tiles, int64_t channels) {
  const int64_t most =
      std::clamp(kTaskElements / (kPoints * channels), kMinTaskTiles, kMaxTaskTiles);
  const int64_t threads = at::get_num_threads();
  const int64_t rounds = (tiles + threads * most - 1) / (threads * most);
  return (tiles + threads * rounds - 1) / (threads * rounds);
}

int64_t panels(int64_t cols) { return (cols + kPanel<float> - 1) / kPanel<float>; }

// Shape of transformed filters: (36 points, panels, operands of depth, elements of a panel row)
std::vector<int64_t> packed_shape(at::ScalarType type, int64_t channels, int64_t outputs) {
  return {kPoints, panels(outputs), channels / channels_per_operand(type),
          kPanel<float> * channels_per_operand(type)};
}

template <typename T>
void pack_filters(const at::Tensor& taps, const at::Tensor& result) {
  const int64_t depth = result.size(2), cols = taps.size(3);
  at::parallel_for(0, depth, std::max<int64_t>(1, 4096 / cols), [&](int64_t begin, int64_t end) {
    transform_filters(data<T>(taps), depth, cols, begin, end,
                      data<typename OperandOf<T>::type>(result));
  });
}

at::Tensor winograd_filters(const at::Tensor& taps) {
  const auto type = supported(taps.scalar_type());
  check_taps("winograd_filters", taps, type, channels_per_operand(type));
  const at::Tensor from = dense(taps);
  const auto shape = packed_shape(type, taps.size(2), taps.size(3));
  const at::Tensor result = taps.size(3) % kPanel<float> ? at::zeros(shape, taps.options())
                                                         : at::empty(shape, taps.options());
  type == at::kFloat ? pack_filters<float>(from, result) : pack_filters<Bf16>(from, result);
  return result;
}

// Dense channels-last tensors, the tiles over x and the result, and the blocks of 3x3 taps
struct Convolution {
  TileGrid in, out;
  int64_t blocks_y, blocks_x;
  at::Tensor x, filters, bias, result;
};

template <typename T>
void convolve(const Convolution& op) {
  using F = typename OperandOf<T>::type;
  constexpr int64_t per = sizeof(F) / sizeof(T);
  const TileGrid &in = op.in, &out = op.out;
  const int64_t step = tiles_per_task(out.count(), op.blocks_x * in.channels + out.channels);
  const int64_t tasks = (out.count() + step - 1) / step, depth = in.channels / per;
  const PointLayout before(in.channels, step), after(out.channels, step);
  const int64_t threads = std::min<int64_t>(tasks, at::get_num_threads());
  const auto options = op.filters.options();
  const at::Tensor points = at::empty({threads, op.blocks_x * before.size()}, options);
  const at::Tensor copies = at::empty({threads, kPoints * in.channels}, options);
  const at::Tensor sums = at::empty({threads, after.size()}, options.dtype(at::kFloat));
  at::parallel_for(0, tasks, 1, [&](int64_t begin, int64_t end) {
    const int64_t thread = at::get_thread_num();
    T* v = data<T>(points) + thread * points.size(1);
    float* m = data<float>(sums) + thread * sums.size(1);
    for (int64_t task = begin; task < end; ++task) {
      const int64_t first = task * step, count = std::min(step, out.count() - first);
      for (int64_t row = 0; row < op.blocks_y; ++row) {  // a product has the blocks of a row
        for (int64_t column = 0; column < op.blocks_x; ++column) {
          TileGrid from = in;
          from.pad_y -= 3 * row, from.pad_x -= 3 * column;
          transform_inputs(from, data<T>(op.x), first, count,
                           data<T>(copies) + thread * copies.size(1), before,
                           v + column * before.size());
        }
        for (int64_t p = 0; p < kPoints; ++p)
          gemm(Gemm<F>{.m = count,
                       .n = out.channels,
                       .k_outer = op.blocks_x,
                       .k_inner = depth,
                       .a = reinterpret_cast<const F*>(v + p * before.point),
                       .a_row = before.tile / per,
                       .a_outer = before.size() / per,
                       .a_inner = 1,
                       .b = data<F>(op.filters) + p * op.filters.stride(0) / per +
                            row * op.blocks_x * depth * kPanel<F>,
                       .b_panel = op.blocks_y * op.blocks_x * depth * kPanel<F>,
                       .b_outer = depth * kPanel<F>,
                       .b_inner = kPanel<F>,
                       .c = m + p * after.point,
                       .c_row = after.tile,
                       .accumulate = row > 0});
      }
      transform_outputs(out, after, m, first, count, data<T>(op.bias), data<T>(op.result));
    }
  });
}

// The convolution of x with as many blocks of filters, whose arguments are checked
at::Tensor convolved(const at::Tensor& x, const at::Tensor& filters,
                     const std::optional<at::Tensor>& bias, const TileGrids& grids,
                     int64_t blocks_y, int64_t blocks_x) {
  const auto& [in, out] = grids;
  const at::Tensor result = at::empty({out.images, out.channels, out.height, out.width},
                                      x.options().memory_format(at::MemoryFormat::ChannelsLast));
  if (result.numel() == 0) return result;
  const Convolution all{.in = in,
                        .out = out,
                        .blocks_y = blocks_y,
                        .blocks_x = blocks_x,
                        .x = dense(x, at::MemoryFormat::ChannelsLast),
                        .filters = dense(filters),
                        .bias = bias ? dense(*bias) : at::Tensor(),
                        .result = result};
  x.scalar_type() == at::kFloat ? convolve<float>(all) : convolve<Bf16>(all);
  return result;
}

at::Tensor winograd(const at::Tensor& x, const at::Tensor& filters, int64_t outputs,
                    const std::optional<at::Tensor>& bias, at::IntArrayRef pad) {
  constexpr const char* op = "winograd";
  const auto type = supported(x.scalar_type());
  const TileGrids grids = check_winograd(op, x, type, outputs, bias, pad);
  check_points(op, filters, x, packed_shape(type, x.size(1), outputs));
  return convolved(x, filters, bias, grids, 1, 1);
}

// A kernel of any size: filters are those of its blocks of 3x3 taps, one behind another
at::Tensor winograd_blocks(const at::Tensor& x, const at::Tensor& filters, int64_t outputs,
                           const std::optional<at::Tensor>& bias, at::IntArrayRef kernel,
                           at::IntArrayRef pad) {
  constexpr const char* op = "winograd_blocks";
  const auto type = supported(x.scalar_type());
  const TileGrids grids = check_winograd_blocks(op, x, type, outputs, bias, kernel, pad);
  const int64_t blocks_y = (kernel[0] + 2) / 3, blocks_x = (kernel[1] + 2) / 3;
  check_points(op, filters, x, packed_shape(type, blocks_y * blocks_x * x.size(1), outputs));
  return convolved(x, filters, bias, grids, blocks_y, blocks_x);
}

// The gradient of x: a convolution with the flipped filters
at::Tensor conv3x3_input(const at::Tensor& grad, const at::Tensor& weight, at::IntArrayRef pad) {
  check_conv3x3_input(grad, weight, pad);
  return winograd(grad, winograd_filters(weight.flip({2, 3}).permute({2, 3, 0, 1})),
                  weight.size(1), std::nullopt, {2 - pad[0], 2 - pad[1]});
}

// The gradient of the weight (C_out, C, 3, 3), channels last
at::Tensor conv3x3_weight(const at::Tensor& grad, const at::Tensor& x, at::IntArrayRef pad) {
  const auto [in, out] = check_conv3x3_weight(grad, x, pad);
  const int64_t rows = grad.size(1), cols = x.size(1);
  const at::Tensor image = dense(x, at::MemoryFormat::ChannelsLast);
  const at::Tensor top = dense(grad, at::MemoryFormat::ChannelsLast);
  const at::Tensor result = at::empty({rows, cols, 3, 3},
                                      x.options().memory_format(at::MemoryFormat::ChannelsLast));
  const at::Tensor sums = out.count() ? at::empty({kPoints, rows, cols}, x.options())
                                      : at::zeros({kPoints, rows, cols}, x.options());
  const int64_t step = std::min(kGradientTiles, std::max<int64_t>(1, out.count()));
  const PointLayout right(cols, step), left(rows, step);
  const at::Tensor memory = at::empty({left.size() + right.size()}, x.options());
  const at::Tensor copies =
      at::empty({at::get_num_threads(), kPoints * std::max(rows, cols)}, x.options());
  float *u = memory.mutable_data_ptr<float>(), *v = u + left.size();
  for (int64_t first = 0; first < out.count(); first += step) {
    const int64_t count = std::min(step, out.count() - first);
    at::parallel_for(0, count, 4, [&](int64_t begin, int64_t end) {
      float* copy = copies.mutable_data_ptr<float>() + at::get_thread_num() * copies.size(1);
      transform_gradients(out, top.const_data_ptr<float>(), first + begin, end - begin, copy, left,
                          u + begin * left.tile);
      transform_inputs(in, image.const_data_ptr<float>(), first + begin, end - begin, copy, right,
                       v + begin * right.tile);
    });
    at::parallel_for(0, kPoints, 1, [&](int64_t begin, int64_t end) {
      for (int64_t p = begin; p < end; ++p)
        gemm(Gemm<float>{.m = rows,
                         .n = cols,
                         .k_outer = 1,
                         .k_inner = count,
                         .a = u + p * left.point,
                         .a_row = 1,
                         .a_outer = 0,
                         .a_inner = left.tile,
                         .b = v + p * right.point,
                         .b_panel = kPanel<float>,
                         .b_outer = 0,
                         .b_inner = right.tile,
                         .c = sums.mutable_data_ptr<float>() + p * rows * cols,
                         .c_row = cols,
                         .accumulate = first > 0});
    });
  }
  at::parallel_for(0, rows, std::max<int64_t>(1, 4096 / cols), [&](int64_t begin, int64_t end) {
    inverse_transform_filters(sums.const_data_ptr<float>(), rows, cols, begin, end,
                              result.mutable_data_ptr<float>());
  });
  return result;
}

}  // namespace

TORCH_LIBRARY_IMPL(fcn_repro, CPU, m) {
  m.impl("winograd_filters", winograd_filters);
  m.impl("winograd", winograd);
  m.impl("winograd_blocks", winograd_blocks);
  m.impl("conv3x3", conv3x3);
  m.impl("conv3x3_input", conv3x3_input);
  m.impl("conv3x3_weight", conv3x3_weight);
}

}  // namespace fcn
