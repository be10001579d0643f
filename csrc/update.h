// The solver update: checked arguments and dense arrays, shared by the backends.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <vector>

#include "update_math.h"

namespace fcn {

struct Parameter {
  std::array<at::Tensor, 4> arrays;  // data, diff, first and second history (undefined if none)
  double rate, decay;
  bool moves;  // whether the data changes (lr_mult is not 0)
};

struct Update {
  std::vector<Parameter> parameters;                      // arrays in the memory order of the data
  std::vector<std::pair<at::Tensor, at::Tensor>> copies;  // (given tensor, dense copy)
  Rule rule;
  bool l1;
  double clip, keep, keep2, delta;

  // Write the results of copies back
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
