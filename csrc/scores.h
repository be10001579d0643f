// Arguments shared by the ops that upsample, crop and reduce over the classes.
#pragma once

#include "upcrop.h"

namespace fcn {

struct Scores {
  at::Tensor x;               // contiguous (N, C, H, W) of the accumulation type
  at::Tensor taps_y, taps_x;  // contiguous
  Axis y, x_axis;
  int64_t batch, classes;
};

// Check the arguments; x is copied only where its type or strides differ.
Scores prepare_scores(const char* op, const at::Tensor& x, const at::Tensor& taps_y,
                      const at::Tensor& taps_x, at::IntArrayRef stride, at::IntArrayRef pad,
                      at::IntArrayRef offset, at::IntArrayRef size);

}  // namespace fcn
