// General deconvolution and crop on the CPU, for any weights, dense or grouped, with a bias:
//
//   out[n, o, y, x] = bias[o] + sum over c, i, j of in[n, c, i, j] * w[c, o, u - i s_y, v - j s_x]
//   with u = y + offset_y + pad_y and v = x + offset_x + pad_x
//
// computed as a sub-pixel convolution. The outputs fall into blocks of one stride, s_y x s_x. All
// outputs of a block read the same patch of taps_y x taps_x inputs (taps = ceil(k / s)), each
// phase, that is position within the block, with filters of its own. So the outputs of a row of
// blocks at one phase row are a matrix product:
//
//   (blocks x patch) * (patch x row_size),    patch = taps_y taps_x C,  row_size = s_x C_out
//
// Patches are read in place: those of neighbouring blocks overlap, which Gemm's strides express,
// so there is no im2col. A row of blocks stays in the cache until its cropped part is copied to
// the result, which interleaves the phases. Rows of blocks are laid out block-major
// (interleaved.h) or, where a block has few outputs, column-major (planar.h). The input's gradient
// is the product with the transposed filters followed by col2im over the patch; the filters'
// gradient is a product over all blocks, in parts that are added in a fixed order.
#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <optional>
#include <utility>
#include <vector>

#include "../../counts.h"
#include "interleaved.h"
#include "planar.h"

TORCH_LIBRARY_FRAGMENT(fcn_repro, m) {
  m.def(
      "phases(Tensor x, Tensor filters, Tensor? bias, SymInt[2] lead, SymInt[2] size, "
      "ScalarType dtype, bool last) -> Tensor");
  m.def(
      "phases_input(Tensor grad, Tensor filters, SymInt[2] lead, SymInt[2] cells, bool last) "
      "-> Tensor");
  m.def(
      "phases_filters(Tensor grad, Tensor x, SymInt[2] lead, int[2] stride, int[2] taps, "
      "int group, bool last) -> Tensor");
}

namespace fcn {
namespace {

// Expand the per-channel bias to one value per block column; zeros if none
at::Tensor expand_bias(const SubpixelShape& p, const std::optional<at::Tensor>& bias,
                       const at::Tensor& like) {
  if (!bias) return at::zeros({p.group, p.row_size()}, like.options());
  const at::Tensor shaped =
      p.channels_last ? bias->view({p.group, 1, p.out}) : bias->view({p.group, p.out, 1});
  const int64_t a = p.channels_last ? p.x.stride : p.out, b = p.channels_last ? p.out : p.x.stride;
  return shaped.expand({p.group, a, b}).contiguous();
}

// filters: (group, taps_y, taps_x, in, stride_y, out, stride_x), or (..., stride_x, out) when last
SubpixelShape shape_of(const char* op, at::IntArrayRef filters, at::IntArrayRef lead,
                       int64_t images, at::IntArrayRef cells, at::IntArrayRef size, bool last) {
  TORCH_CHECK_VALUE(filters.size() == 7 && lead.size() == 2 && cells.size() == 2 &&
                        size.size() == 2, op, ": filters of ", filters.size(), " axes, lead ",
                    lead, ", cells ", cells, ", size ", size, ", expected 7 axes and 3 pairs.");
  const auto f = filters;
  for (int64_t axis = 0; axis < 7; ++axis)
    TORCH_CHECK_VALUE(f[axis] >= 1 && f[axis] <= kMaxSize, op, ": filters of shape ", f,
                      ", expected 1 to ", kMaxSize, " along each axis.");
  for (int64_t axis = 0; axis < 2; ++axis)
    TORCH_CHECK_VALUE(
        cells[axis] >= 1 && cells[axis] <= kMaxSize && size[axis] >= 1 && size[axis] <= kMaxSize,
        op, ": cells ", cells, ", size ", size, ", expected 1 to ", kMaxSize, ".");
  const SubpixelShape p{.y = {.count = cells[0] - f[1] + 1,
                              .stride = f[4],
                              .taps = f[1],
                              .lead = lead[0],
                              .out = size[0]},
                        .x = {.count = cells[1] - f[2] + 1,
                              .stride = f[last ? 5 : 6],
                              .taps = f[2],
                              .lead = lead[1],
                              .out = size[1]},
                        .images = images,
                        .group = f[0],
                        .in = f[3],
                        .out = f[last ? 6 : 5],
                        .channels_last = last};
  for (const BlockAxis* axis : {&p.y, &p.x})
    TORCH_CHECK_VALUE(axis->lead >= 0 && axis->lead < axis->stride &&
                          axis->count == (axis->lead + axis->out - 1) / axis->stride + 1,
                      op, ": ", axis->count, " blocks of ", axis->stride, " do not hold ",
                      axis->out, " outputs behind a lead of ", axis->lead, ".");
  TORCH_CHECK_VALUE(!last || p.group == 1, op, ": channels last in ", p.group,
                    " groups, expected 1.");
  check_product(op, {images, p.group, p.in, p.out, p.y.taps, p.x.taps, p.y.stride, p.x.stride,
                     cells[0], cells[1]});
  return p;
}

// Check a tensor against the type in which elements of `dtype` are multiplied, and its channels
at::Tensor operand(const char* op, const char* name, const at::Tensor& tensor,
                   at::ScalarType dtype, int64_t axes, int64_t channels, int64_t axis) {
  TORCH_CHECK_VALUE(tensor.is_cpu() && tensor.scalar_type() == at::toOpMathType(dtype) &&
                        tensor.dim() == axes && tensor.size(axis) == channels,
                    op, ": ", name, " is ", tensor.scalar_type(), " of shape ", tensor.sizes(),
                    " on ", tensor.device(), ", expected ", at::toOpMathType(dtype), " with ",
                    channels, " along axis ", axis, " of ", axes, " on cpu.");
  return is_aligned(tensor) ? tensor : dense(tensor);
}

at::MemoryFormat format_of(bool last) {
  return last ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
}

at::Tensor phases(const at::Tensor& x, const at::Tensor& filters,
                  const std::optional<at::Tensor>& bias, at::IntArrayRef lead,
                  at::IntArrayRef size, at::ScalarType dtype, bool last) {
  constexpr const char* op = "phases";
  TORCH_CHECK_VALUE(x.dim() == 4, op, ": x has ", x.dim(), " axes, expected 4.");
  const SubpixelShape p =
      shape_of(op, filters.sizes(), lead, x.size(0), x.sizes().slice(1, 2), size, last);
  const int64_t channels = p.group * p.out;
  const at::Tensor cells = operand(op, "x", x, dtype, 4, p.group * p.in, 3);
  const at::Tensor weights = operand(op, "filters", filters, dtype, 7, p.group, 0);
  const at::Tensor biases = expand_bias(
      p, bias ? std::optional(operand(op, "bias", *bias, dtype, 1, channels, 0)) : bias, weights);
  const at::Tensor result = at::empty({p.images, channels, size[0], size[1]},
                                      x.options().dtype(dtype).memory_format(format_of(last)));
  if (result.numel() == 0) return result;
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, dtype, op, [&] {
    using Acc = at::opmath_type<scalar_t>;
    p.planar()
        ? planar_forward<scalar_t, Acc>(p, cells, weights, biases, result)
        : interleaved_forward<scalar_t, Acc>(p, cells, weights, biases, bias.has_value(), result);
  });
  return result;
}

at::Tensor phases_input(const at::Tensor& grad, const at::Tensor& filters, at::IntArrayRef lead,
                        at::IntArrayRef cells, bool last) {
  constexpr const char* op = "phases_input";
  TORCH_CHECK_VALUE(grad.dim() == 4, op, ": grad has ", grad.dim(), " axes, expected 4.");
  const auto type = grad.scalar_type();
  const SubpixelShape p =
      shape_of(op, filters.sizes(), lead, grad.size(0), cells, grad.sizes().slice(2), last);
  TORCH_CHECK_VALUE(grad.size(1) == p.group * p.out, op, ": grad has ", grad.size(1),
                    " channels, the filters ", p.group * p.out, ".");
  const at::Tensor weights = operand(op, "filters", filters, type, 7, p.group, 0);
  const int64_t channels = p.group * p.in;
  const at::Tensor result = last
      ? at::empty({p.images, cells[0], cells[1], channels}, weights.options())
      : at::empty({p.images, channels, cells[0], cells[1]}, weights.options())
            .permute({0, 2, 3, 1});
  if (result.numel() == 0) return result;
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, type, op, [&] {
    using Acc = at::opmath_type<scalar_t>;
    p.planar() ? planar_input_gradient<scalar_t, Acc>(p, grad, weights, result)
               : interleaved_input_gradient<scalar_t, Acc>(p, grad, weights, result);
  });
  return result;
}

