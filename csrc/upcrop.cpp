// Schemas and argument checks of the fused upsample + crop, shared by all backends.
#include "scores.h"

#include <ATen/OpMathType.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include "counts.h"
#include "dense.h"

TORCH_LIBRARY(fcn_repro, m) {
  m.def(
      "upcrop(Tensor x, Tensor taps_y, Tensor taps_x, int[2] stride, int[2] pad, "
      "SymInt[2] offset, SymInt[2] size) -> Tensor");
  m.def(
      "upcrop_add(Tensor x, Tensor taps_y, Tensor taps_x, int[2] stride, int[2] pad, "
      "SymInt[2] offset, SymInt[2] size, Tensor skip, SymInt[2] skip_offset) -> Tensor");
  m.def(
      "upcrop_backward(Tensor grad, Tensor taps_y, Tensor taps_x, int[2] stride, int[2] pad, "
      "SymInt[2] offset, SymInt[2] in_size) -> Tensor");
}

namespace fcn {
namespace {

void check_taps(const char* op, const char* name, const at::Tensor& taps, const at::Tensor& x) {
  TORCH_CHECK_VALUE(taps.dim() == 1 && taps.numel() > 0, op, ": ", name, " has shape ",
                    taps.sizes(), ", expected one axis with at least one tap. Pass the 1-D "
                    "factors of the kernel, as bilinear_taps gives them.");
  check_sizes(op, name, taps.sizes());
  TORCH_CHECK_VALUE(taps.device() == x.device(), op, ": ", name, " is on ", taps.device(),
                    ", the tensor on ", x.device(), ". Move the taps there, once.");
  const auto expected = at::toOpMathType(x.scalar_type());
  TORCH_CHECK_VALUE(taps.scalar_type() == expected, op, ": ", name, " is ", taps.scalar_type(),
                    ", expected ", expected, " for a tensor of ", x.scalar_type(),
                    ". Convert the taps, once, to the type that ops.tap_dtype names.");
}

constexpr int64_t kMaxPhases = 65536;  // per score tile

void check_tensors(const char* op, const char* name, const at::Tensor& x,
                   const at::Tensor& taps_y, const at::Tensor& taps_x) {
  check_blob(op, name, x);
  check_taps(op, "taps_y", taps_y, x);
  check_taps(op, "taps_x", taps_x, x);
}

// The most inputs that one output reads along an axis
int64_t sources_of(const Axis& a) { return (a.k + a.stride - 1) / a.stride; }

int64_t checked(const char* op, const char* name, at::IntArrayRef pair, int axis, int64_t least) {
  TORCH_CHECK_VALUE(pair.size() == 2, op, ": ", name, " has ", pair.size(),
                    " numbers, expected 2 (y, x).");
  TORCH_CHECK_VALUE(pair[axis] >= least && pair[axis] <= kMaxSize, op, ": ", name, " is ",
                    pair[axis], " along ", axis == 0 ? "y" : "x", ", expected ", least, " to ",
                    kMaxSize, ".");
  return pair[axis];
}

Axis check_axis(const char* op, int axis, at::IntArrayRef in, at::IntArrayRef out,
                const at::Tensor& taps, at::IntArrayRef stride, at::IntArrayRef pad,
                at::IntArrayRef offset) {
  const char* where = axis == 0 ? "y" : "x";
  const int64_t pads = checked(op, "pad", pad, axis, 0), k = taps.numel();
  const int64_t start = checked(op, "offset", offset, axis, 0);
  const Axis a{.in = checked(op, "input size", in, axis, 1),
               .out = checked(op, "crop size", out, axis, 1),
               .k = k,
               .stride = checked(op, "stride", stride, axis, 1),
               .shift = start + pads};
  const int64_t whole = (a.in - 1) * a.stride + k - 2 * pads;
  TORCH_CHECK_VALUE(whole >= 1, op, ": the deconvolution's output is ", whole, " cells along ",
                    where, " (", a.in, " cells, kernel ", k, ", stride ", a.stride, ", pad ", pads,
                    "), expected at least 1. Lower the pad.");
  TORCH_CHECK_VALUE(start + a.out <= whole, op, ": the crop ends at cell ", start + a.out,
                    " along ", where, " (offset ", start, " + size ", a.out,
                    "), the deconvolution's output at ", whole,
                    ". Lower the offset or the size, or pad the input more.");
  return a;
}

Upcrop prepare(const char* op, const at::Tensor& source, const at::Tensor& taps_y,
               const at::Tensor& taps_x, const Axis& y, const Axis& x, int64_t height,
               int64_t width) {
  const auto format = format_of(source);
  const bool last = format == at::MemoryFormat::ChannelsLast;
  const int64_t n = source.size(0), c = source.size(1);
  check_product(op, {n, c, y.in, x.in});
  check_product(op, {n, c, y.out, x.out});
  check_product(op, {c, sources_of(y), x.out + x.in + 2 * x.stride});  // rows that are kept
  check_product(op, {c, y.k, x.out});
  return Upcrop{.source = dense(source, format),
                .taps_y = dense(taps_y),
                .taps_x = dense(taps_x),
                .result = at::empty({n, c, height, width}, source.options().memory_format(format)),
                .y = y,
                .x = x,
                .planes = last ? n : n * c,
                .inner = last ? c : 1};
}

Upcrop forward(const char* op, const at::Tensor& x, const at::Tensor& taps_y,
               const at::Tensor& taps_x, at::IntArrayRef stride, at::IntArrayRef pad,
               at::IntArrayRef offset, at::IntArrayRef size) {
  check_tensors(op, "x", x, taps_y, taps_x);
  const auto in = x.sizes().slice(2);
  const Axis ay = check_axis(op, 0, in, size, taps_y, stride, pad, offset);
  const Axis ax = check_axis(op, 1, in, size, taps_x, stride, pad, offset);
  return prepare(op, x, taps_y, taps_x, ay, ax, ay.out, ax.out);
}

void check_skip(const char* op, const at::Tensor& x, const at::Tensor& skip,
                at::IntArrayRef skip_offset, at::IntArrayRef size) {
  TORCH_CHECK_VALUE(skip.dim() == 4 && skip.size(0) == x.size(0) && skip.size(1) == x.size(1), op,
                    ": skip has shape ", skip.sizes(), ", expected (", x.size(0), ", ", x.size(1),
                    ", height, width) as x (", x.sizes(), ").");
  TORCH_CHECK_VALUE(skip.device() == x.device() && skip.scalar_type() == x.scalar_type(), op,
                    ": skip is ", skip.scalar_type(), " on ", skip.device(), ", x ",
                    x.scalar_type(), " on ", x.device(), ". They must agree.");
  for (int axis = 0; axis < 2; ++axis) {
    const int64_t start = checked(op, "skip_offset", skip_offset, axis, 0);
    const int64_t end = start + size[axis], whole = skip.size(2 + axis);
    TORCH_CHECK_VALUE(end <= whole, op, ": the skip's window ends at cell ", end, " along ",
                      axis == 0 ? "y" : "x", " (skip_offset ", start, " + size ", size[axis],
                      "), skip at ", whole, ". Lower the skip_offset or the size.");
  }
}

}  // namespace

Upcrop prepare_forward(const at::Tensor& x, const at::Tensor& taps_y, const at::Tensor& taps_x,
                       at::IntArrayRef stride, at::IntArrayRef pad, at::IntArrayRef offset,
                       at::IntArrayRef size) {
  return forward("upcrop", x, taps_y, taps_x, stride, pad, offset, size);
}

Upcrop prepare_add(const at::Tensor& x, const at::Tensor& taps_y, const at::Tensor& taps_x,
                   at::IntArrayRef stride, at::IntArrayRef pad, at::IntArrayRef offset,
                   at::IntArrayRef size, const at::Tensor& skip, at::IntArrayRef skip_offset) {
  const char* op = "upcrop_add";
  Upcrop up = forward(op, x, taps_y, taps_x, stride, pad, offset, size);
  check_skip(op, x, skip, skip_offset, size);
  up.skip = Skip{.values = dense(skip, format_of(x)),
                 .height = skip.size(2),
                 .width = skip.size(3),
                 .top = skip_offset[0],
                 .left = skip_offset[1]};
  return up;
}

Upcrop prepare_backward(const at::Tensor& grad, const at::Tensor& taps_y,
                        const at::Tensor& taps_x, at::IntArrayRef stride, at::IntArrayRef pad,
                        at::IntArrayRef offset, at::IntArrayRef in_size) {
  const char* op = "upcrop_backward";
  check_tensors(op, "grad", grad, taps_y, taps_x);
  const auto out = grad.sizes().slice(2);
  const Axis ay = check_axis(op, 0, in_size, out, taps_y, stride, pad, offset);
  const Axis ax = check_axis(op, 1, in_size, out, taps_x, stride, pad, offset);
  return prepare(op, grad, taps_y, taps_x, ay, ax, ay.in, ax.in);
}

Scores prepare_scores(const char* op, const at::Tensor& x, const at::Tensor& taps_y,
                      const at::Tensor& taps_x, at::IntArrayRef stride, at::IntArrayRef pad,
                      at::IntArrayRef offset, at::IntArrayRef size) {
  check_tensors(op, "x", x, taps_y, taps_x);
  const auto in = x.sizes().slice(2);
  const Axis ay = check_axis(op, 0, in, size, taps_y, stride, pad, offset);
  const Axis ax = check_axis(op, 1, in, size, taps_x, stride, pad, offset);
  TORCH_CHECK_VALUE(ax.stride <= kMaxPhases, op, ": stride is ", ax.stride,
                    " along x, expected 1 to ", kMaxPhases, ". Upsample with upcrop first.");
  check_product(op, {x.size(0), x.size(1), ay.in, ax.in});
  check_product(op, {x.size(0), ay.out, ax.out});
  check_product(op, {x.size(0), x.size(1), sources_of(ay), ax.in});                // halos
  check_product(op, {x.size(1), ax.out + 2 * ax.stride + sources_of(ax) * ax.stride});  // a tile
  return Scores{.x = dense(x.to(at::toOpMathType(x.scalar_type()))),
                .taps_y = dense(taps_y),
                .taps_x = dense(taps_x),
                .y = ay,
                .x_axis = ax,
                .batch = x.size(0),
                .classes = x.size(1)};
}

}  // namespace fcn
