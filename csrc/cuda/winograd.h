// Launchers of the transforms of Winograd's convolution: raw pointers and a stream.
#pragma once

#include <cuda_runtime_api.h>

#include "../winograd_math.h"

namespace fcn {

// Taps (3, 3, rows, cols), of float; pitches in elements, that of cols is 1
struct TapGrid {
  const float* data;
  int64_t y, x, row;
  int64_t rows, cols;
};

// All pointers are aligned to 16 bytes; channels, rows, cols and pitches are multiples of 4.
// Tiles first .. first + count - 1 of g, to points (36, count, channels)
cudaError_t launch_winograd_inputs(const TileGrid& g, const float* image, int64_t first,
                                   int64_t count, float* points, cudaStream_t stream);

// The same tiles from points, clipped to the image, plus a bias per channel unless it is null
cudaError_t launch_winograd_outputs(const TileGrid& g, const float* points, int64_t first,
                                    int64_t count, const float* bias, float* image,
                                    cudaStream_t stream);

// Taps to points (36, rows, cols)
cudaError_t launch_winograd_filters(const TapGrid& taps, float* points, cudaStream_t stream);

}  // namespace fcn
