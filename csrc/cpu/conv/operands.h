// How the convolutions multiply an element type: float32 as it is, bfloat16 as pairs of channels
// where the processor has AVX512-BF16. And the checks that all of them make.
#pragma once

#include <ATen/core/Tensor.h>

#include "../../dense.h"
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

// The type if this processor and build multiply it, else the one to ask for
inline at::ScalarType supported(at::ScalarType type) {
  return type == at::kBFloat16 && has_avx512_bf16() ? type : at::kFloat;
}

// The elements of a tensor of T, or of operands packed from T; null for an undefined tensor
template <typename T>
T* data(const at::Tensor& t) { return t.defined() ? static_cast<T*>(t.data_ptr()) : nullptr; }

inline void check_tensor(const char* op, const char* name, const at::Tensor& t, int64_t axes,
                         at::ScalarType type = at::kFloat) {
  check_tensor(op, name, t, axes, supported(type), at::kCPU);
}

}  // namespace fcn
