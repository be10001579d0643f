// How the CPU's convolutions multiply a type of images: float32 as it is, bfloat16 in pairs of
// channels where the processor has AVX512-BF16.
#pragma once

#include <ATen/core/Tensor.h>

#include "../common/bf16.h"
#include "../gemm/micro_kernel.h"

namespace fcn {

template <typename T> struct Factor { using type = T; };
template <> struct Factor<Bf16> { using type = Pair; };

// Channels of one factor
inline int64_t per_factor(at::ScalarType type) { return type == at::kFloat ? 1 : 2; }

// Whether this processor multiplies them
inline bool computes(at::ScalarType type) {
  return type == at::kFloat || (type == at::kBFloat16 && multiplies_pairs());
}

// The numbers of a tensor of T, or of factors of T; null where there is none
template <typename T>
T* data(const at::Tensor& t) { return t.defined() ? static_cast<T*>(t.data_ptr()) : nullptr; }

inline void check(const char* op, const char* name, const at::Tensor& t, int64_t axes,
                  at::ScalarType type = at::kFloat) {
  TORCH_CHECK_VALUE(t.is_cpu() && t.scalar_type() == type && t.dim() == axes && computes(type), op,
                    ": ", name, " is ", t.scalar_type(), " of shape ", t.sizes(), " on ",
                    t.device(), ", expected ",
                    computes(type) && type != at::kFloat ? "bfloat16" : "float32", " of ", axes,
                    " axes on cpu.");
}

}  // namespace fcn
