// General deconvolution and crop on the CPU by phases. Outputs fall into blocks of one stride; all
// outputs of a block read the same m_y x m_x inputs (its patch), so a block's outputs of all
// channels are its patch times one matrix of filters. A task multiplies some blocks by some phase
// rows of that matrix, small enough for the L2 cache, and moves what the crop keeps.
#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/Parallel.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <vector>

#include "../dense.h"
#include "phases.h"

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

// a += b c, or a = b c
void multiply(at::Tensor a, const at::Tensor& b, const at::Tensor& c, bool add) {
  at::addmm_out(a, a, b, c, add ? 1 : 0);
}

// A group of the filters or biases (group, any, stride_y * row), cut to some phase rows
at::Tensor columns(const Phases& p, const at::Tensor& filters, int64_t g, Range rows) {
  return filters.view({p.group, -1, p.y.stride * p.row()})
      .select(0, g)
      .narrow(1, rows.begin * p.row(), rows.size() * p.row());
}

// A bias a channel as one a column
at::Tensor spread(const Phases& p, const at::Tensor& bias) {
  const at::Tensor shaped = p.last ? bias.view({p.group, 1, 1, p.out})
                                   : bias.view({p.group, 1, p.out, 1});
  const int64_t a = p.last ? p.x.stride : p.out, b = p.last ? p.out : p.x.stride;
  return shaped.expand({p.group, p.y.stride, a, b}).contiguous();
}

// Numbers that a thread works in
struct Buffer {
  at::Tensor memory;
  Buffer(const at::Tensor& like, int64_t count) : memory(at::empty({count}, like.options())) {}
  at::Tensor matrix(int64_t rows, int64_t cols) const {
    return memory.narrow(0, 0, rows * cols).view({rows, cols});
  }
};

// f(task) for each task, the tasks shared out among the threads, autograd off in all of them
template <typename F>
void for_tasks(int64_t tasks, F make) {
  at::parallel_for(0, tasks, 1, [&](int64_t begin, int64_t end) {
    const at::AutoDispatchBelowADInplaceOrView guard;
    auto f = make();
    for (int64_t t = begin; t < end; ++t) f(t);
  });
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
  for (const Blocks* axis : {&p.y, &p.x})
    TORCH_CHECK_VALUE(axis->lead >= 0 && axis->lead < axis->stride &&
                          axis->count == (axis->lead + axis->out - 1) / axis->stride + 1,
                      op, ": ", axis->count, " blocks of ", axis->stride, " do not hold ",
                      axis->out, " outputs behind a lead of ", axis->lead, ".");
  TORCH_CHECK_VALUE(!last || p.group == 1, op, ": channels last in ", p.group,
                    " groups, expected 1.");
  return p;
}

