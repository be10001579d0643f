// What every backend of upsample + crop + softmax loss needs before its loops.
#pragma once

#include <optional>

#include "scores.h"

namespace fcn {

struct SoftmaxLoss {
  Scores scores;
  at::Tensor label;                    // contiguous (N, *size): Byte, Int, Long, Float or Double
  std::optional<at::Tensor> weight;    // contiguous (C) of the type that sums
  std::optional<at::Tensor> mask;      // contiguous (N, *size) of Bool
  at::Tensor loss;                     // () of the type that sums, not yet written
  at::Tensor grad;                     // as scores.x, zeros; (0) where nobody asks
  int64_t normalization;
  std::optional<int64_t> ignore;
  bool gradient;
};

SoftmaxLoss prepare_softmax_loss(
    const at::Tensor& x, const at::Tensor& label, const at::Tensor& taps_y,
    const at::Tensor& taps_x, at::IntArrayRef stride, at::IntArrayRef pad, at::IntArrayRef offset,
    int64_t normalization, std::optional<int64_t> ignore, const std::optional<at::Tensor>& weight,
    const std::optional<at::Tensor>& mask, bool gradient);

// Throws for `bad` labels out of range, one of them `example`
void check_labels(const SoftmaxLoss& op, int64_t bad, double example);

// The gradient, of the type that sums, channels_last where x is
at::Tensor gradient_like(const SoftmaxLoss& op, const at::Tensor& x);

}  // namespace fcn
