// What both backends of the solver update need before their loops: checked, dense arrays.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <vector>

#include "update_math.h"

namespace fcn {

struct Parameter {
  std::array<at::Tensor, 4> arrays;  // data, diff, first and second history (undefined if none)
  double rate, decay;
  bool moves;  // whether the data changes
};

struct Update {
  std::vector<Parameter> parameters;  // all in the memory order of their data
  std::vector<std::pair<at::Tensor, at::Tensor>> copies;  // (what was given, its copy in order)
  Rule rule;
  bool l1;
  double clip, keep, keep2, delta;

  // The copies' results, after the loops
  void finish() const;
};

Update prepare_update(at::TensorList data, at::TensorList diff, at::TensorList history,
                      c10::string_view rule, at::ArrayRef<double> rates,
                      at::ArrayRef<double> decays, c10::List<bool> moves, bool l1, double clip,
                      double keep, double keep2, double delta);

inline Decay kind_of(const Update& update, const Parameter& parameter) {
  return parameter.decay == 0 ? Decay::None : update.l1 ? Decay::L1 : Decay::L2;
}

}  // namespace fcn
