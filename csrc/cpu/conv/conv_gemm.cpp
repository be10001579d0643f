// Convolution with stride 1 as matrix products (im2col + GEMM, as Caffe computes it), for layers
// with many filters and few output pixels, as fc6 and fc7 of VGG16 are:
//
//   y[n, o, i, j] = bias[o] + sum over a, b, c of w[o, a, b, c] * x[n, c, i + a, j + b]
//
// There the filters (411 MB for fc6) are the traffic that counts. They are read once, in place, in
// channels-last order: they are A of the product, (outputs x depth) with depth = (a, b, c). B is
// one kernel tap of the im2col matrix at a time, (channels x pixels), so that the whole im2col
// matrix is never written. Threads split the outputs into row blocks of kRowBlock, whose slice of
// A then stays in the L2 cache while B passes; sums over kDepthBlock channels are added to C one
// after another, which bounds the rounding error. The gradient of the input is the transposed
// product followed by col2im; the gradient of the filters is a product over the output pixels.
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
  m.def("conv_gemm(Tensor x, Tensor weight, Tensor? bias) -> Tensor");
  m.def("conv_gemm_input(Tensor grad, Tensor weight) -> Tensor");
  m.def("conv_gemm_weight(Tensor grad, Tensor x) -> Tensor");
}

namespace fcn {
namespace {

constexpr int64_t kRowBlock = 56;          // rows of A per task
constexpr int64_t kDepthBlock = 256;       // channels per partial sum
constexpr int64_t kGradDepthBlock = 128;   // filters per partial sum of the input's gradient
constexpr int64_t kGradColumnBlock = 512;  // columns of a task of it

int64_t round_up(int64_t n) { return (n + kVector<float> - 1) / kVector<float> * kVector<float>; }

// Row pitch for n columns: an odd number of cache lines, so that rows map to different cache sets
int64_t padded_pitch(int64_t n) { return round_up(n) | kVector<float>; }

// x (images, height + k_y - 1, width + k_x - 1, channels) and filters (outputs, k_y, k_x, channels)
// give y (images, height, width, outputs), up to the order of the axes in memory
struct ConvShape {
  int64_t images, channels, height, width, outputs, k_y, k_x;

  int64_t in_height() const { return height + k_y - 1; }
  int64_t in_width() const { return width + k_x - 1; }
  int64_t pixels() const { return images * height * width; }  // of the output
  int64_t depth() const { return k_y * k_x * channels; }      // of the reduction
};

ConvShape shape_of(const char* op, at::IntArrayRef x, at::IntArrayRef weight, at::IntArrayRef y) {
  check_sizes(op, "x", x);
  check_sizes(op, "weight", weight);
  check_sizes(op, "the result", y);
  const ConvShape s{.images = y[0],
                    .channels = x[1],
                    .height = y[2],
                    .width = y[3],
                    .outputs = weight[0],
                    .k_y = weight[2],
                    .k_x = weight[3]};
  TORCH_CHECK_VALUE(x[0] == y[0] && x[1] == weight[1] && y[1] == weight[0] && s.height >= 1 &&
                        s.width >= 1 && s.k_y >= 1 && s.k_x >= 1 && x[2] == s.in_height() &&
                        x[3] == s.in_width() && s.channels >= 1 && s.outputs >= 1,
                    op, ": x of ", x, " and filters of ", weight, " do not make ", y, ".");
  TORCH_CHECK_VALUE(s.channels % kVector<float> == 0, op, ": ", s.channels,
                    " channels, expected a multiple of ", kVector<float>, ".");
  check_product(op, {s.images, s.channels, s.outputs, s.in_height(), s.in_width(), s.k_y, s.k_x});
  return s;
}

at::Tensor channels_last(const at::Tensor& t) { return dense(t, at::MemoryFormat::ChannelsLast); }

at::Tensor empty_channels_last(at::IntArrayRef shape, const at::Tensor& like) {
  return at::empty(shape, like.options().memory_format(at::MemoryFormat::ChannelsLast));
}

// Call f(begin, end) for blocks of at most kRowBlock rows, in parallel
template <typename F>
void for_row_blocks(int64_t rows, F f) {
  const int64_t tasks = (rows + kRowBlock - 1) / kRowBlock;
  at::parallel_for(0, tasks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) f(rows * t / tasks, rows * (t + 1) / tasks);
  });
}

