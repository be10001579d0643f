// Epilogues: reductions of the scores of one output over the classes, as init and update, and the
// final formulas. Shared by host and device: V is a scalar on the GPU and a vector on the CPU, I
// the corresponding integer type.
#pragma once

#include "upcrop_math.h"

namespace fcn {

// Maximum and argmax: the lowest class on ties; the first NaN wins over any number
template <typename V, typename I>
struct Best {
  V value;
  I index;

  FCN_HD void init(V score, I none) { value = score, index = none; }

  FCN_HD void update(V score, I c) {
    const auto take = (score > value) | ((score != score) & (value == value));
    value = take ? score : value;
    index = take ? c : index;
  }

  // The same for scores without NaN
  FCN_HD void update_number(V score, I c) {
    const auto take = score > value;
    value = take ? score : value;
    index = take ? c : index;
  }
};

// log(FLT_MIN): Caffe's loss clamps probabilities there
constexpr double kLeastLog = -87.33654475055310898657;

// Clamped log-probability of the label, NaN for NaN; log_sum = log(sum of exp(score - largest))
template <typename V>
FCN_HD V log_probability(V score, V largest, V log_sum, V least) {
  const V value = score - largest - log_sum;
  return value < least ? least : value;
}

// Stands for a label that is NaN or does not fit an int
constexpr int64_t kNoLabel = -1 - int64_t(0x7fffffffffffffff);

// Caffe's LossParameter.NormalizationMode, and the divisor of the loss, at least 1
enum Normalization : int64_t { kFull = 0, kValid = 1, kBatchSize = 2, kNone = 3 };

FCN_HD double normalizer(int64_t mode, int64_t valid, int64_t batch, int64_t cells) {
  const int64_t count = mode == kFull ? batch * cells : mode == kValid ? valid
                        : mode == kBatchSize ? batch : 1;
  return static_cast<double>(count < 1 ? 1 : count);
}

}  // namespace fcn
