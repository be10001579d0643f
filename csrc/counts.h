// The guard of the kernels' 64-bit arithmetic. Shapes of views may be as large as one likes, with
// no memory behind them: a tensor that is expanded, or that has a zero among its sizes.
#pragma once

#include <c10/util/Exception.h>

#include <cstdint>
#include <initializer_list>
#include <limits>

namespace fcn {

constexpr int64_t kMaxSize = std::numeric_limits<int32_t>::max();  // along one axis

// Of one operation. Buffers have at most this many elements times what rounding up to whole vectors
// and panels adds, 2^8, so that no index overflows; no processor gets through as many.
constexpr int64_t kMostProducts = int64_t(1) << 54;

// Throw if the product of the sizes exceeds kMostProducts; none is negative, and a zero counts as 1
inline void check_product(const char* op, std::initializer_list<int64_t> sizes) {
  int64_t product = 1;
  for (const int64_t size : sizes)
    TORCH_CHECK_VALUE(
        !__builtin_mul_overflow(product, size ? size : 1, &product) && product <= kMostProducts, op,
        ": sizes ", c10::ArrayRef<int64_t>(sizes), " make more than ", kMostProducts,
        " products. Pass smaller tensors.");
}

// Throw if a size of a shape exceeds kMaxSize
inline void check_sizes(const char* op, const char* name, c10::ArrayRef<int64_t> shape) {
  for (const int64_t size : shape)
    TORCH_CHECK_VALUE(size <= kMaxSize, op, ": ", name, " has shape ", shape, ", expected at most ",
                      kMaxSize, " along each axis.");
}

}  // namespace fcn
