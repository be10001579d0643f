// Upsample + crop + softmax loss: checked arguments and allocated results, shared by the backends.
#pragma once

#include "scores.h"
#include "targets.h"

namespace fcn {

struct SoftmaxLoss : Targets {
  static constexpr const char* name = "upcrop_softmax_loss";
  Scores scores;
};

SoftmaxLoss prepare_softmax_loss(
    const at::Tensor& x, const at::Tensor& label, const at::Tensor& taps_y,
    const at::Tensor& taps_x, at::IntArrayRef stride, at::IntArrayRef pad, at::IntArrayRef offset,
    int64_t normalization, std::optional<int64_t> ignore, const std::optional<at::Tensor>& weight,
    const std::optional<at::Tensor>& mask, bool gradient);

}  // namespace fcn
