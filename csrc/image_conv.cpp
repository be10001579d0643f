// Schema and argument checks of an image's convolution, shared by all backends.
#include "image_conv.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include "counts.h"
#include "dense.h"

TORCH_LIBRARY_FRAGMENT(fcn_repro, m) {
  m.def("image_conv_relu(Tensor x, Tensor weight, Tensor? bias, int[2] pad) -> Tensor");
}

namespace fcn {

ImageConv prepare_image_conv(const at::Tensor& x, const at::Tensor& weight,
                             const std::optional<at::Tensor>& bias, at::IntArrayRef pad) {
  const char* op = "image_conv_relu";
  check_blob(op, "x", x);
  const int64_t channels = x.size(1);
  TORCH_CHECK_VALUE(channels >= 1 && channels <= kMostImageChannels, op, ": x has ", channels,
                    " channels, expected 1 to ", kMostImageChannels, ".");
  TORCH_CHECK_VALUE(weight.dim() == 4 && weight.size(0) >= 1 &&
                        weight.size(0) % kFilterPack == 0 && weight.size(1) == channels &&
                        weight.size(2) == 3 && weight.size(3) == 3 &&
                        weight.scalar_type() == x.scalar_type() && weight.device() == x.device(),
                    op, ": weight is ", weight.scalar_type(), " of shape ", weight.sizes(), " on ",
                    weight.device(), ", expected ", x.scalar_type(), " of (O, ", channels,
                    ", 3, 3) on ", x.device(), ", O a multiple of ", kFilterPack, ".");
  check_sizes(op, "weight", weight.sizes());
  const int64_t outputs = weight.size(0);
  TORCH_CHECK_VALUE(!bias || (bias->dim() == 1 && bias->size(0) == outputs &&
                              bias->scalar_type() == x.scalar_type() &&
                              bias->device() == x.device()),
                    op, ": bias, expected ", x.scalar_type(), " of (", outputs, ",) on ",
                    x.device(), ".");
  TORCH_CHECK_VALUE(pad.size() == 2 && pad[0] >= 0 && pad[0] <= kMaxSize && pad[1] >= 0 &&
                        pad[1] <= kMaxSize,
                    op, ": pad ", pad, ", expected two numbers (y, x) of 0 to ", kMaxSize, ".");
  const int64_t rows = x.size(2) + 2 * pad[0] - 2, columns = x.size(3) + 2 * pad[1] - 2;
  TORCH_CHECK_VALUE(x.size(2) >= 1 && x.size(3) >= 1 && rows >= 1 && columns >= 1, op,
                    ": x of shape ", x.sizes(), " with pad ", pad, " gives ", rows, " rows and ",
                    columns, " columns; all must be positive.");
  check_product(op, {x.size(0), rows, columns, outputs, 9 * channels});
  const auto last = at::MemoryFormat::ChannelsLast;
  return ImageConv{.x = dense(x, last),
                   .filters = dense(weight, last),
                   .bias = bias ? dense(*bias) : at::zeros({outputs}, x.options()),
                   .top = at::empty({x.size(0), outputs, rows, columns},
                                    x.options().memory_format(last)),
                   .pad_y = pad[0],
                   .pad_x = pad[1]};
}

}  // namespace fcn
