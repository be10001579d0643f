// Launcher of upsample + crop + argmax: raw pointers and a stream.
#pragma once

#include <cuda_runtime_api.h>

#include "score.h"

namespace fcn {

// labels: (batch, y.out, x_axis.out) of uint8_t or int64_t; probability: likewise of float, or
// nullptr. Instantiated for Acc float and double.
template <typename Acc, typename Label>
cudaError_t launch_argmax(const Source<Acc>& source, Label* labels, float* probability,
                          cudaStream_t stream);

}  // namespace fcn
