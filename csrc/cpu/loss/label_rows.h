// Rows of labels as classes, and the sums of a loss over pieces of work.
#pragma once

#include <optional>
#include <vector>

#include "../../epilogue.h"
#include "../../targets.h"
#include "../common/simd.h"

namespace fcn {

// Partial result of some pixels
struct Sum {
  double loss = 0;
  int64_t valid = 0, bad = 0;
  double example = 0;  // the first bad label
};

// All of them, in their order
inline Sum total_of(const std::vector<Sum>& parts) {
  Sum all;
  for (const Sum& part : parts) {
    all.loss += part.loss;
    all.valid += part.valid;
    if (part.bad && !all.bad) all.example = part.example;
    all.bad += part.bad;
  }
  return all;
}

// A label truncated to an integer, as Caffe reads it; kNoLabel if it does not fit an int
template <typename L>
FCN_INLINE int64_t label_of(L value) {
  if constexpr (std::is_integral_v<L>)
    return value;
  else
    return value > L(-2147483648.0) && value < L(2147483648.0) ? static_cast<int64_t>(value)
                                                               : kNoLabel;
}

// Convert a row of labels to classes, -1 where ignored; returns the number of pixels that count
template <typename L, typename Int>
FCN_CLONES int64_t classes_of(const L* from, const bool* mask, std::optional<int64_t> ignore,
                              int64_t classes, int64_t n, Int* __restrict__ to, int64_t* bad) {
  int64_t valid = 0, outside = 0;
  const bool ignores = ignore.has_value();
  const int64_t ignored = ignore.value_or(0);
  for (int64_t o = 0; o < n; ++o) {
    const int64_t c = label_of(from[o]);
    const bool counts = !(ignores & (c == ignored)) & !(mask && !mask[o]);
    const bool inside = (c >= 0) & (c < classes);
    to[o] = (counts & inside) ? static_cast<Int>(c) : Int(-1);
    valid += counts & inside;
    outside += counts & !inside;
  }
  *bad = outside;
  return valid;
}

// n labels from `offset` on as classes, -1 where a pixel takes no part
template <typename L, typename Int>
void read_classes_of(const Targets& t, int64_t classes, int64_t offset, int64_t n, Int* to,
                     Sum* sum) {
  const L* from = t.label.const_data_ptr<L>() + offset;
  const bool* mask = t.mask ? t.mask->const_data_ptr<bool>() + offset : nullptr;
  int64_t bad;
  sum->valid += classes_of(from, mask, t.ignore, classes, n, to, &bad);
  for (int64_t o = 0, one = 0; bad > 0 && sum->bad == 0 && !one; ++o) {
    Int scratch;
    classes_of(from + o, mask ? mask + o : nullptr, t.ignore, classes, 1, &scratch, &one);
    if (one) sum->example = static_cast<double>(from[o]);
  }
  sum->bad += bad;
}

template <typename Acc>
void read_classes(const Targets& t, int64_t classes, int64_t offset, int64_t n,
                  typename Lanes<Acc>::Int* to, Sum* sum) {
  switch (t.label.scalar_type()) {
    case at::kByte: return read_classes_of<uint8_t>(t, classes, offset, n, to, sum);
    case at::kInt: return read_classes_of<int32_t>(t, classes, offset, n, to, sum);
    case at::kLong: return read_classes_of<int64_t>(t, classes, offset, n, to, sum);
    case at::kFloat: return read_classes_of<float>(t, classes, offset, n, to, sum);
    default: return read_classes_of<double>(t, classes, offset, n, to, sum);
  }
}

}  // namespace fcn
