// The sub-pixel deconvolution with interleaved blocks: A of the products are blocks x patch, read
// from the channels-last input in place, and vectors run along the outputs of a block. The order
// of summation does not depend on the number of threads.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <type_traits>

#include "pack_filters.h"
#include "../common/simd.h"
#include "layout.h"

namespace fcn {

// The input (N, inputs_y, inputs_x, C), channels-last within each group
template <typename Acc>
struct InterleavedInput {
  at::Tensor tensor;
  const Acc* data;
  int64_t in, row, image, group;
  InterleavedInput(const SubpixelShape& p, const at::Tensor& x) : in(p.in) {
    const at::Tensor pixels = p.group == 1 && x.stride(3) != 1 ? relayout<Acc>(x, false) : x;
    tensor = pixels.unflatten(3, {p.group, p.in}).permute({3, 0, 1, 2, 4});
    if ((p.in > 1 && tensor.stride(4) != 1) || tensor.stride(3) != p.in || !is_aligned(tensor))
      tensor = dense(tensor);
    data = tensor.const_data_ptr<Acc>();
    row = tensor.stride(2), image = tensor.stride(1), group = tensor.stride(0);
  }
  const Acc* at(int64_t g, int64_t n, int64_t y) const {
    return data + g * group + n * image + y * row;
  }
};

template <typename Acc, typename F>
at::Tensor pack(const SubpixelShape& p, const at::Tensor& filters, int64_t size, int64_t rows,
                F f) {
  const at::Tensor packed = at::empty({p.phase_rows(), size}, filters.options());
  const FilterView<Acc> from{filters.const_data_ptr<Acc>(), filters.strides().data(),
                             filters.size(5), filters.size(6)};
  Acc* to = packed.mutable_data_ptr<Acc>();
  at::parallel_for(0, rows, 4, [&](int64_t begin, int64_t end) { f(p, from, {begin, end}, to); });
  return packed;
}

// Outputs of a range of blocks of a row at one phase row, to sums + block * row_size
template <typename Acc>
void multiply_blocks(const SubpixelShape& p, const Acc* input, int64_t row, Range blocks,
                     const Acc* packed_filters, Acc* sums) {
  const Panels<Acc> panels{p.patch_size(), p.row_size()};
  const int64_t wide = p.x.taps * p.in;
  gemm(Gemm<Acc>{.m = blocks.end - blocks.begin,
                 .n = panels.width(),
                 .k_outer = p.y.taps,
                 .k_inner = wide,
                 .a = input + blocks.begin * p.in,
                 .a_row = p.in,
                 .a_outer = row,
                 .a_inner = 1,
                 .b = packed_filters,
                 .b_panel = panels.panel_size(),
                 .b_outer = wide * kPanel<Acc>,
                 .b_inner = kPanel<Acc>,
                 .c = sums + blocks.begin * p.row_size(),
                 .c_row = p.row_size(),
                 .accumulate = false});
}

// A line of a channels_last result without bias, written by the product itself: stores that are
// spread over the computation cost less than a copy afterwards. Only the ends go through a
// buffer, where the crop cuts blocks and where the product writes beyond its last row (by less
// than a block, which has at least a vector).
template <typename Acc>
void multiply_row(const SubpixelShape& p, const Acc* input, int64_t row, const Acc* packed_filters,
                  Acc* blocks, Acc* line) {
  const int64_t count = p.x.count, start = p.x.lead * p.out;
  const int64_t head = std::min(kEdgeBlocks, count), tail = std::max(head, count - kEdgeBlocks);
  if (head < tail) multiply_blocks(p, input, row, {head, tail}, packed_filters, line - start);
  multiply_blocks(p, input, row, {0, head}, packed_filters, blocks);
  std::copy(blocks + start, blocks + std::min(head * p.row_size(), start + p.line_size()), line);
  if (tail == count) return;
  multiply_blocks(p, input, row, {tail, count}, packed_filters, blocks);
  std::copy(blocks + tail * p.row_size(), blocks + start + p.line_size(),
            line + tail * p.row_size() - start);
}

template <typename T, typename Acc>
void interleaved_forward(const SubpixelShape& p, const at::Tensor& x, const at::Tensor& filters,
                         const at::Tensor& bias, bool biased, const at::Tensor& result) {
  const Panels<Acc> panels{p.patch_size(), p.row_size()};
  const InterleavedInput<Acc> input(p, x);
  const at::Tensor packed =
      pack<Acc>(p, filters, panels.size(), p.phase_rows() * panels.rows, pack_forward<Acc>);
  const Acc* biases = bias.const_data_ptr<Acc>();
  T* to = result.mutable_data_ptr<T>();
  at::parallel_for(0, p.phase_rows() * p.block_rows(), 1, [&](int64_t begin, int64_t end) {
    AlignedBuffer<Acc> blocks(p.x.count * p.row_size() + kVector<Acc>);  // gemm writes past the end
    for (int64_t t = begin; t < end; ++t) {
      const int64_t phase_row = t / p.block_rows(), image = t % p.block_rows() / p.y.count,
                    q = t % p.y.count;
      const int64_t g = phase_row / p.y.stride, y = p.y.output(q, phase_row % p.y.stride);
      if (!p.y.contains(y)) continue;
      const Acc* from = input.at(g, image, q);
      const Acc* packed_filters = packed.const_data_ptr<Acc>() + phase_row * panels.size();
      if constexpr (std::is_same_v<T, Acc>)
        if (p.channels_last && !biased && p.row_size() >= kVector<Acc>) {
          multiply_row(p, from, input.row, packed_filters, blocks.data(),
                       to + (image * p.y.out + y) * p.line_size());
          continue;
        }
      multiply_blocks(p, from, input.row, {0, p.x.count}, packed_filters, blocks.data());
      scatter<false>(p, g, image, y, blocks.data(), p.row_size(), biases + g * p.row_size(), to);
    }
  });
}

// Gradient of the patches of some rows of blocks of one group, summed over the taps along x. Phase
// rows are the outer loop, so that the filters of one stay in the cache.
template <typename T, typename Acc>
void input_gradient_rows(const SubpixelShape& p, int64_t g, Range block_rows, const T* grad,
                         const Acc* packed_filters, AlignedBuffer<Acc>& blocks, Acc* sums) {
  const Panels<Acc> panels{p.x.taps * p.row_size(), p.y.taps * p.in};
  for (int64_t r = 0; r < p.y.stride; ++r)
    for (int64_t line = block_rows.begin; line < block_rows.end; ++line) {
      const int64_t q = line % p.y.count, y = p.y.output(q, r);
      if (!p.y.contains(y)) continue;
      gather<false>(p, g, line / p.y.count, y, grad, blocks.data() + (p.x.taps - 1) * p.row_size(),
                    p.row_size());
      const bool add = r > 0 && p.y.contains(y - 1);
      gemm(Gemm<Acc>{.m = p.x.inputs(),
                     .n = panels.width(),
                     .k_outer = 1,
                     .k_inner = panels.rows,
                     .a = blocks.data(),
                     .a_row = p.row_size(),
                     .a_outer = 0,
                     .a_inner = 1,
                     .b = packed_filters + (g * p.y.stride + r) * panels.size(),
                     .b_panel = panels.panel_size(),
                     .b_outer = 0,
                     .b_inner = kPanel<Acc>,
                     .c = sums + line * p.x.inputs() * panels.width(),
                     .c_row = panels.width(),
                     .accumulate = add});
    }
}

template <typename Acc>
void col2im(const SubpixelShape& p, const Acc* grads, int64_t size, int64_t step, int64_t step_k,
            const at::Tensor& result) {
  Acc* to = result.mutable_data_ptr<Acc>();
  at::parallel_for(0, p.images * p.y.inputs(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      col2im_row(p, grads, size, step, step_k, row / p.y.inputs(), row % p.y.inputs(), to);
  });
}

template <typename T, typename Acc>
void interleaved_input_gradient(const SubpixelShape& p, const at::Tensor& grad,
                                const at::Tensor& filters, const at::Tensor& result) {
  const Panels<Acc> panels{p.x.taps * p.row_size(), p.y.taps * p.in};
  const at::Tensor packed =
      pack<Acc>(p, filters, panels.size(), p.phase_rows() * p.x.taps, pack_input_gradient<Acc>);
  const at::Tensor sums =
      at::empty({p.group, p.block_rows(), p.x.inputs(), panels.width()}, filters.options());
  const at::Tensor top = dense_gradient<T>(p, grad);
  const T* from = top.const_data_ptr<T>();
  const Acc* packed_filters = packed.const_data_ptr<Acc>();
  Acc* partial = sums.mutable_data_ptr<Acc>();
  at::parallel_for(0, p.group * p.block_rows(), 1, [&](int64_t begin, int64_t end) {
    // with a border of zeros for inputs that only some of the taps reach
    AlignedBuffer<Acc> blocks((p.x.count + 2 * (p.x.taps - 1)) * p.row_size());
    for (int64_t t = begin, next; t < end; t = next) {
      const int64_t g = t / p.block_rows();
      next = std::min({end, (g + 1) * p.block_rows(), t + kRowBatch});
      input_gradient_rows(p, g, {t - g * p.block_rows(), next - g * p.block_rows()}, from,
                          packed_filters, blocks,
                          partial + g * p.block_rows() * p.x.inputs() * panels.width());
    }
  });
  col2im(p, partial, p.x.inputs() * panels.width(), panels.width(), 1, result);
}

// The filters' gradient from parts (count, phase rows, patch, pitch)
template <typename Acc>
void reduce_parts(const SubpixelShape& p, const at::Tensor& parts, const at::Tensor& result) {
  const Acc* from = parts.const_data_ptr<Acc>();
  Acc* to = result.mutable_data_ptr<Acc>();
  at::parallel_for(0, p.group * p.in, 1, [&](int64_t begin, int64_t end) {
    for (int64_t channel = begin; channel < end; ++channel)
      unpack_filter_gradient(p, from, parts.size(0), parts.size(3), channel, to);
  });
}

// The part of some rows of blocks in the gradient of the filters of one phase row: (patch, pitch)
template <typename T, typename Acc>
void interleaved_part(const SubpixelShape& p, int64_t phase_row, Range block_rows,
                      const InterleavedInput<Acc>& input, const T* grad, int64_t batch,
                      AlignedBuffer<Acc>& blocks, Acc* part) {
  const int64_t g = phase_row / p.y.stride, r = phase_row % p.y.stride,
                line = p.x.count * p.row_size();
  const int64_t pitch = Panels<Acc>{1, p.row_size()}.width(), wide = p.x.taps * p.in;
  bool add = false;
  for (int64_t b = block_rows.begin, next; b < block_rows.end; b = next) {
    const int64_t image = b / p.y.count, q = b % p.y.count;
    next = std::min({block_rows.end, b + p.y.count - q, b + batch});
    const Range rows = p.y.inside({q, q + next - b}, r);
    if (rows.begin >= rows.end) continue;
    for (int64_t i = rows.begin; i < rows.end; ++i)
      gather<false>(p, g, image, p.y.output(i, r), grad, blocks.data() + (i - rows.begin) * line,
                    p.row_size());
    for (int64_t a = 0; a < p.y.taps; ++a)
      gemm(Gemm<Acc>{.m = wide,
                     .n = pitch,
                     .k_outer = rows.end - rows.begin,
                     .k_inner = p.x.count,
                     .a = input.at(g, image, rows.begin + a),
                     .a_row = 1,
                     .a_outer = input.row,
                     .a_inner = p.in,
                     .b = blocks.data(),
                     .b_panel = kPanel<Acc>,
                     .b_outer = line,
                     .b_inner = p.row_size(),
                     .c = part + a * wide * pitch,
                     .c_row = pitch,
                     .accumulate = add});
    add = true;
  }
  if (!add) std::fill_n(part, p.patch_size() * pitch, Acc(0));
}

template <typename T, typename Acc>
void interleaved_filter_gradient(const SubpixelShape& p, const at::Tensor& grad,
                                 const at::Tensor& x, const at::Tensor& result) {
  const InterleavedInput<Acc> input(p, x);
  const int64_t block_rows = p.block_rows(), pitch = Panels<Acc>{1, p.row_size()}.width();
  const int64_t max_parts = std::clamp<int64_t>(kMaxParts / p.phase_rows(), 1, block_rows);
  const int64_t rows_per_part = (block_rows + max_parts - 1) / max_parts,
                count = (block_rows + rows_per_part - 1) / rows_per_part;
  const int64_t batch = std::max<int64_t>(1, kReduction / (p.x.count * p.row_size()));
  const at::Tensor parts = at::empty({count, p.phase_rows(), p.patch_size(), pitch}, x.options());
  Acc* sums = parts.mutable_data_ptr<Acc>();
  const at::Tensor top = dense_gradient<T>(p, grad);
  const T* from = top.const_data_ptr<T>();
  at::parallel_for(0, count * p.phase_rows(), 1, [&](int64_t begin, int64_t end) {
    AlignedBuffer<Acc> blocks(batch * p.x.count * p.row_size() +
                              kVector<Acc>);  // gemm reads past the end
    for (int64_t t = begin; t < end; ++t) {
      const int64_t part_index = t / p.phase_rows();
      interleaved_part(
          p, t % p.phase_rows(),
          {part_index * rows_per_part, std::min(block_rows, (part_index + 1) * rows_per_part)},
          input, from, batch, blocks, sums + t * p.patch_size() * pitch);
    }
  });
  reduce_parts<Acc>(p, parts, result);
}

}  // namespace fcn
