// 3x3 convolution with stride 1 by Winograd's algorithm (winograd_math.h): checked arguments, shared
// by the backends.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "winograd_math.h"

namespace fcn {

// The tiles over the output of a convolution, and the same tiles over its input
struct TileGrids {
  TileGrid in, out;
};

// For taps (3, 3, C, C_out) of this type, with C in multiples of `per`
void check_taps(const char* op, const at::Tensor& taps, at::ScalarType type, int64_t per);

// For x (N, C, H, W) and bias (outputs) or none, of this type, on one device
TileGrids check_winograd(const char* op, const at::Tensor& x, at::ScalarType type, int64_t outputs,
                         const std::optional<at::Tensor>& bias, at::IntArrayRef pad);

// The same for a kernel of this size, of which each block of 3x3 taps is a convolution of its own
TileGrids check_winograd_blocks(const char* op, const at::Tensor& x, at::ScalarType type,
                                int64_t outputs, const std::optional<at::Tensor>& bias,
                                at::IntArrayRef kernel, at::IntArrayRef pad);

// For what a backend's winograd_filters made for such an x
void check_points(const char* op, const at::Tensor& filters, const at::Tensor& x,
                  at::IntArrayRef shape);

// conv3x3 by direct summation, which torch does. Winograd rounds differently from position to
// position in a tile; here equal inputs give equal outputs, so ReLU signs and pooling maxima of
// them are decided as in Caffe.
at::Tensor conv3x3(const at::Tensor& x, const at::Tensor& weight,
                   const std::optional<at::Tensor>& bias, at::IntArrayRef pad);

void check_conv3x3_input(const at::Tensor& grad, const at::Tensor& weight, at::IntArrayRef pad);
TileGrids check_conv3x3_weight(const at::Tensor& grad, const at::Tensor& x, at::IntArrayRef pad);

}  // namespace fcn
