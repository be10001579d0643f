// Dense, aligned tensors for the loops.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty_like.h>

#include <cstdint>

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

}  // namespace fcn
