// Launcher of filtering with Gaussian kernels in windows: raw pointers and a stream, nothing of
// ATen or c10.
#pragma once

#include <cuda_runtime_api.h>

#include "../window_math.h"

namespace fcn {

// As WindowFilter, dense. Instantiated for float and double.
template <typename Acc>
struct WindowArgs {
  const Acc *values, *image, *rows, *columns;
  Acc* result;
  int64_t batch, channels, features, height, width, radius;
  WindowKernels<Acc> kernels;
  bool centre;
};

template <typename Acc>
cudaError_t launch_window_filter(const WindowArgs<Acc>& args, cudaStream_t stream);

}  // namespace fcn
