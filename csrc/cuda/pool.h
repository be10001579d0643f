// Launchers of max pooling: raw pointers and a stream, nothing of ATen or c10.
#pragma once

#include <cuda_runtime_api.h>

#include "../pool_math.h"

namespace fcn {

// result: planes x (y.out, x.out) x inner, from source: planes x (y.in, x.in) x inner, both dense;
// rows of either fit 32 bits. index, null if not wanted: the windows' first maxima, see Pool.
// Instantiated for float, double, __half and __nv_bfloat16.
template <typename T>
cudaError_t launch_max_pool(const T* source, PoolAxis y, PoolAxis x, int64_t planes, int inner,
                            T* result, uint8_t* index, cudaStream_t stream);

// The adjoint for a given index: source and index have the windows, result the inputs' cells.
template <typename T>
cudaError_t launch_max_pool_backward(const T* source, const uint8_t* index, PoolAxis y, PoolAxis x,
                                     int64_t planes, int inner, T* result, cudaStream_t stream);

}  // namespace fcn
