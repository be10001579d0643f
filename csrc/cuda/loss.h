// What all softmax losses on the GPU have in common, whatever makes their scores.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace fcn {

enum class LabelType : int { kByte, kInt, kLong, kFloat, kDouble };

// What scores are compared with: `pixels` labels of each image
template <typename Acc>
struct LossTargets {
  const void* label;       // (images, pixels) of label_type
  LabelType label_type;
  const Acc* weight;       // (classes), or nullptr
  const bool* mask;        // as label, or nullptr
  bool has_ignore;
  int64_t ignore, normalization;
  int64_t images, pixels, classes;
};

// Sums of a block and, in the end, of the op
struct LossSum {
  double loss;
  int64_t valid, bad;  // pixels that count; labels out of range
  double example;      // a bad label
};

// What the gradient needs of a pixel
template <typename Acc>
struct alignas(2 * sizeof(Acc)) Pixel {
  Acc log_sum;  // log(sum of exp(score))
  int label;    // -1 where the pixel takes no part
};

constexpr int64_t kLossBlocks = 1024;  // partial sums at most, whatever the GPU

// total: the sum of `count` partial ones, on the device. loss: one Acc, NaN after bad labels.
template <typename Acc>
cudaError_t launch_total(const LossTargets<Acc>& targets, const LossSum* partial, int count,
                         LossSum* total, Acc* loss, cudaStream_t stream);

}  // namespace fcn
