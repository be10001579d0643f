// The solver update on the GPU: one launch walks a table of parameters, a block takes a chunk.
#include "update.h"

#include "device.h"
#include "launch.h"

namespace fcn {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kChunk = 16 * kThreads;    // elements per block

template <Rule rule, Decay kind, typename T>
__global__ void __launch_bounds__(kThreads)
    update_kernel(const __grid_constant__ Table<T> table, int64_t chunks, Rates<T> p) {
  int i = 0;
  for (int64_t chunk = blockIdx.x; chunk < chunks; chunk += gridDim.x) {
    while (chunk >= table.chunks[i]) ++i;
    const int64_t begin = (chunk - (i ? table.chunks[i - 1] : 0)) * kChunk;
    const int64_t left = table.sizes[i] - begin, end = begin + (left < kChunk ? left : kChunk);
    const T rate = table.rate[i], decay = table.decay[i];
    const bool moves = table.moves[i];
    T* __restrict__ data = table.data[i];
    T* __restrict__ diff = table.diff[i];
    T* __restrict__ first = table.first[i];
    T* __restrict__ second = table.second[i];
#pragma unroll 1
    for (int64_t at = begin + threadIdx.x; at < end; at += kThreads) {
      T w = data[at], g = diff[at], h = first[at], u = 0;
      if constexpr (has_second(rule)) u = second[at];
      update_at<rule, kind>(w, g, h, u, rate, decay, moves, p);
      data[at] = w;
      diff[at] = g;
      first[at] = h;
      if constexpr (has_second(rule)) second[at] = u;
    }
  }
}

}  // namespace

template <typename T>
cudaError_t launch_update(Table<T>& table, int count, Rule rule, Decay kind, Rates<T> p,
                          cudaStream_t stream) {
  int64_t chunks = 0;
  for (int i = 0; i < count; ++i)
    table.chunks[i] = chunks += (table.sizes[i] + kChunk - 1) / kChunk;
  if (chunks == 0) return cudaSuccess;
  const unsigned blocks = blocks_for(chunks, 1, kMostBlocks);
  cudaError_t error = cudaSuccess;
  with_rule(rule, kind, [&]<Rule r, Decay k>() {
    error = launch(update_kernel<r, k, T>, dim3(blocks), kThreads, 0, stream, table, chunks, p);
  });
  return error;
}

template cudaError_t launch_update(Table<float>&, int, Rule, Decay, Rates<float>, cudaStream_t);
template cudaError_t launch_update(Table<double>&, int, Rule, Decay, Rates<double>, cudaStream_t);

}  // namespace fcn
