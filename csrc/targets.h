// What a softmax loss compares scores with, and what it gives: checked arguments and allocated
// results, shared by the ops and their backends.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace fcn {

struct Targets {
  at::Tensor label;                  // contiguous (N, *size): Byte, Int, Long, Float or Double
  std::optional<at::Tensor> weight;  // contiguous (C) of the accumulation type
  std::optional<at::Tensor> mask;    // contiguous (N, *size) of Bool
  at::Tensor loss;                   // () of the accumulation type, not yet written
  at::Tensor grad;                   // as the scores' input, zeros; (0) if not wanted
  int64_t normalization;
  std::optional<int64_t> ignore;
  bool gradient;
};

// Throw for a map (N, height, width) of another shape or device than x's
void check_map(const char* op, const char* name, const at::Tensor& map, const at::Tensor& x);

// Throw for labels, class weights or a mask that do not fit x, and for an unknown normalization
void check_targets(const char* op, const at::Tensor& x, const at::Tensor& label,
                   const std::optional<at::Tensor>& weight, const std::optional<at::Tensor>& mask,
                   int64_t normalization);

// Of checked arguments; wide: x in the accumulation type
Targets prepare_targets(const at::Tensor& wide, const at::Tensor& label, int64_t normalization,
                        std::optional<int64_t> ignore, const std::optional<at::Tensor>& weight,
                        const std::optional<at::Tensor>& mask, bool gradient);

// Throw if there are `bad` labels out of range, of which `example` is one
void check_labels(const char* op, int64_t classes, std::optional<int64_t> ignore, int64_t bad,
                  double example);

// The gradient in the accumulation type, channels_last if x is
at::Tensor gradient_like(const Targets& t, const at::Tensor& x);

}  // namespace fcn