// The rows of the im2col matrix that belong to one kernel tap: (operands, pixels), rows `pitch`
// apart, from x (N, C, H, W)
template <typename T, typename F = typename OperandOf<T>::type>
void im2col_tap(const ConvShape& s, const T* x, int64_t tap, int64_t pitch, F* out) {
  constexpr int64_t per = sizeof(F) / sizeof(T);
  const int64_t top = tap / s.k_x, left = tap % s.k_x, plane = s.in_height() * s.in_width();
  at::parallel_for(0, s.channels / per, 16, [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) {
      F* to = out + c * pitch;
      for (int64_t n = 0; n < s.images; ++n)
        for (int64_t y = 0; y < s.height; ++y, to += s.width) {
          const T* from = x + (n * s.channels + c * per) * plane + (top + y) * s.in_width() + left;
          if constexpr (per == 1)
            std::copy_n(from, s.width, to);
          else
            for (int64_t p = 0; p < s.width; ++p)
              to[p] = {from[p].bits | static_cast<uint32_t>(from[p + plane].bits) << 16};
        }
    }
  });
}

// sums (outputs, pitch) in float32, from x (N, C, H, W) and channels-last filters
template <typename T>
void forward(const ConvShape& s, const at::Tensor& x, const at::Tensor& filters,
             const at::Tensor& sums) {
  using F = typename OperandOf<T>::type;
  constexpr int64_t per = sizeof(F) / sizeof(T);
  const int64_t pitch = sums.size(1), channels = s.channels / per, depth = s.depth() / per;
  const at::Tensor columns = at::zeros({channels, pitch * per}, x.options());
  for (int64_t tap = 0; tap < s.k_y * s.k_x; ++tap) {
    im2col_tap(s, data<T>(x), tap, pitch, data<F>(columns));
    for_row_blocks(s.outputs, [&](int64_t begin, int64_t end) {
      for (int64_t c = 0; c < channels; c += kDepthBlock)
        gemm(Gemm<F>{.m = end - begin,
                     .n = round_up(s.pixels()),
                     .k_outer = 1,
                     .k_inner = std::min(kDepthBlock, channels - c),
                     .a = data<F>(filters) + begin * depth + tap * channels + c,
                     .a_row = depth,
                     .a_outer = 0,
                     .a_inner = 1,
                     .b = data<F>(columns) + c * pitch,
                     .b_panel = kPanel<F>,
                     .b_outer = 0,
                     .b_inner = pitch,
                     .c = data<float>(sums) + begin * pitch,
                     .c_row = pitch,
                     .accumulate = tap + c > 0});
    });
  }
}

at::Tensor conv_gemm(const at::Tensor& x, const at::Tensor& weight,
                     const std::optional<at::Tensor>& bias) {
  constexpr const char* op = "conv_gemm";
  const auto type = x.scalar_type();
  check_tensor(op, "x", x, 4, type);
  check_tensor(op, "weight", weight, 4, type);
  const std::vector<int64_t> top{x.size(0), weight.size(0), x.size(2) - weight.size(2) + 1,
                                 x.size(3) - weight.size(3) + 1};
  const ConvShape s = shape_of(op, x.sizes(), weight.sizes(), top);
  if (bias) {
    check_tensor(op, "bias", *bias, 1, type);
    TORCH_CHECK_VALUE(bias->numel() == s.outputs, op, ": ", bias->numel(), " biases for ",
                      s.outputs, " filters.");
  }
  const at::Tensor result = at::empty(top, x.options());
  if (s.pixels() == 0) return result;
  const at::Tensor sums =
      at::empty({s.outputs, padded_pitch(s.pixels())}, x.options().dtype(at::kFloat));
  type == at::kFloat ? forward<float>(s, dense(x), channels_last(weight), sums)
                     : forward<Bf16>(s, dense(x), channels_last(weight), sums);
  if (bias) sums.add_(bias->unsqueeze(1));
  result.transpose(0, 1).copy_(
      sums.narrow(1, 0, s.pixels()).unflatten(1, {s.images, s.height, s.width}));
  return result;
}

// x's gradient, channels last, from the gradient of the im2col matrix: columns (pixels, depth)
void col2im(const ConvShape& s, const float* columns, float* x) {
  at::parallel_for(0, s.images * s.in_height(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t n = row / s.in_height(), i = row % s.in_height();
      float* to = x + row * s.in_width() * s.channels;
      std::fill_n(to, s.in_width() * s.channels, 0.0f);
      for (int64_t a = 0; a < s.k_y; ++a) {
        const int64_t y = i - a;
        if (y < 0 || y >= s.height) continue;
        for (int64_t p = 0; p < s.width; ++p) {  // taps along x are adjacent in both layouts
          const float* from =
              columns + ((n * s.height + y) * s.width + p) * s.depth() + a * s.k_x * s.channels;
          float* __restrict__ pixel = to + p * s.channels;
          for (int64_t c = 0; c < s.k_x * s.channels; ++c) pixel[c] += from[c];
        }
      }
    }
  });
}

