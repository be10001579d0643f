// Launcher of an image's convolution: raw pointers and a stream, nothing of ATen or c10.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace fcn {

constexpr int64_t kMostOutputs = 1 << 20;

// (images, height, width, channels) -> (images, rows, columns, outputs)
struct ImageSize {
  int64_t images, height, width;
  int channels, outputs;
  int64_t rows, columns, pad_y, pad_x;
};

// top: the ReLU of the 3x3 convolution and the bias, summed in Acc. image and top are dense, filters
// (outputs, 3, 3, channels); outputs are a multiple of 4, channels at most 4. T is float, double,
// __half or __nv_bfloat16, Acc double for double, else float.
template <typename T, typename Acc>
cudaError_t launch_image_conv(const T* image, const T* filters, const T* bias, ImageSize size,
                              T* top, cudaStream_t stream);

}  // namespace fcn
