// Resizing with aligned corners + argmax or softmax loss: checked arguments and allocated results,
// shared by the backends.
#pragma once

#include "interp_math.h"
#include "label_maps.h"
#include "targets.h"

namespace fcn {

struct InterpScores {
  at::Tensor x;  // contiguous (N, C, H, W) of the accumulation type
  Resize y, x_axis;
  int64_t batch, classes;
};

struct InterpArgmax : LabelMaps {
  InterpScores scores;
};

struct InterpLoss : Targets {
  static constexpr const char* name = "interp_softmax_loss";
  InterpScores scores;
};

InterpArgmax prepare_interp_argmax(const at::Tensor& x, at::IntArrayRef size, at::ScalarType dtype,
                                   bool probability);

InterpLoss prepare_interp_loss(const at::Tensor& x, const at::Tensor& label, int64_t normalization,
                               std::optional<int64_t> ignore,
                               const std::optional<at::Tensor>& weight,
                               const std::optional<at::Tensor>& mask, bool gradient);

}  // namespace fcn
