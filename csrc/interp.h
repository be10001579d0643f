// Resizing with aligned corners + argmax or softmax loss: checked arguments and allocated results,
// shared by the backends.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "interp_math.h"

namespace fcn {

struct InterpScores {
  at::Tensor x;  // contiguous (N, C, H, W) of the accumulation type
  Resize y, x_axis;
  int64_t batch, classes;
};

struct InterpArgmax {
  InterpScores scores;
  at::Tensor labels;       // (N, *size) of Byte or Long, not yet written
  at::Tensor probability;  // (N, *size) of Float, not yet written; (0) if not wanted
  bool with_probability;
};

struct InterpLoss {
  InterpScores scores;
  at::Tensor label;                  // contiguous (N, *size): Byte, Int, Long, Float or Double
  std::optional<at::Tensor> weight;  // contiguous (C) of the accumulation type
  std::optional<at::Tensor> mask;    // contiguous (N, *size) of Bool
  at::Tensor loss;                   // () of the accumulation type, not yet written
  at::Tensor grad;                   // as scores.x, zeros; (0) if not wanted
  int64_t normalization;
  std::optional<int64_t> ignore;
  bool gradient;
};

InterpArgmax prepare_interp_argmax(const at::Tensor& x, at::IntArrayRef size, at::ScalarType dtype,
                                   bool probability);

InterpLoss prepare_interp_loss(const at::Tensor& x, const at::Tensor& label, int64_t normalization,
                               std::optional<int64_t> ignore,
                               const std::optional<at::Tensor>& weight,
                               const std::optional<at::Tensor>& mask, bool gradient);

// Throw if there are `bad` labels out of range, of which `example` is one
void check_interp_labels(const InterpLoss& op, int64_t bad, double example);

// The gradient in the accumulation type, channels_last if x is
at::Tensor interp_gradient_like(const InterpLoss& op, const at::Tensor& x);

}  // namespace fcn
