// Argument checks of label maps.
#include "label_maps.h"

#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>

namespace fcn {

LabelMaps prepare_labels(const char* op, const at::Tensor& x, int64_t rows, int64_t columns,
                         at::ScalarType dtype, bool probability) {
  const int64_t classes = x.size(1);
  TORCH_CHECK_VALUE(dtype == at::kByte || dtype == at::kLong, op, ": labels of ", dtype,
                    ", expected Byte (uint8) or Long (int64).");
  TORCH_CHECK_VALUE(classes >= 1, op, ": x has no channels (shape ", x.sizes(),
                    "), expected at least 1 class.");
  TORCH_CHECK_VALUE(dtype == at::kLong || classes <= 256, op, ": ", classes,
                    " classes do not fit labels of Byte (uint8), which hold 256. Ask for Long.");
  const auto options = x.options().memory_format(at::MemoryFormat::Contiguous);
  at::Tensor labels = at::empty({x.size(0), rows, columns}, options.dtype(dtype));
  at::Tensor p = probability ? at::empty(labels.sizes(), options.dtype(at::kFloat))
                             : at::empty({0}, options.dtype(at::kFloat));
  return LabelMaps{.labels = std::move(labels),
                   .probability = std::move(p),
                   .with_probability = probability};
}

}  // namespace fcn
