// Schema and argument checks of upsample + crop + argmax.
#include "argmax.h"

#include <ATen/ops/empty.h>
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
  TORCH_CHECK_VALUE(dtype == at::kByte || dtype == at::kLong, op, ": labels of ", dtype,
                    ", expected Byte (uint8) or Long (int64).");
  TORCH_CHECK_VALUE(scores.classes >= 1, op, ": x has no channels (shape ", x.sizes(),
                    "), expected at least 1 class.");
  TORCH_CHECK_VALUE(dtype == at::kLong || scores.classes <= 256, op, ": ", scores.classes,
                    " classes do not fit labels of Byte (uint8), which hold 256. Ask for Long.");
  const auto options = x.options().memory_format(at::MemoryFormat::Contiguous);
  at::Tensor labels = at::empty({scores.batch, scores.y.out, scores.x_axis.out},
                                options.dtype(dtype));
  at::Tensor p = probability ? at::empty(labels.sizes(), options.dtype(at::kFloat))
                             : at::empty({0}, options.dtype(at::kFloat));
  return Argmax{.scores = std::move(scores),
                .labels = std::move(labels),
                .probability = std::move(p),
                .with_probability = probability};
}

}  // namespace fcn
