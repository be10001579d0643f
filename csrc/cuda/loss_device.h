// The steps of a softmax loss that do not depend on what makes its scores.
#pragma once

#include "../epilogue.h"
#include "device.h"
#include "launch.h"
#include "loss.h"

namespace fcn {

constexpr int kLossThreads = 128;  // of a block
constexpr size_t kSumBytes = kLossThreads * sizeof(LossSum);

__device__ __forceinline__ float exp_of(float x) { return expf(x); }
__device__ __forceinline__ double exp_of(double x) { return exp(x); }
__device__ __forceinline__ float log_of(float x) { return logf(x); }
__device__ __forceinline__ double log_of(double x) { return log(x); }

// A label truncated to an integer, as Caffe reads it; kNoLabel if it does not fit an int
__device__ __forceinline__ int64_t truncated(double value) {
  return value > -2147483648.0 && value < 2147483648.0 ? static_cast<int64_t>(value)
                                                           : kNoLabel;
}

template <typename Acc>
__device__ __forceinline__ int64_t label_at(const LossTargets<Acc>& a, int64_t pixel) {
  switch (a.label_type) {
    case LabelType::kByte: return static_cast<const uint8_t*>(a.label)[pixel];
    case LabelType::kInt: return static_cast<const int32_t*>(a.label)[pixel];
    case LabelType::kLong: return static_cast<const int64_t*>(a.label)[pixel];
    case LabelType::kFloat: return truncated(static_cast<const float*>(a.label)[pixel]);
    default: return truncated(static_cast<const double*>(a.label)[pixel]);
  }
}

// The label before conversion
template <typename Acc>
__device__ __forceinline__ double given_label(const LossTargets<Acc>& a, int64_t pixel) {
  if (a.label_type == LabelType::kFloat) return static_cast<const float*>(a.label)[pixel];
  if (a.label_type == LabelType::kDouble) return static_cast<const double*>(a.label)[pixel];
  return static_cast<double>(label_at(a, pixel));
}

__device__ __forceinline__ void add(LossSum& to, const LossSum& from) {
  if (to.bad == 0) to.example = from.example;
  to.loss += from.loss;
  to.valid += from.valid;
  to.bad += from.bad;
}

// The sum over a block's threads, in all of them; takes kSumBytes of shared memory
__device__ __forceinline__ LossSum block_sum(LossSum mine) {
  LossSum* all = shared_memory<LossSum>();
  all[threadIdx.x] = mine;
  for (int half = kLossThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (static_cast<int>(threadIdx.x) < half) add(all[threadIdx.x], all[threadIdx.x + half]);
  }
  __syncthreads();
  return all[0];
}

// The class of a pixel's label, -1 where the pixel takes no part; counts a bad label in sum
template <typename Acc>
__device__ __forceinline__ int class_at(const LossTargets<Acc>& t, int64_t pixel, LossSum& sum) {
  const int64_t label = label_at(t, pixel);
  if ((t.has_ignore && label == t.ignore) || (t.mask && !t.mask[pixel])) return -1;
  if (label >= 0 && label < t.classes) return static_cast<int>(label);
  add(sum, LossSum{.loss = 0, .valid = 0, .bad = 1, .example = given_label(t, pixel)});
  return -1;
}

// Add one pixel's terms to sum, from its largest score, its label's score and the sum of
// exp(score - largest); returns what the gradient needs of it
template <typename Acc>
__device__ __forceinline__ Pixel<Acc> add_pixel(const LossTargets<Acc>& t, int label, Acc largest,
                                                Acc own, Acc exps, LossSum& sum) {
  if (label < 0) return Pixel<Acc>{0, -1};
  const Acc log_sum = log_of(exps);
  const Acc lost = -log_probability(own, largest, log_sum, Acc(kLeastLog));
  sum.loss += static_cast<double>(t.weight ? t.weight[label] * lost : lost);
  ++sum.valid;
  return Pixel<Acc>{largest + log_sum, label};
}

template <typename Acc>
__device__ __forceinline__ double divisor(const LossTargets<Acc>& t, int64_t valid) {
  return normalizer(t.normalization, valid, t.images, t.pixels);
}

}  // namespace fcn
