// The unrolled windows of a convolution and their adjoint on the CPU, where only tests and users
// call them: the nets' own convolutions read images in place (conv_gemm.cpp). Both are gathers.
#include "../../patches.h"

#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>

namespace fcn {
namespace {

constexpr int64_t kGrain = 32768;  // values per task at least

int64_t grain(int64_t each) { return std::max<int64_t>(1, kGrain / std::max<int64_t>(1, each)); }

at::Tensor patches(const at::Tensor& x, at::IntArrayRef kernel, at::IntArrayRef pad) {
  const Patches op = prepare_patches(x, kernel, pad);
  const Windows& w = op.windows;
  if (op.result.numel() == 0) return op.result;
  const auto copy = [&]<typename T>(const T* image, T* result) {
    at::parallel_for(0, w.lines(), grain(w.line_size()), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const Line line = line_of(w, i);
        T* to = result + i * w.line_size();
        std::fill(to, to + line.begin, T(0));
        std::copy(image + line.first + line.begin, image + line.first + line.end, to + line.begin);
        std::fill(to + line.end, to + w.line_size(), T(0));
      }
    });
  };
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, x.scalar_type(), "patches", [&] {
    copy(op.source.const_data_ptr<scalar_t>(), op.result.mutable_data_ptr<scalar_t>());
  });
  return op.result;
}

at::Tensor patches_input(const at::Tensor& windows, at::IntArrayRef kernel, at::IntArrayRef pad) {
  const Patches op = prepare_sums(windows, kernel, pad);
  const Windows& w = op.windows;
  if (op.result.numel() == 0) return op.result;
  const auto sum = [&]<typename T>(const T* held, T* image) {
    at::parallel_for(0, w.cells(), grain(w.channels), [&](int64_t begin, int64_t end) {
      for (int64_t cell = begin; cell < end; ++cell)
        for (int64_t c = 0; c < w.channels; ++c) {
          at::opmath_type<T> total = 0;
          each_window(w, cell, [&](int64_t at) { total += held[at + c]; });
          image[cell * w.channels + c] = static_cast<T>(total);
        }
    });
  };
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, windows.scalar_type(), "patches_input",
                                  [&] {
                                    sum(op.source.const_data_ptr<scalar_t>(),
                                        op.result.mutable_data_ptr<scalar_t>());
                                  });
  return op.result;
}

}  // namespace

TORCH_LIBRARY_IMPL(fcn_repro, CPU, m) {
  m.impl("patches", patches);
  m.impl("patches_input", patches_input);
}

}  // namespace fcn
