// Shared by the glue of all softmax losses.
#pragma once

#include <ATen/ops/empty.h>

#include "../targets.h"
#include "glue.h"
#include "loss.h"

namespace fcn {

inline LabelType label_type(at::ScalarType type) {
  switch (type) {
    case at::kByte: return LabelType::kByte;
    case at::kInt: return LabelType::kInt;
    case at::kLong: return LabelType::kLong;
    case at::kFloat: return LabelType::kFloat;
    default: return LabelType::kDouble;
  }
}

template <typename Acc>
LossTargets<Acc> targets_of(const Targets& t, int64_t classes) {
  const int64_t images = t.label.size(0);
  return LossTargets<Acc>{.label = t.label.const_data_ptr(),
                          .label_type = label_type(t.label.scalar_type()),
                          .weight = t.weight ? t.weight->const_data_ptr<Acc>() : nullptr,
                          .mask = t.mask ? t.mask->const_data_ptr<bool>() : nullptr,
                          .has_ignore = t.ignore.has_value(),
                          .ignore = t.ignore.value_or(0),
                          .normalization = t.normalization,
                          .images = images,
                          .pixels = t.label.size(1) * t.label.size(2),
                          .classes = classes};
}

// Memory of a loss between its kernels
struct LossMemory {
  at::Tensor sums, kept;

  template <typename T>
  static at::Tensor of(int64_t count, const at::Tensor& like) {
    return at::empty({count * static_cast<int64_t>(sizeof(T))}, like.options().dtype(at::kByte));
  }

  explicit LossMemory(const Targets& t)
      : sums(of<LossSum>(kLossBlocks + 1, t.loss)),
        kept(t.loss.scalar_type() == at::kDouble ? of<Pixel<double>>(t.label.numel(), t.loss)
                                                 : of<Pixel<float>>(t.label.numel(), t.loss)) {}

  LossSum* total() const { return reinterpret_cast<LossSum*>(sums.mutable_data_ptr<uint8_t>()); }
  LossSum* partial() const { return total() + 1; }

  template <typename Acc>
  Pixel<Acc>* pixels() const {
    return reinterpret_cast<Pixel<Acc>*>(kept.mutable_data_ptr<uint8_t>());
  }
};

// Check for bad labels, which synchronises with the GPU, unless a graph is being captured
inline void check_total(const char* op, const Targets& t, int64_t classes, const LossSum* total,
                        cudaStream_t stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  C10_CUDA_CHECK(cudaStreamIsCapturing(stream, &status));
  if (status != cudaStreamCaptureStatusNone) return;
  LossSum sum;
  C10_CUDA_CHECK(cudaMemcpyAsync(&sum, total, sizeof sum, cudaMemcpyDeviceToHost, stream));
  C10_CUDA_CHECK(cudaStreamSynchronize(stream));
  check_labels(op, classes, t.ignore, sum.bad, sum.example);
}

}  // namespace fcn
