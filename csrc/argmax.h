// Upsample + crop + argmax: checked arguments and allocated results, shared by the backends.
#pragma once

#include "scores.h"

namespace fcn {

struct Argmax {
  Scores scores;
  at::Tensor labels;       // (N, *size) of Byte or Long, not yet written
  at::Tensor probability;  // (N, *size) of Float, not yet written; (0) if not wanted
  bool with_probability;
};

Argmax prepare_argmax(const at::Tensor& x, const at::Tensor& taps_y, const at::Tensor& taps_x,
                      at::IntArrayRef stride, at::IntArrayRef pad, at::IntArrayRef offset,
                      at::IntArrayRef size, at::ScalarType dtype, bool probability);

}  // namespace fcn
