// Argument checks of what a softmax loss compares scores with.
#include "targets.h"

#include <ATen/OpMathType.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include "dense.h"
#include "epilogue.h"

namespace fcn {

void check_map(const char* op, const char* name, const at::Tensor& map, const at::Tensor& x) {
  TORCH_CHECK_VALUE(map.dim() == 3 && map.size(0) == x.size(0), op, ": ", name, " has shape ",
                    map.sizes(), ", expected (", x.size(0), ", height, width).");
  TORCH_CHECK_VALUE(map.device() == x.device(), op, ": ", name, " is on ", map.device(), ", x on ",
                    x.device(), ". Move it there.");
}

namespace {

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

Targets prepare_targets(const at::Tensor& wide, const at::Tensor& label, int64_t normalization,
                        std::optional<int64_t> ignore, const std::optional<at::Tensor>& weight,
                        const std::optional<at::Tensor>& mask, bool gradient) {
  const auto maybe = [](const std::optional<at::Tensor>& t) {
    return t ? std::optional<at::Tensor>(dense(*t)) : std::nullopt;
  };
  const auto options = wide.options();
  return Targets{.label = dense(label),
                 .weight = maybe(weight),
                 .mask = maybe(mask),
                 .loss = at::empty({}, options),
                 .grad = gradient ? at::zeros(wide.sizes(), options) : at::empty({0}, options),
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

at::Tensor gradient_like(const Targets& t, const at::Tensor& x) {
  return t.gradient && format_of(x) == at::MemoryFormat::ChannelsLast
             ? t.grad.contiguous(at::MemoryFormat::ChannelsLast)
             : t.grad;
}

}  // namespace fcn
