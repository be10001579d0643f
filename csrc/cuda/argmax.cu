// Upsample + crop + argmax on the GPU: a thread walks the classes of one pixel.
#include "argmax.h"

#include "../epilogue.h"
#include "device.h"
#include "launch.h"

namespace fcn {
namespace {

constexpr int kThreads = 128;

__device__ __forceinline__ float exp_of(float x) { return expf(x); }
__device__ __forceinline__ double exp_of(double x) { return exp(x); }

// blockIdx.z walks the images, blockIdx.y the rows of one, blockIdx.x the pixels of a row
template <bool pairs, typename Acc, typename Label>
__global__ void __launch_bounds__(kThreads)
    argmax_kernel(const Source<Acc> source, Label* labels, float* probability) {
  const int64_t width = source.x_axis.out, step = static_cast<int64_t>(gridDim.x) * kThreads;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  for (int64_t n = blockIdx.z; n < source.batch; n += gridDim.z)
    for (int64_t oy = blockIdx.y; oy < source.y.out; oy += gridDim.y)
      for (int64_t ox = first; ox < width; ox += step) {
        const PixelScore<pairs, Acc> score(source, n, oy, ox);
        Best<Acc, int> best;
        best.init(score(0), 0);
        for (int64_t c = 1; c < source.classes; ++c) best.update(score(c), static_cast<int>(c));
        const int64_t pixel = (n * source.y.out + oy) * width + ox;
        labels[pixel] = static_cast<Label>(best.index);
        if (probability == nullptr) continue;
        Acc sum = 0;
        for (int64_t c = 0; c < source.classes; ++c) sum += exp_of(score(c) - best.value);
        probability[pixel] = static_cast<float>(1 / sum);
      }
}

}  // namespace

template <typename Acc, typename Label>
cudaError_t launch_argmax(const Source<Acc>& source, Label* labels, float* probability,
                          cudaStream_t stream) {
  if (source.batch == 0 || source.y.out == 0 || source.x_axis.out == 0) return cudaSuccess;
  const dim3 grid(blocks_for(source.x_axis.out, kThreads, kMostBlocks),
                  blocks_for(source.y.out, 1, kMostRows),
                  blocks_for(source.batch, 1, kMostRows));
  return launch(all_pairs(source) ? argmax_kernel<true, Acc, Label>
                                  : argmax_kernel<false, Acc, Label>,
                grid, kThreads, 0, stream, source, labels, probability);
}

#define INSTANTIATE(Acc, Label)                                                                \
  template cudaError_t launch_argmax(const Source<Acc>&, Label*, float*, cudaStream_t);
INSTANTIATE(float, uint8_t)
INSTANTIATE(float, int64_t)
INSTANTIATE(double, uint8_t)
INSTANTIATE(double, int64_t)
#undef INSTANTIATE

}  // namespace fcn
