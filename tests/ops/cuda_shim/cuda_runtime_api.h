// The part of CUDA's runtime that csrc/cuda uses, for a host compiler: it stands before CUDA's own
// header on the include path, so that the kernels' sources compile unchanged. A launch runs its
// blocks one after another; a block's threads are fibers that take turns (scheduler.cpp). What a
// GPU would leave undefined, such as a barrier that a part of the block reaches, is an error here.
//
// Static __shared__ variables do not compile, on purpose: kernels take csrc/cuda/launch.h's
// shared_memory, whose size is checked and whose content starts as NaN.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <source_location>
#include <type_traits>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __grid_constant__
#define __launch_bounds__(...)

struct uint3 {
  unsigned x, y, z;
};

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

// Of the thread that runs
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

enum cudaError_t : int {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorLaunchFailure = 719,
};

using cudaStream_t = struct CUstream_st*;

enum cudaMemcpyKind { cudaMemcpyDeviceToHost = 2 };
enum cudaStreamCaptureStatus { cudaStreamCaptureStatusNone, cudaStreamCaptureStatusActive };

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
};

const char* cudaGetErrorString(cudaError_t error);
cudaError_t cudaGetLastError();

inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind,
                                   cudaStream_t) {
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}

inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }

inline cudaError_t cudaStreamIsCapturing(cudaStream_t, cudaStreamCaptureStatus* status) {
  *status = cudaStreamCaptureStatusNone;
  return cudaSuccess;
}

namespace cuda_shim {

using Site = std::source_location;

// The running block's dynamic shared memory
void* shared_memory();

// Run `thread` for each thread of each block of the grid
cudaError_t run(const cudaLaunchConfig_t& config, const std::function<void()>& thread);

// Wait for all threads of the block
void wait_block(const Site& site);

// Wait for the lanes in `mask` of the warp; returns `value` of lane `from`. fence: what they did to
// memory before comes before what they do after, which a shuffle does not promise.
uint64_t exchange(unsigned mask, uint64_t value, int from, bool fence, const Site& site);

inline int lane() { return static_cast<int>(threadIdx.x % 32); }

template <typename T>
T shuffle(unsigned mask, T value, int from, const Site& site) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= sizeof(uint64_t));
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  bits = exchange(mask, bits, from, false, site);
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace cuda_shim

template <typename... P, typename... A>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(P...),
                               A&&... args) {
  static_assert((sizeof(P) + ... + 0) <= 4096, "a kernel's arguments take 4096 bytes at most");
  return cuda_shim::run(*config, [&] { kernel(static_cast<P>(args)...); });
}

inline void __syncthreads(const cuda_shim::Site site = cuda_shim::Site::current()) {
  cuda_shim::wait_block(site);
}

inline void __syncwarp(unsigned mask = ~0u,
                       const cuda_shim::Site site = cuda_shim::Site::current()) {
  cuda_shim::exchange(mask, 0, cuda_shim::lane(), true, site);
}

template <typename T>
T __shfl_sync(unsigned mask, T value, int from,
              const cuda_shim::Site site = cuda_shim::Site::current()) {
  return cuda_shim::shuffle(mask, value, from & 31, site);
}

template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int bits,
                  const cuda_shim::Site site = cuda_shim::Site::current()) {
  return cuda_shim::shuffle(mask, value, cuda_shim::lane() ^ (bits & 31), site);
}

template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta,
                   const cuda_shim::Site site = cuda_shim::Site::current()) {
  const int from = cuda_shim::lane() + static_cast<int>(delta);
  return cuda_shim::shuffle(mask, value, from < 32 ? from : cuda_shim::lane(), site);
}

template <typename T>
T __ldg(const T* at) {
  return *at;
}