at::Tensor conv_gemm_input(const at::Tensor& grad, const at::Tensor& weight) {
  constexpr const char* op = "conv_gemm_input";
  check_tensor(op, "grad", grad, 4);
  check_tensor(op, "weight", weight, 4);
  const std::vector<int64_t> bottom{grad.size(0), weight.size(1),
                                    grad.size(2) + weight.size(2) - 1,
                                    grad.size(3) + weight.size(3) - 1};
  const ConvShape s = shape_of(op, bottom, weight.sizes(), grad.sizes());
  const at::Tensor top = channels_last(grad), filters = channels_last(weight);
  const at::Tensor columns = at::empty({s.pixels(), s.depth()}, grad.options());
  const at::Tensor result = empty_channels_last(bottom, grad);
  const int64_t tasks = (s.depth() + kGradColumnBlock - 1) / kGradColumnBlock;
  at::parallel_for(0, s.pixels() ? tasks : 0, 1, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const int64_t column = t * kGradColumnBlock;
      for (int64_t k = 0; k < s.outputs; k += kGradDepthBlock)
        gemm(Gemm<float>{.m = s.pixels(),
                         .n = std::min(kGradColumnBlock, s.depth() - column),
                         .k_outer = 1,
                         .k_inner = std::min(kGradDepthBlock, s.outputs - k),
                         .a = top.const_data_ptr<float>() + k,
                         .a_row = s.outputs,
                         .a_outer = 0,
                         .a_inner = 1,
                         .b = filters.const_data_ptr<float>() + k * s.depth() + column,
                         .b_panel = kPanel<float>,
                         .b_outer = 0,
                         .b_inner = s.depth(),
                         .c = columns.mutable_data_ptr<float>() + column,
                         .c_row = s.depth(),
                         .accumulate = k > 0});
    }
  });
  col2im(s, columns.const_data_ptr<float>(), result.mutable_data_ptr<float>());
  return result;
}

at::Tensor conv_gemm_weight(const at::Tensor& grad, const at::Tensor& x) {
  constexpr const char* op = "conv_gemm_weight";
  check_tensor(op, "grad", grad, 4);
  check_tensor(op, "x", x, 4);
  const std::vector<int64_t> kernel{grad.size(1), x.size(1), x.size(2) - grad.size(2) + 1,
                                    x.size(3) - grad.size(3) + 1};
  const ConvShape s = shape_of(op, x.sizes(), kernel, grad.sizes());
  const at::Tensor top = dense(grad), image = channels_last(x);
  const at::Tensor result = empty_channels_last(kernel, x);
  if (s.images == 0) return result.zero_();
  const int64_t plane = s.height * s.width;
  for_row_blocks(s.outputs, [&](int64_t begin, int64_t end) {
    for (int64_t tap = 0; tap < s.k_y * s.k_x; ++tap)
      for (int64_t n = 0; n < s.images; ++n) {
        const int64_t corner =  // the tap's first pixel
            (n * s.in_height() + tap / s.k_x) * s.in_width() + tap % s.k_x;
        gemm(Gemm<float>{
            .m = end - begin,
            .n = s.channels,
            .k_outer = s.height,
            .k_inner = s.width,
            .a = top.const_data_ptr<float>() + (n * s.outputs + begin) * plane,
            .a_row = plane,
            .a_outer = s.width,
            .a_inner = 1,
            .b = image.const_data_ptr<float>() + corner * s.channels,
            .b_panel = kPanel<float>,
            .b_outer = s.in_width() * s.channels,
            .b_inner = s.channels,
            .c = result.mutable_data_ptr<float>() + begin * s.depth() + tap * s.channels,
            .c_row = s.depth(),
            .accumulate = n > 0});
      }
  });
  return result;
}

}  // namespace

TORCH_LIBRARY_IMPL(fcn_repro, CPU, m) {
  m.impl("conv_gemm", conv_gemm);
  m.impl("conv_gemm_input", conv_gemm_input);
  m.impl("conv_gemm_weight", conv_gemm_weight);
}

}  // namespace fcn
