// Launchers of the unrolled windows: raw pointers and a stream, nothing of ATen or c10.
#pragma once

#include <cuda_runtime_api.h>

#include "../patches_math.h"

namespace fcn {

constexpr int64_t kUnit = 16;  // most bytes that a thread moves at once

// Writes the windows of an image. Both, and a cell's channels, are whole units of `unit` bytes
// (2, 4, 8 or 16), aligned to them; w.channels counts units.
cudaError_t launch_patches(const void* image, Windows w, int unit, void* windows,
                           cudaStream_t stream);

// Writes the image of sums of what windows hold. T is float, double, __half or __nv_bfloat16;
// `wide`: the channels are whole aligned units of kUnit bytes.
template <typename T>
cudaError_t launch_sums(const T* windows, Windows w, bool wide, T* image, cudaStream_t stream);

}  // namespace fcn
