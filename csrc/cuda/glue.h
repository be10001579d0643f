// What the glue of all CUDA ops shares.
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

// The type that the kernels know, of the same bits
template <typename T> struct Device { using type = T; };
template <> struct Device<at::Half> { using type = __half; };
template <> struct Device<at::BFloat16> { using type = __nv_bfloat16; };

template <typename Acc>
Source<Acc> source_of(const Scores& s) {
  TORCH_CHECK_VALUE(is_short(s.y) && is_short(s.x_axis), "size + offset + pad + kernel is ",
                    s.y.out + s.y.shift + s.y.k, " along y and ",
                    s.x_axis.out + s.x_axis.shift + s.x_axis.k,
                    " along x, expected at most 2147483647 on CUDA. Cut it into pieces.");
  return Source<Acc>{s.x.const_data_ptr<Acc>(), s.taps_y.const_data_ptr<Acc>(),
                     s.taps_x.const_data_ptr<Acc>(), s.y, s.x_axis, s.batch, s.classes};
}

}  // namespace fcn
