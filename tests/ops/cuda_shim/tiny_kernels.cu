// Kernels with a fault that can be switched on: tests/ops/test_cuda_shim.py wants each one found.
#include "../../../csrc/cuda/launch.h"

namespace fcn {
namespace {

enum Fault {
  kNone, kNoBarrier, kPartOfBlock, kReturned, kBeyondInput, kBeyondShared, kShuffle, kSameElement
};

// out[i] = in[i + 1], and the last one in[0]
__global__ void rotate_kernel(const float* in, float* out, int fault) {
  float* shared = shared_memory<float>();
  const unsigned i = threadIdx.x, n = blockDim.x;
  if (fault == kReturned && i == n - 1) return;
  shared[fault == kBeyondShared ? i + 1 : i] = in[fault == kBeyondInput ? i + 1 : i];
  if (fault == kPartOfBlock && i < n / 2) __syncthreads();
  if (fault != kNoBarrier) __syncthreads();
  out[i] = shared[(i + 1) % n];
}

// The same within a warp, whose lanes wait for each other alone; a shuffle orders no memory
__global__ void rotate_warp_kernel(const float* in, float* out, int fault) {
  float* shared = shared_memory<float>() + threadIdx.x / 32 * 32;
  const unsigned lane = threadIdx.x % 32;
  shared[lane] = in[threadIdx.x];
  if (fault == kShuffle) __shfl_xor_sync(~0u, lane, 1);
  if (fault == kNone) __syncwarp();
  out[threadIdx.x] = shared[(lane + 1) % 32];
}

// The same for each half of the elements, by a block of its own; or both blocks do the first half
__global__ void rotate_halves_kernel(const float* in, float* out, int fault) {
  float* shared = shared_memory<float>();
  const unsigned i = threadIdx.x, n = blockDim.x;
  const unsigned first = fault == kSameElement ? 0 : blockIdx.x * n;
  shared[i] = in[first + i];
  __syncthreads();
  out[first + i] = shared[(i + 1) % n];
}

// out[warp] = the sum of in over a warp
__global__ void sum_kernel(const float* in, float* out, int fault) {
  float sum = in[threadIdx.x];
  if (fault == kShuffle && threadIdx.x == 5) return;
  for (int half = 16; half > 0; half /= 2) sum += __shfl_down_sync(~0u, sum, half);
  if (threadIdx.x % 32 == 0) out[threadIdx.x / 32] = sum;
}

}  // namespace
}  // namespace fcn

extern "C" int rotate(const float* in, float* out, int n, int fault) {
  return fcn::launch(fcn::rotate_kernel, dim3(1), n, n * sizeof(float), nullptr, in, out, fault);
}

extern "C" int rotate_warp(const float* in, float* out, int n, int fault) {
  return fcn::launch(fcn::rotate_warp_kernel, dim3(1), n, n * sizeof(float), nullptr, in, out,
                     fault);
}

extern "C" int rotate_halves(const float* in, float* out, int n, int fault) {
  return fcn::launch(fcn::rotate_halves_kernel, dim3(2), n / 2, n / 2 * sizeof(float), nullptr, in,
                     out, fault);
}

extern "C" int sum(const float* in, float* out, int n, int fault) {
  return fcn::launch(fcn::sum_kernel, dim3(1), n, 0, nullptr, in, out, fault);
}

// A launch that CUDA refuses
extern "C" int refused(unsigned blocks, unsigned rows, unsigned threads, size_t shared) {
  return fcn::launch(fcn::sum_kernel, dim3(blocks, rows), threads, shared, nullptr, nullptr,
                     nullptr, 0);
}

extern "C" const char* what(int error) {
  return cudaGetErrorString(static_cast<cudaError_t>(error));
}
