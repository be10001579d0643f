// Dense, aligned tensors for the loops, and the check of what they are made of.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty_like.h>
#include <c10/util/Exception.h>

#include <cstdint>

#include "counts.h"

namespace fcn {

// Whether the data are aligned to their type; views of foreign memory need not be
inline bool is_aligned(const at::Tensor& tensor) {
  return reinterpret_cast<uintptr_t>(tensor.const_data_ptr()) % tensor.element_size() == 0;
}

// channels_last for channels_last tensors, contiguous for all others, views included
inline at::MemoryFormat format_of(const at::Tensor& x) {
  const bool last = x.is_contiguous(at::MemoryFormat::ChannelsLast) && !x.is_contiguous();
  return last ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
}

// The tensor itself if it is dense in `format` and aligned, otherwise a copy
inline at::Tensor dense(const at::Tensor& tensor,
                        at::MemoryFormat format = at::MemoryFormat::Contiguous) {
  const at::Tensor whole = tensor.contiguous(format);
  return is_aligned(whole) ? whole : at::empty_like(whole).copy_(whole);
}

// Throw unless a tensor is a blob (N, C, H, W) of a type that the ops take, of countable sizes
inline void check_blob(const char* op, const char* name, const at::Tensor& x) {
  TORCH_CHECK_VALUE(x.dim() == 4, op, ": ", name, " has ", x.dim(), " axes with shape ",
                    x.sizes(), ", expected 4 (N, C, H, W).");
  const auto type = x.scalar_type();
  TORCH_CHECK_VALUE(type == at::kFloat || type == at::kDouble || type == at::kHalf ||
                        type == at::kBFloat16, op, ": ", name, " is ", type,
                    ", expected Float, Double, Half or BFloat16. Convert it first.");
  check_sizes(op, name, x.sizes());
}

// Throw unless a tensor has this many axes, this type (of float32 and bfloat16) and this device
inline void check_tensor(const char* op, const char* name, const at::Tensor& t, int64_t axes,
                         at::ScalarType type, at::Device device) {
  TORCH_CHECK_VALUE(t.device() == device && t.scalar_type() == type && t.dim() == axes, op, ": ",
                    name, " is ", t.scalar_type(), " of shape ", t.sizes(), " on ", t.device(),
                    ", expected ", type == at::kFloat ? "float32" : "bfloat16", " of ", axes,
                    " axes on ", device, ".");
}

}  // namespace fcn
