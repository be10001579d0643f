// The gradient of a convolution's ReLU and of its bias on the GPU, in one pass over the gradient.
// A block sums its rows, a second launch the blocks' sums: nothing is atomic.
#include "relu_backward.h"

#include "../upcrop_math.h"
#include "device.h"
#include "launch.h"

namespace fcn {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kBlocks = 528;      // 4 for each of 132 multiprocessors
constexpr int64_t kRowsOfThread = 8;  // at least, where there are as many
constexpr int kLastLanes = 8;         // of the sums of sums, whose rows are few

// Threads of a block along the channels: a power of two, so that it divides kThreads
int lanes_of(int64_t pieces) {
  int lanes = 1;
  while (lanes < kThreads && lanes < pieces) lanes *= 2;
  return lanes;
}

// sums (gridDim.x, channels): of the rows that a block of the grid takes, masked by `top` if there
// is one. Of a block's threads, `lanes` stand along pieces of `count` channels, the others along
// rows; blockIdx.y walks the channels.
template <int count, typename Acc, typename T>
__global__ void __launch_bounds__(kThreads, 4)
    sums_kernel(const T* __restrict__ grad, const T* __restrict__ top, Pixels size, int lanes,
                T* __restrict__ result, Acc* __restrict__ sums) {
  Acc* shared = shared_memory<Acc>();
  const int64_t pieces = size.channels / count;
  const int lane = threadIdx.x % lanes, row = threadIdx.x / lanes, rows = kThreads / lanes;
  for (int64_t first = static_cast<int64_t>(blockIdx.y) * lanes; first < pieces;
       first += static_cast<int64_t>(gridDim.y) * lanes) {
    const int64_t piece = first + lane;
    Acc held[count] = {};
    if (piece < pieces)
#pragma unroll 4
      for (int64_t i = static_cast<int64_t>(blockIdx.x) * rows + row; i < size.pixels;
           i += static_cast<int64_t>(gridDim.x) * rows) {
        const int64_t at = i * pieces + piece;
        auto values = reinterpret_cast<const Pack<T, count>*>(grad)[at];
        if (top) {
          const auto mask = reinterpret_cast<const Pack<T, count>*>(top)[at];
          for (int c = 0; c < count; ++c)
            if (widen(mask.values[c]) <= 0) store(values.values + c, Acc(0));
          reinterpret_cast<Pack<T, count>*>(result)[at] = values;
        }
        for (int c = 0; c < count; ++c) held[c] += Acc(widen(values.values[c]));
      }
    for (int c = 0; c < count; ++c) shared[c * kThreads + threadIdx.x] = held[c];
    __syncthreads();
    if (row == 0 && piece < pieces)
      for (int c = 0; c < count; ++c) {
        Acc sum = 0;
        for (int r = 0; r < rows; ++r) sum += shared[c * kThreads + r * lanes + lane];
        sums[blockIdx.x * size.channels + piece * count + c] = sum;
      }
    __syncthreads();
  }
}

template <int count, typename Acc, typename T>
cudaError_t launch_sums(const T* grad, const T* top, Pixels size, int most_lanes, int64_t blocks,
                        T* result, Acc* sums, cudaStream_t stream) {
  const int64_t pieces = size.channels / count;
  const int lanes = lanes_of(pieces < most_lanes ? pieces : most_lanes);
  const dim3 grid(static_cast<unsigned>(blocks), blocks_for(pieces, lanes, kMostRows));
  return launch(sums_kernel<count, Acc, T>, grid, kThreads, count * kThreads * sizeof(Acc), stream,
                grad, top, size, lanes, result, sums);
}

}  // namespace

int64_t partial_rows(Pixels size) {
  const int64_t rows = kThreads / lanes_of(size.channels);
  return size.pixels == 0 ? 1 : blocks_for(size.pixels, rows * kRowsOfThread, kBlocks);
}

template <typename T, typename Acc>
cudaError_t launch_relu_backward(const T* grad, const T* top, Pixels size, bool wide, T* result,
                                 Acc* partial, Acc* sums, cudaStream_t stream) {
  constexpr int most = 16 / sizeof(T);
  const int64_t blocks = partial_rows(size);
  const auto run = wide ? launch_sums<most, Acc, T> : launch_sums<1, Acc, T>;
  const cudaError_t error = run(grad, top, size, kThreads, blocks, result, partial, stream);
  if (error != cudaSuccess) return error;
  const Acc* none = nullptr;
  Acc* unwritten = nullptr;
  return launch_sums<1, Acc, Acc>(partial, none, Pixels{blocks, size.channels}, kLastLanes, 1,
                                  unwritten, sums, stream);
}

template cudaError_t launch_relu_backward(const float*, const float*, Pixels, bool, float*, float*,
                                          float*, cudaStream_t);
template cudaError_t launch_relu_backward(const double*, const double*, Pixels, bool, double*,
                                          double*, double*, cudaStream_t);
template cudaError_t launch_relu_backward(const __half*, const __half*, Pixels, bool, __half*,
                                          float*, float*, cudaStream_t);
template cudaError_t launch_relu_backward(const __nv_bfloat16*, const __nv_bfloat16*, Pixels, bool,
                                          __nv_bfloat16*, float*, float*, cudaStream_t);

}  // namespace fcn
