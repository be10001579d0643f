// Schemas and argument checks of resizing with aligned corners + argmax or softmax loss.
#include "interp.h"

#include <ATen/OpMathType.h>
#include <torch/library.h>

#include "counts.h"
#include "dense.h"

TORCH_LIBRARY_FRAGMENT(fcn_repro, m) {
  m.def(
      "interp_argmax(Tensor x, SymInt[2] size, ScalarType dtype, bool probability) "
      "-> (Tensor, Tensor)");
  m.def(
      "interp_softmax_loss(Tensor x, Tensor label, int normalization, int? ignore_label, "
      "Tensor? weight, Tensor? mask, bool gradient, bool check) -> (Tensor, Tensor)");
}

namespace fcn {
namespace {

Resize check_axis(const char* op, int axis, int64_t in, int64_t out) {
  const char* where = axis == 0 ? "y" : "x";
  TORCH_CHECK_VALUE(in >= 1 && in <= kMaxSize, op, ": x has ", in, " cells along ", where,
                    ", expected 1 to ", kMaxSize, ".");
  TORCH_CHECK_VALUE(out >= 1 && out <= kMaxSize, op, ": size is ", out, " along ", where,
                    ", expected 1 to ", kMaxSize, ".");
  return Resize{in, out};
}

InterpScores prepare(const char* op, const at::Tensor& x, at::IntArrayRef size) {
  check_blob(op, "x", x);
  TORCH_CHECK_VALUE(size.size() == 2, op, ": size has ", size.size(),
                    " numbers, expected 2 (y, x).");
  TORCH_CHECK_VALUE(x.size(1) >= 1, op, ": x has no channels (shape ", x.sizes(),
                    "), expected at least 1 class.");
  const Resize y = check_axis(op, 0, x.size(2), size[0]);
  const Resize x_axis = check_axis(op, 1, x.size(3), size[1]);
  check_product(op, {x.size(0), x.size(1), y.in, x_axis.in});
  check_product(op, {x.size(0), y.out, x_axis.out});
  check_product(op, {x.size(1), x_axis.out});  // rows that are kept
  return InterpScores{.x = dense(x.to(at::toOpMathType(x.scalar_type()))),
                      .y = y,
                      .x_axis = x_axis,
                      .batch = x.size(0),
                      .classes = x.size(1)};
}

}  // namespace

InterpArgmax prepare_interp_argmax(const at::Tensor& x, at::IntArrayRef size, at::ScalarType dtype,
                                   bool probability) {
  const char* op = "interp_argmax";
  InterpScores scores = prepare(op, x, size);
  LabelMaps maps = prepare_labels(op, x, size[0], size[1], dtype, probability);
  return InterpArgmax{std::move(maps), std::move(scores)};
}

InterpLoss prepare_interp_loss(const at::Tensor& x, const at::Tensor& label, int64_t normalization,
                               std::optional<int64_t> ignore,
                               const std::optional<at::Tensor>& weight,
                               const std::optional<at::Tensor>& mask, bool gradient) {
  const char* op = InterpLoss::name;
  TORCH_CHECK_VALUE(x.dim() == 4, op, ": x has ", x.dim(), " axes with shape ", x.sizes(),
                    ", expected 4 (N, C, H, W).");
  check_targets(op, x, label, weight, mask, normalization);
  InterpScores scores = prepare(op, x, label.sizes().slice(1));
  Targets targets = prepare_targets(scores.x, label, normalization, ignore, weight, mask, gradient);
  return InterpLoss{std::move(targets), std::move(scores)};
}

}  // namespace fcn
