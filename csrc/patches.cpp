// Schemas and argument checks of the unrolled windows, shared by all backends.
#include "patches.h"

#include <ATen/ops/empty.h>
#include <torch/library.h>

#include "counts.h"
#include "dense.h"

TORCH_LIBRARY_FRAGMENT(fcn_repro, m) {
  m.def("patches(Tensor x, int[2] kernel, int[2] pad) -> Tensor");
  m.def("patches_input(Tensor windows, int[2] kernel, int[2] pad) -> Tensor");
}

namespace fcn {
namespace {

void check_tensor(const char* op, const char* name, const at::Tensor& t) {
  const auto type = t.scalar_type();
  TORCH_CHECK_VALUE(t.dim() == 4 && (type == at::kFloat || type == at::kDouble ||
                                     type == at::kHalf || type == at::kBFloat16),
                    op, ": ", name, " is ", type, " of shape ", t.sizes(),
                    ", expected Float, Double, Half or BFloat16 with 4 axes.");
  check_sizes(op, name, t.sizes());
}

void check_pairs(const char* op, at::IntArrayRef kernel, at::IntArrayRef pad) {
  TORCH_CHECK_VALUE(kernel.size() == 2 && pad.size() == 2, op, ": kernel ", kernel, " and pad ",
                    pad, ", expected two numbers (y, x) each.");
  for (int axis = 0; axis < 2; ++axis)
    TORCH_CHECK_VALUE(kernel[axis] >= 1 && kernel[axis] <= kMaxSize && pad[axis] >= 0 &&
                          pad[axis] <= kMaxSize,
                      op, ": kernel ", kernel, " and pad ", pad, ", expected kernels of 1 to ",
                      kMaxSize, " and pads of 0 to ", kMaxSize, ".");
}

Windows windows_of(const char* op, at::IntArrayRef image, at::IntArrayRef places,
                   at::IntArrayRef kernel, at::IntArrayRef pad) {
  TORCH_CHECK_VALUE(image[2] >= 1 && image[3] >= 1 && places[0] >= 1 && places[1] >= 1, op,
                    ": windows of ", kernel, " over an image of ", image, " with pad ", pad,
                    " have ", places[0], " rows and ", places[1],
                    " columns; all must be positive.");
  const Windows w{.images = image[0], .height = image[2], .width = image[3], .channels = image[1],
                  .rows = places[0], .columns = places[1], .k_y = kernel[0], .k_x = kernel[1],
                  .pad_y = pad[0], .pad_x = pad[1]};
  check_product(op, {w.images, w.height, w.width, w.channels});
  check_product(op, {w.images, w.rows, w.columns, w.k_y, w.k_x, w.channels});
  return w;
}

}  // namespace

Patches prepare_patches(const at::Tensor& x, at::IntArrayRef kernel, at::IntArrayRef pad) {
  const char* op = "patches";
  check_tensor(op, "x", x);
  check_pairs(op, kernel, pad);
  const int64_t places[] = {x.size(2) + 2 * pad[0] - kernel[0] + 1,
                            x.size(3) + 2 * pad[1] - kernel[1] + 1};
  const Windows w = windows_of(op, x.sizes(), places, kernel, pad);
  return Patches{.source = dense(x, at::MemoryFormat::ChannelsLast),
                 .result = at::empty({w.images, w.rows, w.columns, w.k_y * w.k_x * w.channels},
                                     x.options().memory_format(at::MemoryFormat::Contiguous)),
                 .windows = w};
}

Patches prepare_sums(const at::Tensor& windows, at::IntArrayRef kernel, at::IntArrayRef pad) {
  const char* op = "patches_input";
  check_tensor(op, "windows", windows);
  check_pairs(op, kernel, pad);
  check_product(op, {kernel[0], kernel[1]});
  const int64_t held = kernel[0] * kernel[1], channels = windows.size(3) / held;
  TORCH_CHECK_VALUE(windows.size(3) % held == 0, op, ": ", windows.size(3),
                    " values of a window, expected a multiple of ", held, " for kernel ", kernel,
                    ".");
  const int64_t image[] = {windows.size(0), channels, windows.size(1) + kernel[0] - 1 - 2 * pad[0],
                           windows.size(2) + kernel[1] - 1 - 2 * pad[1]};
  const Windows w = windows_of(op, image, windows.sizes().slice(1, 2), kernel, pad);
  return Patches{
      .source = dense(windows),
      .result = at::empty(image, windows.options().memory_format(at::MemoryFormat::ChannelsLast)),
      .windows = w};
}

}  // namespace fcn
