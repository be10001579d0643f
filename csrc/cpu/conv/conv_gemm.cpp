// Convolution with stride 1 as matrix products (Caffe's im2col and gemm) on the CPU, for layers with
// many filters and few places to use them, as fc6 and fc7 are. The filters, channels last, are read
// once and where they are; what is laid out anew is the input, one tap of the kernel after the other.
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <optional>

#include "../../dense.h"
#include "operands.h"

TORCH_LIBRARY_FRAGMENT(fcn_repro, m) {
  m.def("conv_gemm(Tensor x, Tensor weight, Tensor? bias) -> Tensor");
  m.def("conv_gemm_input(Tensor grad, Tensor weight) -> Tensor");
  m.def("conv_gemm_weight(Tensor grad, Tensor x) -> Tensor");
}

namespace fcn {
namespace {

constexpr int64_t kRows = 56;    // rows of a product, whose factor then stays in the L2 cache
constexpr int64_t kSummed = 256; // products that are summed one by one, which rounds less than all
constexpr int64_t kDepth = 128;  // filters that are summed at once in the gradient of the input,
constexpr int64_t kWidth = 512;  // and channels that a task sums

int64_t up(int64_t n) { return (n + kColumns<float> - 1) / kColumns<float> * kColumns<float>; }

// Room for n columns: an odd number of cache lines, so that rows fall on different cache sets
int64_t room(int64_t n) { return up(n) | kColumns<float>; }

// x (images, height + k_y - 1, width + k_x - 1, channels) by filters (outputs, k_y, k_x, channels)
// is y (images, height, width, outputs), each of them in some order of the axes
struct Shape {
  int64_t images, channels, height, width, outputs, k_y, k_x;

  int64_t in_height() const { return height + k_y - 1; }
  int64_t in_width() const { return width + k_x - 1; }
  int64_t places() const { return images * height * width; }
  int64_t depth() const { return k_y * k_x * channels; }
};

Shape shape_of(const char* op, at::IntArrayRef x, at::IntArrayRef weight, at::IntArrayRef y) {
  const Shape s{y[0], x[1], y[2], y[3], weight[0], weight[2], weight[3]};
  TORCH_CHECK_VALUE(x[0] == y[0] && x[1] == weight[1] && y[1] == weight[0] && s.height >= 1 &&
                        s.width >= 1 && s.k_y >= 1 && s.k_x >= 1 && x[2] == s.in_height() &&
                        x[3] == s.in_width() && s.channels >= 1 && s.outputs >= 1,
                    op, ": x of ", x, " and filters of ", weight, " do not make ", y, ".");
  TORCH_CHECK_VALUE(s.channels % kColumns<float> == 0, op, ": ", s.channels,
                    " channels, expected a multiple of ", kColumns<float>, ".");
  return s;
}

at::Tensor last(const at::Tensor& t) { return dense(t, at::MemoryFormat::ChannelsLast); }

at::Tensor empty_last(at::IntArrayRef shape, const at::Tensor& like) {
  return at::empty(shape, like.options().memory_format(at::MemoryFormat::ChannelsLast));
}

// f(begin, end) over `rows`, a few of them at a time
template <typename F>
void for_rows(int64_t rows, F f) {
  const int64_t tasks = (rows + kRows - 1) / kRows;
  at::parallel_for(0, tasks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) f(rows * t / tasks, rows * (t + 1) / tasks);
  });
}

