// Launchers of the fused op: raw pointers and a stream, nothing of ATen or c10.
#pragma once

#include <cuda_runtime_api.h>

#include "../upcrop_math.h"

namespace fcn {

// Window of a skip tensor, planes x (height, width) x inner, that the forward pass adds; or none
template <typename T>
struct Added {
  const T* values = nullptr;
  int64_t height = 0, width = 0, top = 0, left = 0;  // pixels

  // The window's row y
  FCN_HD const T* row(int64_t plane, int64_t y, int64_t inner) const {
    return values + ((plane * height + top + y) * width + left) * inner;
  }
};

// result: planes x (y.out, x.out) x inner, from source: planes x (y.in, x.in) x inner, both dense.
// Instantiated for float, double, __half and __nv_bfloat16, with double or float to sum in.
template <typename T, typename Acc>
cudaError_t launch_upcrop(const T* source, const Acc* taps_y, const Acc* taps_x, Axis y, Axis x,
                          int64_t planes, int64_t inner, Added<T> added, T* result,
                          cudaStream_t stream);

// The adjoint: source has the outputs' cells, result the inputs'.
template <typename T, typename Acc>
cudaError_t launch_upcrop_backward(const T* source, const Acc* taps_y, const Acc* taps_x, Axis y,
                                   Axis x, int64_t planes, int64_t inner, T* result,
                                   cudaStream_t stream);

}  // namespace fcn
