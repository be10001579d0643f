// The solver update on the CPU (formulas in update_math.h). It is bound by memory, so all arrays
// of a parameter are read and written in a single pass; threads share chunks of kChunk elements
// that fit the L2 cache.
#include "../../update.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>

#include "../common/target.h"

namespace fcn {
namespace {

constexpr int64_t kChunk = 16384;  // elements

template <Rule rule, Decay kind, typename T>
FCN_CLONES void update_chunk(T* __restrict__ data, T* __restrict__ diff, T* __restrict__ first,
                             T* __restrict__ second, int64_t n, T rate, T decay, bool moves,
                             Rates<T> p) {
  T none = 0;
  for (int64_t i = 0; i < n; ++i)
    update_at<rule, kind>(data[i], diff[i], first[i], has_second(rule) ? second[i] : none, rate,
                          decay, moves, p);
}

template <typename T>
void update_part(const Update& update, const Parameter& parameter, int64_t begin, int64_t n) {
  const auto part = [&](int i) {
    return parameter.arrays[i].defined() ? parameter.arrays[i].mutable_data_ptr<T>() + begin
                                         : nullptr;
  };
  const Rates<T> p(update.clip, update.keep, update.keep2, update.delta);
  with_rule(update.rule, kind_of(update, parameter), [&]<Rule rule, Decay kind>() {
    update_chunk<rule, kind>(part(0), part(1), part(2), part(3), n,
                             static_cast<T>(parameter.rate), static_cast<T>(parameter.decay),
                             parameter.moves, p);
  });
}

void update_cpu(at::TensorList data, at::TensorList diff, at::TensorList history,
                c10::string_view rule, at::ArrayRef<double> rates, at::ArrayRef<double> decays,
                c10::List<bool> moves, bool l1, double clip, double keep, double keep2,
                double delta) {
  const Update update = prepare_update(data, diff, history, rule, rates, decays, moves, l1, clip,
                                       keep, keep2, delta);
  std::vector<std::pair<const Parameter*, int64_t>> chunks;  // and the first element
  for (const Parameter& parameter : update.parameters)
    for (int64_t begin = 0; begin < parameter.arrays[0].numel(); begin += kChunk)
      chunks.emplace_back(&parameter, begin);
  at::parallel_for(0, static_cast<int64_t>(chunks.size()), 1, [&](int64_t from, int64_t to) {
    for (int64_t c = from; c < to; ++c) {
      const Parameter& parameter = *chunks[c].first;
      const int64_t begin = chunks[c].second;
      const int64_t n = std::min(kChunk, parameter.arrays[0].numel() - begin);
      AT_DISPATCH_FLOATING_TYPES(parameter.arrays[0].scalar_type(), "fused_update",
                                 [&] { update_part<scalar_t>(update, parameter, begin, n); });
    }
  });
  update.finish();
}

}  // namespace

TORCH_LIBRARY_IMPL(fcn_repro, CPU, m) { m.impl("fused_update", update_cpu); }

}  // namespace fcn
