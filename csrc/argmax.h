// Upsample + crop + argmax: checked arguments and allocated results, shared by the backends.
#pragma once

#include "label_maps.h"
#include "scores.h"

namespace fcn {

struct Argmax : LabelMaps {
  Scores scores;
};

Argmax prepare_argmax(const at::Tensor& x, const at::Tensor& taps_y, const at::Tensor& taps_x,
                      at::IntArrayRef stride, at::IntArrayRef pad, at::IntArrayRef offset,
                      at::IntArrayRef size, at::ScalarType dtype, bool probability);

}  // namespace fcn
