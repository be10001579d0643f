// Schema and argument checks of upsample + crop + softmax loss.
#include "softmax_loss.h"

#include <torch/library.h>

TORCH_LIBRARY_FRAGMENT(fcn_repro, m) {
  m.def(
      "upcrop_softmax_loss(Tensor x, Tensor label, Tensor taps_y, Tensor taps_x, int[2] stride, "
      "int[2] pad, SymInt[2] offset, int normalization, int? ignore_label, Tensor? weight, "
      "Tensor? mask, bool gradient, bool check) -> (Tensor, Tensor)");
}

namespace fcn {

SoftmaxLoss prepare_softmax_loss(
    const at::Tensor& x, const at::Tensor& label, const at::Tensor& taps_y,
    const at::Tensor& taps_x, at::IntArrayRef stride, at::IntArrayRef pad, at::IntArrayRef offset,
    int64_t normalization, std::optional<int64_t> ignore, const std::optional<at::Tensor>& weight,
    const std::optional<at::Tensor>& mask, bool gradient) {
  const char* op = SoftmaxLoss::name;
  TORCH_CHECK_VALUE(x.dim() == 4, op, ": x has ", x.dim(), " axes with shape ", x.sizes(),
                    ", expected 4 (N, C, H, W).");
  check_map(op, "label", label, x);
  Scores scores = prepare_scores(op, x, taps_y, taps_x, stride, pad, offset,
                                 label.sizes().slice(1));
  check_targets(op, x, label, weight, mask, normalization);
  Targets targets = prepare_targets(scores.x, label, normalization, ignore, weight, mask, gradient);
  return SoftmaxLoss{std::move(targets), std::move(scores)};
}

}  // namespace fcn
