// Schema and argument checks of upsample + crop + softmax loss.
#include "softmax_loss.h"

#include <ATen/OpMathType.h>

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include "dense.h"
#include "epilogue.h"

TORCH_LIBRARY_FRAGMENT(fcn_repro, m) {
  m.def(
      "upcrop_softmax_loss(Tensor x, Tensor label, Tensor taps_y, Tensor taps_x, int[2] stride, "
      "int[2] pad, SymInt[2] offset, int normalization, int? ignore_label, Tensor? weight, "
      "Tensor? mask, bool gradient, bool check) -> (Tensor, Tensor)");
}

namespace fcn {
namespace {

void check_map(const char* op, const char* name, const at::Tensor& map, const at::Tensor& x) {
  TORCH_CHECK_VALUE(map.dim() == 3 && map.size(0) == x.size(0), op, ": ", name, " has shape ",
                    map.sizes(), ", expected (", x.size(0), ", height, width).");
  TORCH_CHECK_VALUE(map.device() == x.device(), op, ": ", name, " is on ", map.device(), ", x on ",
                    x.device(), ". Move it there.");
}

void check_optional(const char* op, const at::Tensor& x, const at::Tensor& label,
                    const std::optional<at::Tensor>& weight,
                    const std::optional<at::Tensor>& mask) {
  if (mask) {
    check_map(op, "mask", *mask, x);
    TORCH_CHECK_VALUE(mask->scalar_type() == at::kBool, op, ": mask is ", mask->scalar_type(),
                      ", expected Bool, true where a pixel takes part.");
    TORCH_CHECK_VALUE(mask->sizes() == label.sizes(), op, ": mask has shape ", mask->sizes(),
                      ", label ", label.sizes(), ". They must agree.");
  }
  if (!weight) return;
  const auto expected = at::toOpMathType(x.scalar_type());
  TORCH_CHECK_VALUE(weight->dim() == 1 && weight->size(0) == x.size(1), op, ": weight has shape ",
                    weight->sizes(), ", expected (", x.size(1), "), one for each class.");
  TORCH_CHECK_VALUE(weight->device() == x.device() && weight->scalar_type() == expected, op,
                    ": weight is ", weight->scalar_type(), " on ", weight->device(), ", expected ",
                    expected, " on ", x.device(), ".");
}

}  // namespace

void check_targets(const char* op, const at::Tensor& x, const at::Tensor& label,
                   const std::optional<at::Tensor>& weight, const std::optional<at::Tensor>& mask,
                   int64_t normalization) {
  check_map(op, "label", label, x);
  const auto type = label.scalar_type();
  TORCH_CHECK_VALUE(type == at::kByte || type == at::kInt || type == at::kLong ||
                        type == at::kFloat || type == at::kDouble, op, ": label is ", type,
                    ", expected Byte, Int, Long, Float or Double.");
  TORCH_CHECK_VALUE(x.size(1) >= 1, op, ": x has no channels (shape ", x.sizes(),
                    "), expected at least 1 class.");
  TORCH_CHECK_VALUE(normalization >= kFull && normalization <= kNone, op, ": normalization is ",
                    normalization, ", expected 0 (FULL), 1 (VALID), 2 (BATCH_SIZE) or 3 (NONE).");
  check_optional(op, x, label, weight, mask);
}

SoftmaxLoss prepare_softmax_loss(
    const at::Tensor& x, const at::Tensor& label, const at::Tensor& taps_y,
    const at::Tensor& taps_x, at::IntArrayRef stride, at::IntArrayRef pad, at::IntArrayRef offset,
    int64_t normalization, std::optional<int64_t> ignore, const std::optional<at::Tensor>& weight,
    const std::optional<at::Tensor>& mask, bool gradient) {
  const char* op = "upcrop_softmax_loss";
  TORCH_CHECK_VALUE(x.dim() == 4, op, ": x has ", x.dim(), " axes with shape ", x.sizes(),
                    ", expected 4 (N, C, H, W).");
  check_map(op, "label", label, x);
  Scores scores = prepare_scores(op, x, taps_y, taps_x, stride, pad, offset,
                                 label.sizes().slice(1));
  check_targets(op, x, label, weight, mask, normalization);
  const auto maybe = [](const std::optional<at::Tensor>& t) {
    return t ? std::optional<at::Tensor>(dense(*t)) : std::nullopt;
  };
  const auto options = scores.x.options();
  at::Tensor grad = gradient ? at::zeros(scores.x.sizes(), options) : at::empty({0}, options);
  at::Tensor loss = at::empty({}, options);
  return SoftmaxLoss{.scores = std::move(scores),
                     .label = dense(label),
                     .weight = maybe(weight),
                     .mask = maybe(mask),
                     .loss = std::move(loss),
                     .grad = std::move(grad),
                     .normalization = normalization,
                     .ignore = ignore,
                     .gradient = gradient};
}

void check_labels(const char* op, int64_t classes, std::optional<int64_t> ignore, int64_t bad,
                  double example) {
  TORCH_CHECK_VALUE(bad == 0, op, ": ", bad, " labels outside 0 ... ", classes - 1, ", such as ",
                    example, ", with ignore_label ", ignore ? std::to_string(*ignore) : "not set",
                    ". Fix the labels, the number of classes or ignore_label.");
}

void check_labels(const SoftmaxLoss& s, int64_t bad, double example) {
  check_labels("upcrop_softmax_loss", s.scores.classes, s.ignore, bad, example);
}

at::Tensor gradient_like(const SoftmaxLoss& s, const at::Tensor& x) {
  const bool last = x.is_contiguous(at::MemoryFormat::ChannelsLast) && !x.is_contiguous();
  if (!s.gradient || !last) return s.grad;
  return s.grad.contiguous(at::MemoryFormat::ChannelsLast);
}

}  // namespace fcn
