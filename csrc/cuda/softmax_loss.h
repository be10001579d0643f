// Launchers of upsample + crop + softmax loss: raw pointers and a stream.
#pragma once

#include <cuda_runtime_api.h>

#include "loss.h"
#include "score.h"

namespace fcn {

// Arguments of the kernels
template <typename Acc>
struct LossArgs {
  Source<Acc> source;
  LossTargets<Acc> targets;
};

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
