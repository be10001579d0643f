// Launchers of upsample + crop + softmax loss: raw pointers and a stream.
#pragma once

#include <cuda_runtime_api.h>

#include "score.h"

namespace fcn {

enum class LabelType : int { kByte, kInt, kLong, kFloat, kDouble };

// Arguments of the kernels
template <typename Acc>
struct LossArgs {
  Source<Acc> source;
  const void* label;       // (batch, y.out, x_axis.out) of label_type
  LabelType label_type;
  const Acc* weight;       // (classes), or nullptr
  const bool* mask;        // as label, or nullptr
  bool has_ignore;
  int64_t ignore, normalization;
};

// Sums of a block and, in the end, of the op
struct LossSum {
  double loss;
  int64_t valid, bad;  // pixels that count; labels out of range
  double example;      // a bad label
};

// What the gradient needs of a pixel
template <typename Acc>
struct alignas(2 * sizeof(Acc)) Pixel {
  Acc log_sum;  // log(sum of exp(score))
  int label;    // -1 where the pixel takes no part
};

constexpr int64_t kLossBlocks = 1024;  // partial sums at most, whatever the GPU

// pixels: as label. partial: kLossBlocks. total: one LossSum on the device. loss: one Acc, NaN
// after bad labels.
template <typename Acc>
cudaError_t launch_loss(const LossArgs<Acc>& args, Pixel<Acc>* pixels, LossSum* partial,
                        LossSum* total, Acc* loss, cudaStream_t stream);

// What the gradient keeps of slopes at a time: a part of the L2 cache
constexpr int64_t kSlopeBytes = 24 << 20;

// How many planes, each of `pixels` slopes of `width` bytes, the gradient takes at a time
int64_t slope_planes(int64_t pixels, int64_t batch, int64_t classes, int64_t width);

// grad: as source.x, from launch_loss's pixels and total. slopes: slope_planes planes of Acc.
template <typename Acc>
cudaError_t launch_loss_gradient(const LossArgs<Acc>& args, const Pixel<Acc>* pixels,
                                 const LossSum* total, Acc* slopes, Acc* grad,
                                 cudaStream_t stream);

}  // namespace fcn
