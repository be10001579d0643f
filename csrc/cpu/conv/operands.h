// How the convolutions multiply an element type: float32 as it is, bfloat16 as pairs of channels
// where the processor has AVX512-BF16. And the checks that all of them make.
#pragma once

#include <ATen/core/Tensor.h>

#include "../common/bf16.h"
#include "../gemm/micro_kernel.h"

namespace fcn {

template <typename T>
struct OperandOf {
  using type = T;
};
template <>
struct OperandOf<Bf16> {
  using type = Bf16Pair;
};

inline int64_t channels_per_operand(at::ScalarType type) { return type == at::kFloat ? 1 : 2; }

// Whether this processor and build multiply it
inline bool is_supported(at::ScalarType type) {
  return type == at::kFloat || (type == at::kBFloat16 && has_avx512_bf16());
}

// The elements of a tensor of T, or of operands packed from T; null for an undefined tensor
template <typename T>
T* data(const at::Tensor& t) { return t.defined() ? static_cast<T*>(t.data_ptr()) : nullptr; }

inline void check_tensor(const char* op, const char* name, const at::Tensor& t, int64_t axes,
                         at::ScalarType type = at::kFloat) {
  const bool supported = is_supported(type);
  TORCH_CHECK_VALUE(t.is_cpu() && t.scalar_type() == type && t.dim() == axes && supported, op, ": ",
                    name, " is ", t.scalar_type(), " of shape ", t.sizes(), " on ", t.device(),
                    ", expected ", supported && type != at::kFloat ? "bfloat16" : "float32", " of ",
                    axes, " axes on cpu.");
}

}  // namespace fcn
