// The arithmetic that the CUDA kernels use, compiled for the host: tests/test_ops.py calls it.
#include "../../csrc/upcrop_math.h"

extern "C" void output_plane(const double* x, const double* taps_y, const double* taps_x,
                             const fcn::Axis* y, const fcn::Axis* x_axis, double* out) {
  for (int64_t i = 0; i < y->out; ++i)
    for (int64_t j = 0; j < x_axis->out; ++j)
      out[i * x_axis->out + j] = fcn::output_at(x, taps_y, taps_x, *y, *x_axis, 1, i, j);
}

extern "C" void gradient_plane(const double* grad, const double* taps_y, const double* taps_x,
                               const fcn::Axis* y, const fcn::Axis* x_axis, double* out) {
  for (int64_t i = 0; i < y->in; ++i)
    for (int64_t j = 0; j < x_axis->in; ++j)
      out[i * x_axis->in + j] = fcn::gradient_at(grad, taps_y, taps_x, *y, *x_axis, 1, i, j);
}