at::Tensor phases_filters(const at::Tensor& grad, const at::Tensor& x, at::IntArrayRef lead,
                          at::IntArrayRef stride, at::IntArrayRef taps, int64_t group, bool last) {
  constexpr const char* op = "phases_filters";
  TORCH_CHECK_VALUE(grad.dim() == 4 && x.dim() == 4 && x.size(0) == grad.size(0), op, ": grad ",
                    grad.sizes(), " and x ", x.sizes(), " are not two batches of one size.");
  TORCH_CHECK_VALUE(stride.size() == 2 && taps.size() == 2 && group >= 1 &&
                        grad.size(1) % group == 0 && x.size(3) % group == 0,
                    op, ": stride ", stride, ", taps ", taps, ", group ", group, " of ",
                    grad.size(1), " and ", x.size(3), " channels.");
  const int64_t in = x.size(3) / group, out = grad.size(1) / group;
  std::vector<int64_t> shape{group, taps[0], taps[1], in, stride[0], out, stride[1]};
  if (last) std::swap(shape[5], shape[6]);
  const SubpixelShape p =
      shape_of(op, shape, lead, x.size(0), x.sizes().slice(1, 2), grad.sizes().slice(2), last);
  const at::Tensor cells = operand(op, "x", x, grad.scalar_type(), 4, group * in, 3);
  const at::Tensor result = at::empty({group, in, out, taps[0], stride[0], taps[1], stride[1]},
                                      cells.options());
  if (p.images == 0) result.zero_();
  else AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, grad.scalar_type(), op, [&] {
    using Acc = at::opmath_type<scalar_t>;
    p.planar() && p.x.taps* p.in < 8
        ? planar_filter_gradient<scalar_t, Acc>(p, grad, cells, result)
        : interleaved_filter_gradient<scalar_t, Acc>(p, grad, cells, result);
  });
  return last ? result.permute({0, 3, 5, 1, 4, 6, 2}) : result.permute({0, 3, 5, 1, 4, 2, 6});
}

}  // namespace

TORCH_LIBRARY_IMPL(fcn_repro, CPU, m) {
  m.impl("phases", phases);
  m.impl("phases_input", phases_input);
  m.impl("phases_filters", phases_filters);
}

}  // namespace fcn
