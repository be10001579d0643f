// General deconvolution and crop on the CPU by phases. Outputs fall into blocks of one stride; all
// outputs of a block read the same m_y x m_x inputs (its patch), so the outputs of a line of blocks
// at one phase row and of all channels are their patches times one matrix of filters. Patches are
// read where they stand; a line of blocks stays in the cache until the crop's part of it is moved.
#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <limits>
#include <optional>
#include <utility>
#include <vector>

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

// A bias a channel as one a column of a block, 0 without
at::Tensor spread(const Phases& p, const std::optional<at::Tensor>& bias, const at::Tensor& like) {
  if (!bias) return at::zeros({p.group, p.row()}, like.options());
  const at::Tensor shaped = p.last ? bias->view({p.group, 1, p.out})
                                   : bias->view({p.group, p.out, 1});
  const int64_t a = p.last ? p.x.stride : p.out, b = p.last ? p.out : p.x.stride;
  return shaped.expand({p.group, a, b}).contiguous();
}

constexpr int64_t kMost = std::numeric_limits<int32_t>::max();

// filters: (group, taps_y, taps_x, in, stride_y, out, stride_x), or (..., stride_x, out) when last
Phases shape_of(const char* op, at::IntArrayRef filters, at::IntArrayRef lead, int64_t images,
                at::IntArrayRef cells, at::IntArrayRef size, bool last) {
  TORCH_CHECK_VALUE(filters.size() == 7 && lead.size() == 2 && cells.size() == 2 &&
                        size.size() == 2, op, ": filters of ", filters.size(), " axes, lead ",
                    lead, ", cells ", cells, ", size ", size, ", expected 7 axes and 3 pairs.");
  const auto f = filters;
  for (int64_t axis = 0; axis < 7; ++axis)
    TORCH_CHECK_VALUE(f[axis] >= 1 && f[axis] <= kMost, op, ": filters of shape ", f,
                      ", expected 1 to ", kMost, " along each axis.");
  for (int64_t axis = 0; axis < 2; ++axis)
    TORCH_CHECK_VALUE(cells[axis] >= 1 && cells[axis] <= kMost && size[axis] >= 1 &&
                          size[axis] <= kMost, op, ": cells ", cells, ", size ", size,
                      ", expected 1 to ", kMost, ".");
  const Phases p{{cells[0] - f[1] + 1, f[4], f[1], lead[0], size[0]},
                 {cells[1] - f[2] + 1, f[last ? 5 : 6], f[2], lead[1], size[1]},
                 images, f[0], f[3], f[last ? 6 : 5], last};
  for (const BlockAxis* axis : {&p.y, &p.x})
    TORCH_CHECK_VALUE(axis->lead >= 0 && axis->lead < axis->stride &&
                          axis->count == (axis->lead + axis->out - 1) / axis->stride + 1,
                      op, ": ", axis->count, " blocks of ", axis->stride, " do not hold ",
                      axis->out, " outputs behind a lead of ", axis->lead, ".");
  TORCH_CHECK_VALUE(!last || p.group == 1, op, ": channels last in ", p.group,
                    " groups, expected 1.");
  return p;
}

// The tensor that the numbers of `dtype` are multiplied in, checked
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
  const Phases p = shape_of(op, filters.sizes(), lead, x.size(0), x.sizes().slice(1, 2), size, last);
  const int64_t channels = p.group * p.out;
  const at::Tensor cells = operand(op, "x", x, dtype, 4, p.group * p.in, 3);
  const at::Tensor weights = operand(op, "filters", filters, dtype, 7, p.group, 0);
  const at::Tensor shift = spread(
      p, bias ? std::optional(operand(op, "bias", *bias, dtype, 1, channels, 0)) : bias, weights);
  const at::Tensor result = at::empty({p.images, channels, size[0], size[1]},
                                      x.options().dtype(dtype).memory_format(format_of(last)));
  if (result.numel() == 0) return result;
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, dtype, op, [&] {
    using Acc = at::opmath_type<scalar_t>;
    p.planes() ? run_planes<scalar_t, Acc>(p, cells, weights, shift, result)
               : run_phases<scalar_t, Acc>(p, cells, weights, shift, bias.has_value(), result);
  });
  return result;
}

at::Tensor phases_input(const at::Tensor& grad, const at::Tensor& filters, at::IntArrayRef lead,
                        at::IntArrayRef cells, bool last) {
  constexpr const char* op = "phases_input";
  TORCH_CHECK_VALUE(grad.dim() == 4, op, ": grad has ", grad.dim(), " axes, expected 4.");
  const auto type = grad.scalar_type();
  const Phases p = shape_of(op, filters.sizes(), lead, grad.size(0), cells, grad.sizes().slice(2),
                            last);
  TORCH_CHECK_VALUE(grad.size(1) == p.group * p.out, op, ": grad has ", grad.size(1),
                    " channels, the filters ", p.group * p.out, ".");
  const at::Tensor weights = operand(op, "filters", filters, type, 7, p.group, 0);
  const int64_t channels = p.group * p.in;
  const at::Tensor result = last
      ? at::empty({p.images, cells[0], cells[1], channels}, weights.options())
      : at::empty({p.images, channels, cells[0], cells[1]}, weights.options()).permute({0, 2, 3, 1});
  if (result.numel() == 0) return result;
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, type, op, [&] {
    using Acc = at::opmath_type<scalar_t>;
    p.planes() ? run_planes_input<scalar_t, Acc>(p, grad, weights, result)
               : run_input<scalar_t, Acc>(p, grad, weights, result);
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
  const Phases p = shape_of(op, shape, lead, x.size(0), x.sizes().slice(1, 2),
                            grad.sizes().slice(2), last);
  const at::Tensor cells = operand(op, "x", x, grad.scalar_type(), 4, group * in, 3);
  const at::Tensor result = at::empty({group, in, out, taps[0], stride[0], taps[1], stride[1]},
                                      cells.options());
  if (p.images == 0) result.zero_();
  else AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, grad.scalar_type(), op, [&] {
    using Acc = at::opmath_type<scalar_t>;
    p.planes() && p.x.taps * p.in < 8 ? run_planes_filters<scalar_t, Acc>(p, grad, cells, result)
                                      : run_filters<scalar_t, Acc>(p, grad, cells, result);
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
