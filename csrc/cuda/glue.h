// Shared by the glue of all CUDA ops.
#pragma once

#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <torch/library.h>

#include "../scores.h"
#include "score.h"

namespace fcn {

// CUDA's own type for an element type of torch
template <typename T> struct Device { using type = T; };
template <> struct Device<at::Half> { using type = __half; };
template <> struct Device<at::BFloat16> { using type = __nv_bfloat16; };

template <typename Acc>
Source<Acc> source_of(const Scores& s) {
  TORCH_CHECK_VALUE(is_short(s.y) && is_short(s.x_axis), "size + offset + pad + kernel is ",
                    s.y.out + s.y.shift + s.y.k, " along y and ",
                    s.x_axis.out + s.x_axis.shift + s.x_axis.k,
                    " along x, expected at most 2147483647 on CUDA. Cut it into pieces.");
  TORCH_CHECK_VALUE(s.classes <= int64_t(0x7fffffff), s.classes,
                    " classes, expected at most 2147483647 on CUDA. Cut them into pieces.");
  return Source<Acc>{.x = s.x.const_data_ptr<Acc>(),
                     .taps_y = s.taps_y.const_data_ptr<Acc>(),
                     .taps_x = s.taps_x.const_data_ptr<Acc>(),
                     .y = s.y,
                     .x_axis = s.x_axis,
                     .batch = s.batch,
                     .classes = s.classes};
}

}  // namespace fcn