// The tensor that the numbers of `dtype` are multiplied in: dense, checked
at::Tensor operand(const char* op, const char* name, const at::Tensor& tensor,
                   at::ScalarType dtype, int64_t axes, int64_t channels, int64_t axis) {
  TORCH_CHECK_VALUE(tensor.is_cpu() && tensor.scalar_type() == at::toOpMathType(dtype) &&
                        tensor.dim() == axes && tensor.size(axis) == channels,
                    op, ": ", name, " is ", tensor.scalar_type(), " of shape ", tensor.sizes(),
                    " on ", tensor.device(), ", expected ", at::toOpMathType(dtype), " with ",
                    channels, " along axis ", axis, " of ", axes, " on cpu.");
  return dense(tensor);
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
  const int64_t channels = p.group * p.out, bands = p.bands(), chunks = p.chunks();
  const at::Tensor cells = operand(op, "x", x, dtype, 4, p.group * p.in, 3);
  const at::Tensor weights = operand(op, "filters", filters, dtype, 7, p.group, 0);
  const at::Tensor shift = bias ? spread(p, operand(op, "bias", *bias, dtype, 1, channels, 0))
                                : at::Tensor();
  const at::Tensor result = at::empty({p.images, channels, size[0], size[1]},
                                      x.options().dtype(dtype).memory_format(format_of(last)));
  if (result.numel() == 0) return result;
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, dtype, op, [&] {
    using Acc = at::opmath_type<scalar_t>;
    const Acc* from = cells.const_data_ptr<Acc>();
    scalar_t* to = result.mutable_data_ptr<scalar_t>();
    for_tasks(p.group * chunks * bands, [&] {
      return [&, in = Buffer(cells, p.height() * p.patch()),
              out = Buffer(cells, p.height() * p.rows() * p.row())](int64_t t) {
        const int64_t g = t / bands / chunks;
        const Range blocks = part(t % bands, p.height(), p.blocks());
        const Range rows = part(t / bands % chunks, p.rows(), p.y.stride);
        const at::Tensor patch = in.matrix(blocks.size(), p.patch());
        const at::Tensor sums = out.matrix(blocks.size(), rows.size() * p.row());
        patches(p, g, blocks, from, patch.mutable_data_ptr<Acc>());
        if (bias) sums.copy_(columns(p, shift, g, rows).expand_as(sums));
        multiply(sums, patch, columns(p, weights, g, rows), bias.has_value());
        scatter(p, g, blocks, rows, sums.const_data_ptr<Acc>(), to);
      };
    });
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
  const at::Tensor top = dense(grad, format_of(last));
  const at::Tensor result = at::empty({p.images, cells[0], cells[1], p.group * p.in},
                                      weights.options());
  if (result.numel() == 0) return result;
  const at::Tensor patch_grads = at::empty({p.group, p.blocks(), p.patch()}, weights.options());
  const int64_t bands = p.bands();
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, type, op, [&] {
    using Acc = at::opmath_type<scalar_t>;
    const scalar_t* from = top.const_data_ptr<scalar_t>();
    for_tasks(p.group * bands, [&] {
      return [&, in = Buffer(weights, p.height() * p.rows() * p.row())](int64_t t) {
        const int64_t g = t / bands;
        const Range blocks = part(t % bands, p.height(), p.blocks());
        const at::Tensor into = patch_grads[g].narrow(0, blocks.begin, blocks.size());
        for (int64_t c = 0; c < p.chunks(); ++c) {
          const Range rows = part(c, p.rows(), p.y.stride);
          const at::Tensor sums = in.matrix(blocks.size(), rows.size() * p.row());
          gather(p, g, blocks, rows, from, sums.mutable_data_ptr<Acc>());
          multiply(into, sums, columns(p, weights, g, rows).t(), c > 0);
        }
      };
    });
    const Acc* grads = patch_grads.const_data_ptr<Acc>();
    Acc* to = result.mutable_data_ptr<Acc>();
    at::parallel_for(0, p.images * cells[0], 1, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) fold_row(p, grads, row, to);
    });
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
  const at::Tensor top = dense(grad, format_of(last));
  const int64_t bands = p.bands(), chunks = p.chunks();
  const int64_t slabs = std::clamp<int64_t>(kSlabs / (group * chunks), 1, std::max<int64_t>(bands, 1));
  const int64_t deep = (bands + slabs - 1) / slabs;  // bands of a slab
  const at::Tensor parts = at::zeros({slabs, group, p.patch(), p.y.stride * p.row()},
                                     cells.options());
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, grad.scalar_type(), op, [&] {
    using Acc = at::opmath_type<scalar_t>;
    const Acc* from = cells.const_data_ptr<Acc>();
    const scalar_t* grads = top.const_data_ptr<scalar_t>();
    for_tasks(parts.numel() ? slabs * group * chunks : 0, [&] {
      return [&, left = Buffer(cells, p.height() * p.patch()),
              right = Buffer(cells, p.height() * p.rows() * p.row())](int64_t t) {
        const int64_t slab = t / chunks / group, g = t / chunks % group;
        const Range rows = part(t % chunks, p.rows(), p.y.stride);
        const at::Tensor into = columns(p, parts[slab], g, rows);
        for (int64_t b = slab * deep; b < std::min(bands, (slab + 1) * deep); ++b) {
          const Range blocks = part(b, p.height(), p.blocks());
          const at::Tensor patch = left.matrix(blocks.size(), p.patch());
          const at::Tensor sums = right.matrix(blocks.size(), rows.size() * p.row());
          patches(p, g, blocks, from, patch.mutable_data_ptr<Acc>());
          gather(p, g, blocks, rows, grads, sums.mutable_data_ptr<Acc>());
          multiply(into, patch.t(), sums, true);
        }
      };
    });
  });
  return (slabs == 1 ? parts[0] : parts.sum(0)).view(shape);
}

}  // namespace

TORCH_LIBRARY_IMPL(fcn_repro, CPU, m) {
  m.impl("phases", phases);
  m.impl("phases_input", phases_input);
  m.impl("phases_filters", phases_filters);
}

}  // namespace fcn
