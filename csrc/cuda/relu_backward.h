// Launchers of the ReLU's backward pass: raw pointers and a stream, nothing of ATen or c10.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace fcn {

// (pixels, channels) matrices, row by row
struct Pixels {
  int64_t pixels, channels;
};

// Rows of partial sums (rows, channels) that launch_relu_backward needs room for
int64_t partial_rows(Pixels size);

// result = grad where top is not at most 0, else 0; sums: of each column of result. Both sums are
// in one fixed order. T is float, double, __half or __nv_bfloat16, Acc double for double, else
// float. `wide`: the channels are whole units of 16 bytes, aligned to them.
template <typename T, typename Acc>
cudaError_t launch_relu_backward(const T* grad, const T* top, Pixels size, bool wide, T* result,
                                 Acc* partial, Acc* sums, cudaStream_t stream);

}  // namespace fcn
