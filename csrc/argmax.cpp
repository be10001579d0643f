// Schema and argument checks of upsample + crop + argmax.
#include "argmax.h"

#include <torch/library.h>

TORCH_LIBRARY_FRAGMENT(fcn_repro, m) {
  m.def(
      "upcrop_argmax(Tensor x, Tensor taps_y, Tensor taps_x, int[2] stride, int[2] pad, "
      "SymInt[2] offset, SymInt[2] size, ScalarType dtype, bool probability) "
      "-> (Tensor, Tensor)");
}

namespace fcn {

Argmax prepare_argmax(const at::Tensor& x, const at::Tensor& taps_y, const at::Tensor& taps_x,
                      at::IntArrayRef stride, at::IntArrayRef pad, at::IntArrayRef offset,
                      at::IntArrayRef size, at::ScalarType dtype, bool probability) {
  const char* op = "upcrop_argmax";
  Scores scores = prepare_scores(op, x, taps_y, taps_x, stride, pad, offset, size);
  LabelMaps maps = prepare_labels(op, x, scores.y.out, scores.x_axis.out, dtype, probability);
  return Argmax{std::move(maps), std::move(scores)};
}

}  // namespace fcn
