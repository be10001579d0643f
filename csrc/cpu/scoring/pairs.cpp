// Counts of (label, prediction) pairs. Label maps are mostly flat: eight pixels that are all alike
// are counted at once.
#include <ATen/core/Tensor.h>
#include <ATen/ops/zeros.h>
#include <c10/util/Exception.h>
#include <torch/library.h>

#include <algorithm>
#include <cstdint>
#include <optional>

#include "../../dense.h"
#include "bytes.h"

namespace fcn {
namespace {

constexpr const char* kOp = "pair_counts";
constexpr int64_t kMostClasses = 256;

struct Maps {
  const uint8_t *labels, *predictions, *groups;  // groups: null for one
  int64_t count;
};

// counts[group][label][prediction] += 1 for each pixel, where labels and predictions that are no
// class share a row and a column at the end
void count_pairs(const Maps& maps, int64_t classes, int64_t* counts) {
  const auto at = [&](int64_t i) -> int64_t& {
    const int64_t group = maps.groups ? maps.groups[i] : 0;
    const int64_t label = std::min<int64_t>(maps.labels[i], classes);
    const int64_t prediction = std::min<int64_t>(maps.predictions[i], classes);
    return counts[(group * (classes + 1) + label) * (classes + 1) + prediction];
  };
  const int64_t whole = maps.count / kBytes * kBytes;
  for (int64_t i = 0; i < whole; i += kBytes) {
    const bool flat = are_equal(maps.labels + i) && are_equal(maps.predictions + i) &&
                      (!maps.groups || are_equal(maps.groups + i));
    if (flat)
      at(i) += kBytes;
    else
      for (int64_t j = i; j < i + kBytes; ++j) ++at(j);
  }
  for (int64_t i = whole; i < maps.count; ++i) ++at(i);
}

void check_map(const char* name, const at::Tensor& map, const at::Tensor& labels) {
  TORCH_CHECK_VALUE(map.scalar_type() == at::kByte && map.device() == labels.device() &&
                        map.sizes() == labels.sizes(),
                    kOp, ": ", name, " is ", map.scalar_type(), " of shape ", map.sizes(), " on ",
                    map.device(), ", expected Byte (uint8) of shape ", labels.sizes(), " on ",
                    labels.device(), ".");
}

at::Tensor pair_counts_cpu(const at::Tensor& labels, const at::Tensor& predictions,
                           const std::optional<at::Tensor>& groups, int64_t classes,
                           int64_t number) {
  check_map("labels", labels, labels);
  check_map("predictions", predictions, labels);
  TORCH_CHECK_VALUE(1 <= classes && classes <= kMostClasses, kOp, ": ", classes,
                    " classes, expected 1 to ", kMostClasses, ".");
  TORCH_CHECK_VALUE(1 <= number && number <= kMostClasses, kOp, ": ", number,
                    " groups, expected 1 to ", kMostClasses, ".");
  const at::Tensor kept[] = {dense(labels), dense(predictions),
                             groups ? dense(*groups) : at::Tensor()};
  Maps maps{.labels = kept[0].const_data_ptr<uint8_t>(),
            .predictions = kept[1].const_data_ptr<uint8_t>(),
            .groups = nullptr,
            .count = labels.numel()};
  if (groups) {
    check_map("groups", *groups, labels);
    maps.groups = kept[2].const_data_ptr<uint8_t>();
    if (maps.count) {
      const int64_t most = *std::max_element(maps.groups, maps.groups + maps.count);
      TORCH_CHECK_VALUE(most < number, kOp, ": groups holds ", most, ", there are ", number, ".");
    }
  }
  at::Tensor counts =
      at::zeros({number, classes + 1, classes + 1}, labels.options().dtype(at::kLong));
  count_pairs(maps, classes, counts.mutable_data_ptr<int64_t>());
  return counts;
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(fcn_repro, m) {
  m.def(
      "pair_counts(Tensor labels, Tensor predictions, Tensor? groups, int classes, int number) -> "
      "Tensor");
}
TORCH_LIBRARY_IMPL(fcn_repro, CPU, m) { m.impl("pair_counts", pair_counts_cpu); }

}  // namespace fcn
