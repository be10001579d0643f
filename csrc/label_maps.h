// The labels of scores, and the probabilities of these: allocated results, shared by the ops.
#pragma once

#include <ATen/core/Tensor.h>

namespace fcn {

struct LabelMaps {
  at::Tensor labels;       // (N, *size) of Byte or Long, not yet written
  at::Tensor probability;  // (N, *size) of Float, not yet written; (0) if not wanted
  bool with_probability;
};

// Of x's (N, C, ...) at a size (y, x). Throws for no class, and labels of a type that does not hold
// all classes.
LabelMaps prepare_labels(const char* op, const at::Tensor& x, int64_t rows, int64_t columns,
                         at::ScalarType dtype, bool probability);

}  // namespace fcn
