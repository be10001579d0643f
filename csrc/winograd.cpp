// Schema and argument checks of the 3x3 convolutions by Winograd's algorithm, and the direct sum.
#include "winograd.h"

#include <ATen/ops/conv2d.h>
#include <torch/library.h>

#include <algorithm>

#include "counts.h"
#include "dense.h"

TORCH_LIBRARY_FRAGMENT(fcn_repro, m) {
  m.def("conv3x3(Tensor x, Tensor weight, Tensor? bias, SymInt[2] pad) -> Tensor");
  m.def("conv3x3_input(Tensor grad, Tensor weight, SymInt[2] pad) -> Tensor");
  m.def("conv3x3_weight(Tensor grad, Tensor x, SymInt[2] pad) -> Tensor");
  m.def("winograd_filters(Tensor taps) -> Tensor");
  m.def("winograd(Tensor x, Tensor filters, SymInt outputs, Tensor? bias, SymInt[2] pad) "
        "-> Tensor");
  m.def("winograd_blocks(Tensor x, Tensor filters, SymInt outputs, Tensor? bias, int[2] kernel, "
        "int[2] pad) -> Tensor");
}

namespace fcn {
namespace {

void check_channels(const char* op, int64_t channels) {
  TORCH_CHECK_VALUE(channels >= kWinogradChannels && channels % kWinogradChannels == 0 &&
                        channels <= kMaxSize, op, ": ", channels,
                    " channels, expected a multiple of ", kWinogradChannels, ", at most ",
                    kMaxSize, ".");
}

void check_pad(const char* op, at::IntArrayRef pad) {
  TORCH_CHECK_VALUE(
      pad.size() == 2 && std::min(pad[0], pad[1]) >= 0 && std::max(pad[0], pad[1]) <= kMaxPad, op,
      ": pad ", pad, ", expected two numbers of 0 to ", kMaxPad, ".");
}

// The tiles of a convolution of x with pads, of `outputs` channels
TileGrids grids(const char* op, const at::Tensor& x, int64_t outputs, at::IntArrayRef kernel,
                at::IntArrayRef pad) {
  check_sizes(op, "x", x.sizes());
  check_product(op, {x.size(0), x.size(1), outputs, x.size(2) + 2 * pad[0], x.size(3) + 2 * pad[1],
                     kPoints});
  const int64_t height = x.size(2) + 2 * pad[0] - kernel[0] + 1,
                width = x.size(3) + 2 * pad[1] - kernel[1] + 1;
  TORCH_CHECK_VALUE(height > 0 && width > 0, op, ": x of ", x.sizes(), " and pad ", pad,
                    " leave no output.");
  const TileGrid out{.images = x.size(0),
                     .height = height,
                     .width = width,
                     .channels = outputs,
                     .pad_y = 0,
                     .pad_x = 0,
                     .tiles_y = (height + kOutputTile - 1) / kOutputTile,
                     .tiles_x = (width + kOutputTile - 1) / kOutputTile};
  const TileGrid in{.images = out.images,
                    .height = x.size(2),
                    .width = x.size(3),
                    .channels = x.size(1),
                    .pad_y = pad[0],
                    .pad_x = pad[1],
                    .tiles_y = out.tiles_y,
                    .tiles_x = out.tiles_x};
  return {.in = in, .out = out};
}

TileGrids grids(const char* op, const at::Tensor& x, int64_t outputs, at::IntArrayRef pad) {
  check_pad(op, pad);
  return grids(op, x, outputs, {3, 3}, pad);
}

void check_bias(const char* op, const std::optional<at::Tensor>& bias, const at::Tensor& x,
                int64_t outputs) {
  if (!bias) return;
  check_tensor(op, "bias", *bias, 1, x.scalar_type(), x.device());
  TORCH_CHECK_VALUE(bias->numel() == outputs, op, ": ", bias->numel(), " biases for ", outputs,
                    " channels.");
}

// Check an image against filters (C_out, C, 3, 3) whose axis `axis` is the image's channels
void check_filters(const char* op, const at::Tensor& image, const at::Tensor& weight,
                   int64_t axis) {
  check_tensor(op, axis ? "x" : "grad", image, 4, at::kFloat, image.device());
  check_tensor(op, "weight", weight, 4, at::kFloat, image.device());
  TORCH_CHECK_VALUE(weight.size(2) == 3 && weight.size(3) == 3 &&
                        weight.size(axis) == image.size(1), op, ": filters of ", weight.sizes(),
                    " for ", image.size(1), " channels, expected (C_out, C, 3, 3).");
  check_channels(op, weight.size(0));
  check_channels(op, weight.size(1));
}

}  // namespace

void check_taps(const char* op, const at::Tensor& taps, at::ScalarType type, int64_t per) {
  check_tensor(op, "taps", taps, 4, type, taps.device());
  TORCH_CHECK_VALUE(taps.size(0) == 3 && taps.size(1) == 3 && taps.size(2) >= per &&
                        taps.size(2) % per == 0,
                    op, ": taps of shape ", taps.sizes(), ", expected (3, 3, C, C_out).");
  check_channels(op, taps.size(3));
  check_sizes(op, "taps", taps.sizes());
}

TileGrids check_winograd(const char* op, const at::Tensor& x, at::ScalarType type, int64_t outputs,
                         const std::optional<at::Tensor>& bias, at::IntArrayRef pad) {
  check_tensor(op, "x", x, 4, type, x.device());
  check_channels(op, x.size(1));
  check_channels(op, outputs);
  check_bias(op, bias, x, outputs);
  return grids(op, x, outputs, pad);
}

TileGrids check_winograd_blocks(const char* op, const at::Tensor& x, at::ScalarType type,
                                int64_t outputs, const std::optional<at::Tensor>& bias,
                                at::IntArrayRef kernel, at::IntArrayRef pad) {
  check_tensor(op, "x", x, 4, type, x.device());
  check_channels(op, x.size(1));
  check_channels(op, outputs);
  check_bias(op, bias, x, outputs);
  TORCH_CHECK_VALUE(kernel.size() == 2 && std::min(kernel[0], kernel[1]) >= 1 &&
                        std::max(kernel[0], kernel[1]) <= kMaxKernel,
                    op, ": kernel ", kernel, ", expected two numbers (y, x) of 1 to ", kMaxKernel,
                    ".");
  TORCH_CHECK_VALUE(pad.size() == 2 && std::min(pad[0], pad[1]) >= 0 && pad[0] < kernel[0] &&
                        pad[1] < kernel[1],
                    op, ": pad ", pad, ", expected two numbers (y, x) of 0 or more under the "
                    "kernel ", kernel, ".");
  return grids(op, x, outputs, kernel, pad);
}

void check_points(const char* op, const at::Tensor& filters, const at::Tensor& x,
                  at::IntArrayRef shape) {
  check_tensor(op, "filters", filters, static_cast<int64_t>(shape.size()), x.scalar_type(),
               x.device());
  TORCH_CHECK_VALUE(filters.sizes() == shape, op, ": filters of shape ", filters.sizes(),
                    ", expected ", shape, ".");
}

at::Tensor conv3x3(const at::Tensor& x, const at::Tensor& weight,
                   const std::optional<at::Tensor>& bias, at::IntArrayRef pad) {
  constexpr const char* op = "conv3x3";
  check_filters(op, x, weight, 1);
  check_bias(op, bias, x, weight.size(0));
  grids(op, x, weight.size(0), pad);
  return dense(at::conv2d(dense(x, at::MemoryFormat::ChannelsLast),
                          dense(weight, at::MemoryFormat::ChannelsLast), bias, 1, pad),
               at::MemoryFormat::ChannelsLast);
}

void check_conv3x3_input(const at::Tensor& grad, const at::Tensor& weight, at::IntArrayRef pad) {
  check_filters("conv3x3_input", grad, weight, 0);
  check_pad("conv3x3_input", pad);
}

TileGrids check_conv3x3_weight(const at::Tensor& grad, const at::Tensor& x, at::IntArrayRef pad) {
  constexpr const char* op = "conv3x3_weight";
  check_tensor(op, "grad", grad, 4, at::kFloat, grad.device());
  check_tensor(op, "x", x, 4, at::kFloat, grad.device());
  check_channels(op, x.size(1));
  check_channels(op, grad.size(1));
  const TileGrids g = grids(op, x, grad.size(1), pad);
  TORCH_CHECK_VALUE(grad.size(0) == x.size(0) && grad.size(2) == g.out.height &&
                        grad.size(3) == g.out.width, op, ": grad of ", grad.sizes(), " for x of ",
                    x.sizes(), " and pad ", pad, ".");
  return g;
}

}  // namespace fcn
