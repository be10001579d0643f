// What becomes of the scores of one output, class by class: init, update, write. Shared by host
// and device: V is a number on the GPU, a vector of lanes on the CPU, and I its integers.
#pragma once

#include "upcrop_math.h"

namespace fcn {

// The largest score and its class: the lowest class on ties, and the first NaN before any number
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

  // The same where no score is a NaN
  FCN_HD void update_number(V score, I c) {
    const auto take = score > value;
    value = take ? score : value;
    index = take ? c : index;
  }
};

// log(FLT_MIN): Caffe's loss takes no probability below it
constexpr double kLeastLog = -87.33654475055310898657;

// log(probability) of the label's score, clamped; a NaN stays one. log_sum is the logarithm of the
// sum of exp(score - largest).
template <typename V>
FCN_HD V log_probability(V score, V largest, V log_sum, V least) {
  const V value = score - largest - log_sum;
  return value < least ? least : value;
}

// What stands for a label that is no number, or one beyond int's
constexpr int64_t kNoLabel = -1 - int64_t(0x7fffffffffffffff);

// What a loss is divided by: Caffe's LossParameter.NormalizationMode, never under 1
enum Normalization : int64_t { kFull = 0, kValid = 1, kBatchSize = 2, kNone = 3 };

FCN_HD double normalizer(int64_t mode, int64_t valid, int64_t batch, int64_t cells) {
  const int64_t count = mode == kFull ? batch * cells : mode == kValid ? valid
                        : mode == kBatchSize ? batch : 1;
  return static_cast<double>(count < 1 ? 1 : count);
}

}  // namespace fcn