// What one tap of the kernel reads of x (N, C, H, W): (factors, places), `line` of them a row
template <typename T, typename F = typename Factor<T>::type>
void window(const Shape& s, const T* x, int64_t tap, int64_t line, F* out) {
  constexpr int64_t per = sizeof(F) / sizeof(T);
  const int64_t top = tap / s.k_x, left = tap % s.k_x, plane = s.in_height() * s.in_width();
  at::parallel_for(0, s.channels / per, 16, [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) {
      F* to = out + c * line;
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

// sums (outputs, line) in float32 of x (N, C, H, W) and the filters, channels last
template <typename T>
void sum(const Shape& s, const at::Tensor& x, const at::Tensor& filters, const at::Tensor& sums) {
  using F = typename Factor<T>::type;
  constexpr int64_t per = sizeof(F) / sizeof(T);
  const int64_t line = sums.size(1), channels = s.channels / per, depth = s.depth() / per;
  const at::Tensor factor = at::zeros({channels, line * per}, x.options());
  for (int64_t tap = 0; tap < s.k_y * s.k_x; ++tap) {
    window(s, data<T>(x), tap, line, data<F>(factor));
    for_rows(s.outputs, [&](int64_t begin, int64_t end) {
      for (int64_t c = 0; c < channels; c += kSummed)
        multiply(Product<F>{end - begin, up(s.places()), 1, std::min(kSummed, channels - c),
                            data<F>(filters) + begin * depth + tap * channels + c, depth, 0, 1,
                            data<F>(factor) + c * line, kPanel<F>, 0, line,
                            data<float>(sums) + begin * line, line, tap + c > 0});
    });
  }
}

at::Tensor conv_gemm(const at::Tensor& x, const at::Tensor& weight,
                     const std::optional<at::Tensor>& bias) {
  constexpr const char* op = "conv_gemm";
  const auto type = x.scalar_type();
  check(op, "x", x, 4, type);
  check(op, "weight", weight, 4, type);
  const std::vector<int64_t> top{x.size(0), weight.size(0), x.size(2) - weight.size(2) + 1,
                                 x.size(3) - weight.size(3) + 1};
  const Shape s = shape_of(op, x.sizes(), weight.sizes(), top);
  if (bias) {
    check(op, "bias", *bias, 1, type);
    TORCH_CHECK_VALUE(bias->numel() == s.outputs, op, ": ", bias->numel(), " biases for ",
                      s.outputs, " filters.");
  }
  const at::Tensor result = at::empty(top, x.options());
  if (s.places() == 0) return result;
  const at::Tensor sums = at::empty({s.outputs, room(s.places())}, x.options().dtype(at::kFloat));
  type == at::kFloat ? sum<float>(s, dense(x), last(weight), sums)
                     : sum<Bf16>(s, dense(x), last(weight), sums);
  if (bias) sums.add_(bias->unsqueeze(1));
  result.transpose(0, 1).copy_(
      sums.narrow(1, 0, s.places()).unflatten(1, {s.images, s.height, s.width}));
  return result;
}

// x's gradient, channels last, from what each place gives to all that it read
void fold(const Shape& s, const float* given, float* x) {
  at::parallel_for(0, s.images * s.in_height(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t n = row / s.in_height(), i = row % s.in_height();
      float* to = x + row * s.in_width() * s.channels;
      std::fill_n(to, s.in_width() * s.channels, 0.0f);
      for (int64_t a = 0; a < s.k_y; ++a) {
        const int64_t y = i - a;
        if (y < 0 || y >= s.height) continue;
        for (int64_t p = 0; p < s.width; ++p) {  // its taps along x lie side by side, as cells do
          const float* from = given + ((n * s.height + y) * s.width + p) * s.depth() +
                              a * s.k_x * s.channels;
          float* __restrict__ cells = to + p * s.channels;
          for (int64_t c = 0; c < s.k_x * s.channels; ++c) cells[c] += from[c];
        }
      }
    }
  });
}

at::Tensor conv_gemm_input(const at::Tensor& grad, const at::Tensor& weight) {
  constexpr const char* op = "conv_gemm_input";
  check(op, "grad", grad, 4);
  check(op, "weight", weight, 4);
  const std::vector<int64_t> bottom{grad.size(0), weight.size(1),
                                    grad.size(2) + weight.size(2) - 1,
                                    grad.size(3) + weight.size(3) - 1};
  const Shape s = shape_of(op, bottom, weight.sizes(), grad.sizes());
  const at::Tensor top = last(grad), filters = last(weight);
  const at::Tensor given = at::empty({s.places(), s.depth()}, grad.options());
  const at::Tensor result = empty_last(bottom, grad);
  const int64_t tasks = (s.depth() + kWidth - 1) / kWidth;
  at::parallel_for(0, s.places() ? tasks : 0, 1, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      for (int64_t k = 0; k < s.outputs; k += kDepth)
        multiply(Product<float>{
            s.places(), std::min(kWidth, s.depth() - t * kWidth), 1, std::min(kDepth, s.outputs - k),
            top.const_data_ptr<float>() + k, s.outputs, 0, 1,
            filters.const_data_ptr<float>() + k * s.depth() + t * kWidth, kPanel<float>, 0,
            s.depth(), given.mutable_data_ptr<float>() + t * kWidth, s.depth(), k > 0});
  });
  fold(s, given.const_data_ptr<float>(), result.mutable_data_ptr<float>());
  return result;
}

at::Tensor conv_gemm_weight(const at::Tensor& grad, const at::Tensor& x) {
  constexpr const char* op = "conv_gemm_weight";
  check(op, "grad", grad, 4);
  check(op, "x", x, 4);
  const std::vector<int64_t> kernel{grad.size(1), x.size(1), x.size(2) - grad.size(2) + 1,
                                    x.size(3) - grad.size(3) + 1};
  const Shape s = shape_of(op, x.sizes(), kernel, grad.sizes());
  const at::Tensor top = dense(grad), image = last(x);
  const at::Tensor result = empty_last(kernel, x);
  if (s.images == 0) return result.zero_();
  for_rows(s.outputs, [&](int64_t begin, int64_t end) {
    for (int64_t tap = 0; tap < s.k_y * s.k_x; ++tap)
      for (int64_t n = 0; n < s.images; ++n)
        multiply(Product<float>{
            end - begin, s.channels, s.height, s.width,
            top.const_data_ptr<float>() + (n * s.outputs + begin) * s.height * s.width,
            s.height * s.width, s.width, 1,
            image.const_data_ptr<float>() + ((n * s.in_height() + tap / s.k_x) * s.in_width() +
                                             tap % s.k_x) * s.channels,
            kPanel<float>, s.in_width() * s.channels, s.channels,
            result.mutable_data_ptr<float>() + begin * s.depth() + tap * s.channels, s.depth(),
            n > 0});
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
