// Schemas and argument checks of max pooling, shared by all backends.
#include "pool.h"

#include <ATen/ops/empty.h>
#include <torch/library.h>

#include "counts.h"
#include "dense.h"

TORCH_LIBRARY_FRAGMENT(fcn_repro, m) {
  m.def(
      "max_pool(Tensor x, int[2] kernel, int[2] stride, int[2] pad, SymInt[2] size, bool index) "
      "-> (Tensor, Tensor)");
  m.def(
      "max_pool_backward(Tensor grad, Tensor index, int[2] kernel, int[2] stride, int[2] pad, "
      "SymInt[2] in_size) -> Tensor");
}

namespace fcn {
namespace {

int checked(const char* op, const char* name, at::IntArrayRef pair, int axis, int64_t least,
            int64_t most) {
  TORCH_CHECK_VALUE(pair.size() == 2, op, ": ", name, " has ", pair.size(),
                    " numbers, expected 2 (y, x).");
  TORCH_CHECK_VALUE(pair[axis] >= least && pair[axis] <= most, op, ": ", name, " is ", pair[axis],
                    " along ", axis == 0 ? "y" : "x", ", expected ", least, " to ", most, ".");
  return static_cast<int>(pair[axis]);
}

PoolAxis check_windows(const char* op, int axis, at::IntArrayRef in, at::IntArrayRef out,
                      at::IntArrayRef kernel, at::IntArrayRef stride, at::IntArrayRef pad) {
  const int k = checked(op, "kernel", kernel, axis, 1, kWindow);
  const int pads = checked(op, "pad", pad, axis, 0, k - 1);
  const PoolAxis w{.in = checked(op, "input size", in, axis, 1, kMaxSize - 2 * pads),
                  .out = checked(op, "size", out, axis, 1, kMaxSize),
                  .k = k,
                  .stride = checked(op, "stride", stride, axis, 1, kMaxSize),
                  .pad = pads};
  const int64_t last = int64_t(w.out - 1) * w.stride - pads;
  TORCH_CHECK_VALUE(last < w.in, op, ": the last window starts at cell ", last, " along ",
                    axis == 0 ? "y" : "x", " (size ", w.out, ", stride ", w.stride, ", pad ", pads,
                    "), the input has ", w.in, ". Lower the size.");
  return w;
}

// index: undefined in the forward pass; shape: of the result's spatial axes
Pool prepare(const char* op, const at::Tensor& source, at::IntArrayRef kernel,
             const PoolAxis& y, const PoolAxis& x, at::IntArrayRef shape) {
  TORCH_CHECK_VALUE(int64_t(y.k) * x.k <= kWindow, op, ": the kernel of ", kernel, " has ",
                    int64_t(y.k) * x.k, " cells, expected at most ", kWindow, ".");
  const auto format = format_of(source);
  const bool last = format == at::MemoryFormat::ChannelsLast;
  const int64_t n = source.size(0), c = source.size(1), inner = last ? c : 1;
  for (const int64_t cells : {x.in, x.out})
    TORCH_CHECK_VALUE(cells * inner <= kMaxSize, op, ": a row of ", cells, " cells with ", inner,
                      " channels, expected at most ", kMaxSize, " values. Cut it into pieces.");
  check_product(op, {n, c, y.in, x.in});
  check_product(op, {n, c, y.out, x.out});
  return Pool{.source = dense(source, format),
              .result = at::empty({n, c, shape[0], shape[1]},
                                  source.options().memory_format(format)),
              .index = {},
              .y = y,
              .x = x,
              .planes = last ? n : n * c,
              .inner = inner};
}

}  // namespace

Pool prepare_pool(const at::Tensor& x, at::IntArrayRef kernel, at::IntArrayRef stride,
                  at::IntArrayRef pad, at::IntArrayRef size, bool index) {
  const char* op = "max_pool";
  check_blob(op, "x", x);
  const auto in = x.sizes().slice(2);
  const PoolAxis wy = check_windows(op, 0, in, size, kernel, stride, pad);
  const PoolAxis wx = check_windows(op, 1, in, size, kernel, stride, pad);
  Pool pool = prepare(op, x, kernel, wy, wx, size);
  const auto options = x.options().dtype(at::kByte);
  pool.index = index ? at::empty(pool.result.sizes(), options.memory_format(format_of(x)))
                     : at::empty({0}, options);
  return pool;
}

Pool prepare_pool_backward(const at::Tensor& grad, const at::Tensor& index,
                           at::IntArrayRef kernel, at::IntArrayRef stride, at::IntArrayRef pad,
                           at::IntArrayRef in_size) {
  const char* op = "max_pool_backward";
  check_blob(op, "grad", grad);
  TORCH_CHECK_VALUE(index.sizes() == grad.sizes() && index.scalar_type() == at::kByte &&
                        index.device() == grad.device(),
                    op, ": index is ", index.scalar_type(), " of shape ", index.sizes(), " on ",
                    index.device(), ", expected Byte of shape ", grad.sizes(), " on ",
                    grad.device(), ".");
  const auto out = grad.sizes().slice(2);
  const PoolAxis wy = check_windows(op, 0, in_size, out, kernel, stride, pad);
  const PoolAxis wx = check_windows(op, 1, in_size, out, kernel, stride, pad);
  Pool pool = prepare(op, grad, kernel, wy, wx, in_size);
  pool.index = dense(index, format_of(grad));
  return pool;
}

}  // namespace fcn
