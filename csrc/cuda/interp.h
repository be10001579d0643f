// Launchers of resizing with aligned corners + argmax or softmax loss: raw pointers and a stream.
#pragma once

#include <cuda_runtime_api.h>

#include "../interp_math.h"
#include "loss.h"

namespace fcn {

// Arguments of the kernels: x is (batch, classes, y.in, x_axis.in), dense
template <typename Acc>
struct InterpSource {
  const Acc* x;
  Resize y, x_axis;
  int64_t batch, classes;
};

template <typename Acc>
struct InterpLossArgs {
  InterpSource<Acc> source;
  LossTargets<Acc> targets;
};

// labels: (batch, y.out, x_axis.out) of uint8_t or int64_t; probability: likewise of float, or
// nullptr. Instantiated for Acc float and double.
template <typename Acc, typename Label>
cudaError_t launch_interp_argmax(const InterpSource<Acc>& source, Label* labels,
                                 float* probability, cudaStream_t stream);

// pixels: as label. partial: kLossBlocks. total: one LossSum on the device. loss: one Acc, NaN
// after bad labels.
template <typename Acc>
cudaError_t launch_interp_loss(const InterpLossArgs<Acc>& args, Pixel<Acc>* pixels,
                               LossSum* partial, LossSum* total, Acc* loss, cudaStream_t stream);

// grad: as source.x, from launch_interp_loss's pixels and total.
template <typename Acc>
cudaError_t launch_interp_gradient(const InterpLossArgs<Acc>& args, const Pixel<Acc>* pixels,
                                   const LossSum* total, Acc* grad, cudaStream_t stream);

}  // namespace fcn
