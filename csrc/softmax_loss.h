// Upsample + crop + softmax loss: checked arguments and allocated results, shared by the backends.
#pragma once

#include <optional>

#include "scores.h"

namespace fcn {

struct SoftmaxLoss {
  Scores scores;
  at::Tensor label;                    // contiguous (N, *size): Byte, Int, Long, Float or Double
  std::optional<at::Tensor> weight;    // contiguous (C) of the accumulation type
  std::optional<at::Tensor> mask;      // contiguous (N, *size) of Bool
  at::Tensor loss;                     // () of the accumulation type, not yet written
  at::Tensor grad;                     // as scores.x, zeros; (0) if not wanted
  int64_t normalization;
  std::optional<int64_t> ignore;
  bool gradient;
};

SoftmaxLoss prepare_softmax_loss(
    const at::Tensor& x, const at::Tensor& label, const at::Tensor& taps_y,
    const at::Tensor& taps_x, at::IntArrayRef stride, at::IntArrayRef pad, at::IntArrayRef offset,
    int64_t normalization, std::optional<int64_t> ignore, const std::optional<at::Tensor>& weight,
    const std::optional<at::Tensor>& mask, bool gradient);

// Throw for labels, class weights or a mask that do not fit x, and for an unknown normalization
void check_targets(const char* op, const at::Tensor& x, const at::Tensor& label,
                   const std::optional<at::Tensor>& weight, const std::optional<at::Tensor>& mask,
                   int64_t normalization);

// Throw if there are `bad` labels out of range, of which `example` is one
void check_labels(const char* op, int64_t classes, std::optional<int64_t> ignore, int64_t bad,
                  double example);
void check_labels(const SoftmaxLoss& op, int64_t bad, double example);

// The gradient in the accumulation type, channels_last if x is
at::Tensor gradient_like(const SoftmaxLoss& op, const at::Tensor& x);

}  // namespace fcn
