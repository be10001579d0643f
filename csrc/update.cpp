// Schema and argument checks of the solver update, shared by all backends.
#include "update.h"

#include <ATen/MemoryOverlap.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include "dense.h"

TORCH_LIBRARY_FRAGMENT(fcn_repro, m) {
  m.def(
      "fused_update(Tensor(a!)[] data, Tensor(b!)[] diff, Tensor(c!)[] history, str rule, "
      "float[] rates, float[] decays, bool[] moves, bool l1, float clip, float keep, "
      "float keep2, float delta) -> ()");
}

namespace fcn {
namespace {

Rule rule_of(c10::string_view name) {
  const std::pair<const char*, Rule> rules[] = {
      {"SGD", Rule::SGD},         {"Nesterov", Rule::Nesterov}, {"AdaGrad", Rule::AdaGrad},
      {"RMSProp", Rule::RMSProp}, {"AdaDelta", Rule::AdaDelta}, {"Adam", Rule::Adam}};
  for (const auto& [known, rule] : rules)
    if (name == known) return rule;
  TORCH_CHECK_VALUE(false, "fused_update: no rule '", name, "'.");
}

// Whether two tensors of one shape have the same memory order
bool same_order(const at::Tensor& a, const at::Tensor& b) {
  for (int64_t axis = 0; axis < a.dim(); ++axis)
    if (a.size(axis) != 1 && a.stride(axis) != b.stride(axis)) return false;
  return true;
}

}  // namespace

void Update::finish() const {
  for (const auto& [given, copy] : copies) given.copy_(copy);
}

Update prepare_update(at::TensorList data, at::TensorList diff, at::TensorList history,
                      c10::string_view rule, at::ArrayRef<double> rates,
                      at::ArrayRef<double> decays, c10::List<bool> moves, bool l1, double clip,
                      double keep, double keep2, double delta) {
  Update update{
      .rule = rule_of(rule), .l1 = l1, .clip = clip, .keep = keep, .keep2 = keep2, .delta = delta};
  const size_t count = data.size(), histories = has_second(update.rule) ? 2 : 1;
  TORCH_CHECK_VALUE(diff.size() == count && history.size() == histories * count &&
                        rates.size() == count && decays.size() == count && moves.size() == count,
                    "fused_update: ", count, " data, ", diff.size(), " diffs, ", history.size(),
                    " histories, ", rates.size(), " rates, ", decays.size(), " decays, ",
                    moves.size(), " moves; expected as many of each, ", histories,
                    " histories a parameter.");
  for (size_t i = 0; i < count; ++i) {
    const at::Tensor& like = data[i];
    const auto type = like.scalar_type();
    TORCH_CHECK_VALUE(type == at::kFloat || type == at::kDouble, "fused_update: data ", i, " is ",
                      type, ", expected Float or Double.");
    TORCH_CHECK_VALUE(like.is_non_overlapping_and_dense(), "fused_update: data ", i, " of shape ",
                      like.sizes(), " has strides ", like.strides(), ", expected a dense tensor.");
    Parameter parameter{.rate = rates[i], .decay = decays[i], .moves = moves[i]};
    const at::Tensor given[] = {like, diff[i], history[i],
                                histories == 2 ? history[count + i] : at::Tensor()};
    for (size_t part = 0; part < 2 + histories; ++part) {
      const at::Tensor& tensor = given[part];
      TORCH_CHECK_VALUE(tensor.sizes() == like.sizes() && tensor.scalar_type() == type &&
                            tensor.device() == data[0].device(),
                        "fused_update: array ", part, " of parameter ", i, " is ",
                        tensor.scalar_type(), " of shape ", tensor.sizes(), " on ",
                        tensor.device(), ", expected ", type, " of shape ", like.sizes(), " on ",
                        data[0].device(), ".");
      parameter.arrays[part] = tensor;
      TORCH_CHECK_VALUE(at::has_internal_overlap(tensor) != at::MemOverlap::Yes,
                        "fused_update: array ", part, " of parameter ", i, " of shape ",
                        tensor.sizes(), " has strides ", tensor.strides(),
                        ", expected elements that do not overlap in memory.");
      if (same_order(tensor, like) && is_aligned(tensor)) continue;
      parameter.arrays[part] = at::empty_like(like).copy_(tensor);
      update.copies.emplace_back(tensor, parameter.arrays[part]);
    }
    if (like.numel()) update.parameters.push_back(std::move(parameter));
  }
  return update;
}

}  // namespace fcn
