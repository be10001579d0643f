// Launchers of the repetition of border cells: raw pointers and a stream, nothing of ATen or c10.
#pragma once

#include <cuda_runtime_api.h>

#include "../border_math.h"

namespace fcn {

// result: planes x (rows.top(), columns.top()) x inner, from source: planes x (rows.bottom,
// columns.bottom) x inner, both dense. A row of the result fits 32 bits.
// Instantiated for float, double, __half and __nv_bfloat16.
template <typename T>
cudaError_t launch_border(const T* source, Border rows, Border columns, int64_t planes, int inner,
                          T* result, cudaStream_t stream);

// The adjoint: source has the top's cells, a row of which fits 32 bits, result the bottom's.
template <typename T>
cudaError_t launch_border_backward(const T* source, Border rows, Border columns, int64_t planes,
                                   int inner, T* result, cudaStream_t stream);

}  // namespace fcn
