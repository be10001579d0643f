// A 3x3 convolution of an image, of few channels, with the ReLU after it: checked arguments and
// allocated results, shared by the backends.
#pragma once

#include <ATen/core/Tensor.h>

namespace fcn {

constexpr int64_t kMostImageChannels = 4;
constexpr int64_t kFilterPack = 4;  // outputs are a multiple of it

struct ImageConv {
  at::Tensor x, filters, bias;  // (N, C, H, W) and (O, C, 3, 3), dense in channels_last; (O,)
  at::Tensor top;               // (N, O, rows, columns), in channels_last
  int64_t pad_y, pad_x;
};

ImageConv prepare_image_conv(const at::Tensor& x, const at::Tensor& weight,
                             const std::optional<at::Tensor>& bias, at::IntArrayRef pad);

}  // namespace fcn
