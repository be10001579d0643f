// Launch of a kernel and a block's shared memory, the two things that are more than C++ in the
// kernels' sources: with these in one place a host compiler compiles them as they are
// (tests/ops/cuda_shim).
#pragma once

#include <cuda_runtime_api.h>

#if defined(__CUDACC__)
#include <cuda_runtime.h>
#endif

#include <cstddef>
#include <utility>

namespace fcn {

// kernel<<<grid, threads, shared, stream>>>(args...); returns the launch's error
template <typename... P, typename... A>
cudaError_t launch(void (*kernel)(P...), dim3 grid, unsigned threads, size_t shared,
                   cudaStream_t stream, A&&... args) {
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = dim3(threads);
  config.dynamicSmemBytes = shared;
  config.stream = stream;
  return cudaLaunchKernelEx(&config, kernel, std::forward<A>(args)...);
}

// The block's shared memory, of as many bytes as the launch asked for; 16-byte aligned
template <typename T>
__device__ __forceinline__ T* shared_memory() {
#if defined(__CUDACC__)
  extern __shared__ __align__(16) unsigned char block_memory[];
  return reinterpret_cast<T*>(block_memory);
#else
  return static_cast<T*>(cuda_shim::shared_memory());
#endif
}

}  // namespace fcn
