// The tasks of the general deconvolution and crop on the CPU, shared out among the threads. What is
// added to what, and in which order, does not depend on how many there are.
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

// The inputs (N, cells_y, cells_x, C), of each group the channels of a cell after those of the cell
// before it
template <typename Acc>
struct Cells {
  at::Tensor tensor;
  const Acc* data;
  int64_t in, row, image, group;
  Cells(const Phases& p, const at::Tensor& x) : in(p.in) {
    const at::Tensor pixels = p.group == 1 && x.stride(3) != 1 ? turned<Acc>(x, false) : x;
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
at::Tensor pack(const Phases& p, const at::Tensor& filters, int64_t size, int64_t rows, F f) {
  const at::Tensor packed = at::empty({p.phases(), size}, filters.options());
  const Filters<Acc> from{filters.const_data_ptr<Acc>(), filters.strides().data(),
                          filters.size(5), filters.size(6)};
  Acc* to = packed.mutable_data_ptr<Acc>();
  at::parallel_for(0, rows, 4, [&](int64_t begin, int64_t end) { f(p, from, {begin, end}, to); });
  return packed;
}

// The outputs of some blocks of a line at one phase row: sums + block * row()
template <typename Acc>
void multiply_blocks(const Phases& p, const Acc* cells, int64_t row, Range blocks,
                     const Acc* factors, Acc* sums) {
  const Panels<Acc> panels{p.patch(), p.row()};
  const int64_t wide = p.x.taps * p.in;
  multiply(Product<Acc>{blocks.end - blocks.begin, panels.width(), p.y.taps, wide,
                        cells + blocks.begin * p.in, p.in, row, 1, factors, panels.panel(),
                        wide * kPanel<Acc>, kPanel<Acc>, sums + blocks.begin * p.row(), p.row(),
                        false});
}

// A line of the result in channels_last that needs no more than the sums. Memory takes longer to
// fetch lines that are written at once than those that are written between sums: only the ends,
// where the crop cuts blocks and what a product writes beyond its last row (less than a block of at
// least a vector), go through a buffer.
template <typename Acc>
void multiply_line(const Phases& p, const Acc* cells, int64_t row, const Acc* factors,
                   Acc* blocks, Acc* line) {
  const int64_t count = p.x.count, start = p.x.lead * p.out;
  const int64_t head = std::min(kEnds, count), tail = std::max(head, count - kEnds);
  if (head < tail) multiply_blocks(p, cells, row, {head, tail}, factors, line - start);
  multiply_blocks(p, cells, row, {0, head}, factors, blocks);
  std::copy(blocks + start, blocks + std::min(head * p.row(), start + p.line()), line);
  if (tail == count) return;
  multiply_blocks(p, cells, row, {tail, count}, factors, blocks);
  std::copy(blocks + tail * p.row(), blocks + start + p.line(), line + tail * p.row() - start);
}

template <typename T, typename Acc>
void run_phases(const Phases& p, const at::Tensor& x, const at::Tensor& filters,
                const at::Tensor& shift, bool biased, const at::Tensor& result) {
  const Panels<Acc> panels{p.patch(), p.row()};
  const Cells<Acc> cells(p, x);
  const at::Tensor packed = pack<Acc>(p, filters, panels.size(), p.phases() * panels.rows,
                                      pack_outputs<Acc>);
  const Acc* shifts = shift.const_data_ptr<Acc>();
  T* to = result.mutable_data_ptr<T>();
  at::parallel_for(0, p.phases() * p.lines(), 1, [&](int64_t begin, int64_t end) {
    Aligned<Acc> blocks(p.x.count * p.row() + kColumns<Acc>);  // a product may write beyond the last
    for (int64_t t = begin; t < end; ++t) {
      const int64_t phases = t / p.lines(), image = t % p.lines() / p.y.count, q = t % p.y.count;
      const int64_t g = phases / p.y.stride, y = p.y.place(q, phases % p.y.stride);
      if (!p.y.holds(y)) continue;
      const Acc* from = cells.at(g, image, q);
      const Acc* factors = packed.const_data_ptr<Acc>() + phases * panels.size();
      if constexpr (std::is_same_v<T, Acc>)
        if (p.last && !biased && p.row() >= kColumns<Acc>) {
          multiply_line(p, from, cells.row, factors, blocks.data(),
                        to + (image * p.y.out + y) * p.line());
          continue;
        }
      multiply_blocks(p, from, cells.row, {0, p.x.count}, factors, blocks.data());
      scatter<false>(p, g, image, y, blocks.data(), p.row(), shifts + g * p.row(), to);
    }
  });
}

// Some lines of blocks of one group: what each phase row adds to the gradient of their patches,
// summed over the taps along x. One phase row after the other, so that its filters stay in the cache.
template <typename T, typename Acc>
void add_lines(const Phases& p, int64_t g, Range lines, const T* grad, const Acc* factors,
               Aligned<Acc>& blocks, Acc* sums) {
  const Panels<Acc> panels{p.x.taps * p.row(), p.y.taps * p.in};
  for (int64_t r = 0; r < p.y.stride; ++r)
    for (int64_t line = lines.begin; line < lines.end; ++line) {
      const int64_t q = line % p.y.count, y = p.y.place(q, r);
      if (!p.y.holds(y)) continue;
      gather<false>(p, g, line / p.y.count, y, grad, blocks.data() + (p.x.taps - 1) * p.row(),
                    p.row());
      const bool add = r > 0 && p.y.holds(y - 1);
      multiply(Product<Acc>{p.x.cells(), panels.width(), 1, panels.rows, blocks.data(), p.row(), 0,
                            1, factors + (g * p.y.stride + r) * panels.size(), panels.panel(), 0,
                            kPanel<Acc>, sums + line * p.x.cells() * panels.width(),
                            panels.width(), add});
    }
}

template <typename Acc>
void fold(const Phases& p, const Acc* grads, int64_t size, int64_t step, int64_t step_k,
          const at::Tensor& result) {
  Acc* to = result.mutable_data_ptr<Acc>();
  at::parallel_for(0, p.images * p.y.cells(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      fold_row(p, grads, size, step, step_k, row / p.y.cells(), row % p.y.cells(), to);
  });
}

template <typename T, typename Acc>
void run_input(const Phases& p, const at::Tensor& grad, const at::Tensor& filters,
               const at::Tensor& result) {
  const Panels<Acc> panels{p.x.taps * p.row(), p.y.taps * p.in};
  const at::Tensor packed = pack<Acc>(p, filters, panels.size(), p.phases() * p.x.taps,
                                      pack_inputs<Acc>);
  const at::Tensor sums = at::empty({p.group, p.lines(), p.x.cells(), panels.width()},
                                    filters.options());
  const at::Tensor top = gradients<T>(p, grad);
  const T* from = top.const_data_ptr<T>();
  const Acc* factors = packed.const_data_ptr<Acc>();
  Acc* partial = sums.mutable_data_ptr<Acc>();
  at::parallel_for(0, p.group * p.lines(), 1, [&](int64_t begin, int64_t end) {
    // with a border of zeros for the cells beside the blocks
    Aligned<Acc> blocks((p.x.count + 2 * (p.x.taps - 1)) * p.row());
    for (int64_t t = begin, next; t < end; t = next) {
      const int64_t g = t / p.lines();
      next = std::min({end, (g + 1) * p.lines(), t + kTogether});
      add_lines(p, g, {t - g * p.lines(), next - g * p.lines()}, from, factors, blocks,
                partial + g * p.lines() * p.x.cells() * panels.width());
    }
  });
  fold(p, partial, p.x.cells() * panels.width(), panels.width(), 1, result);
}

// The gradient of the filters from parts (slabs, phases, patch, pitch)
template <typename Acc>
void finish(const Phases& p, const at::Tensor& parts, const at::Tensor& result) {
  const Acc* from = parts.const_data_ptr<Acc>();
  Acc* to = result.mutable_data_ptr<Acc>();
  at::parallel_for(0, p.group * p.in, 1, [&](int64_t begin, int64_t end) {
    for (int64_t channel = begin; channel < end; ++channel)
      unpack(p, from, parts.size(0), parts.size(3), channel, to);
  });
}

// The part of some lines of blocks in the gradient of the filters of one phase row: (patch, pitch)
template <typename T, typename Acc>
void sum_lines(const Phases& p, int64_t phases, Range lines, const Cells<Acc>& cells, const T* grad,
               int64_t deep, Aligned<Acc>& blocks, Acc* part) {
  const int64_t g = phases / p.y.stride, r = phases % p.y.stride, line = p.x.count * p.row();
  const int64_t pitch = Panels<Acc>{1, p.row()}.width(), wide = p.x.taps * p.in;
  bool add = false;
  for (int64_t b = lines.begin, next; b < lines.end; b = next) {
    const int64_t image = b / p.y.count, q = b % p.y.count;
    next = std::min({lines.end, b + p.y.count - q, b + deep});
    const Range kept = p.y.kept({q, q + next - b}, r);
    if (kept.begin >= kept.end) continue;
    for (int64_t i = kept.begin; i < kept.end; ++i)
      gather<false>(p, g, image, p.y.place(i, r), grad, blocks.data() + (i - kept.begin) * line,
                    p.row());
    for (int64_t a = 0; a < p.y.taps; ++a)
      multiply(Product<Acc>{wide, pitch, kept.end - kept.begin, p.x.count,
                            cells.at(g, image, kept.begin + a), 1, cells.row, p.in, blocks.data(),
                            kPanel<Acc>, line, p.row(), part + a * wide * pitch, pitch, add});
    add = true;
  }
  if (!add) std::fill_n(part, p.patch() * pitch, Acc(0));
}

template <typename T, typename Acc>
void run_filters(const Phases& p, const at::Tensor& grad, const at::Tensor& x,
                 const at::Tensor& result) {
  const Cells<Acc> cells(p, x);
  const int64_t lines = p.lines(), pitch = Panels<Acc>{1, p.row()}.width();
  const int64_t most = std::clamp<int64_t>(kSlabs / p.phases(), 1, lines);
  const int64_t each = (lines + most - 1) / most, slabs = (lines + each - 1) / each;
  const int64_t deep = std::max<int64_t>(1, kLines / (p.x.count * p.row()));
  const at::Tensor parts = at::empty({slabs, p.phases(), p.patch(), pitch}, x.options());
  Acc* sums = parts.mutable_data_ptr<Acc>();
  const at::Tensor top = gradients<T>(p, grad);
  const T* from = top.const_data_ptr<T>();
  at::parallel_for(0, slabs * p.phases(), 1, [&](int64_t begin, int64_t end) {
    Aligned<Acc> blocks(deep * p.x.count * p.row() + kColumns<Acc>);  // read beyond the last
    for (int64_t t = begin; t < end; ++t) {
      const int64_t slab = t / p.phases();
      sum_lines(p, t % p.phases(), {slab * each, std::min(lines, (slab + 1) * each)}, cells, from,
                deep, blocks, sums + t * p.patch() * pitch);
    }
  });
  finish<Acc>(p, parts, result);
}

}  // namespace fcn
