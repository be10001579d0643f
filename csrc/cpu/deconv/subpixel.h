// The loops of the general deconvolution and crop on the CPU: how outputs fall into blocks, what
// moves between blocks and images, and filters as the products read them. Free of ATen.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "../gemm/micro_kernel.h"

namespace fcn {

constexpr int64_t kLines = 48 * 1024;  // gradients, in numbers, that one product sums over at least
constexpr int64_t kTogether = 8;       // lines of blocks that read the filters of a phase row in turn
constexpr int64_t kEnds = 13;          // blocks at either end of a line, one tile of a product
constexpr int64_t kSlabs = 8;          // tasks that the gradient of few filters is split into

struct Range {
  int64_t begin, end;
};

// One axis: block q holds outputs q * stride - lead .. + stride - 1 and reads inputs q .. q + m - 1,
// input q + i with tap m - 1 - i of each phase
struct BlockAxis {
  int64_t count, stride, taps, lead, out;
  int64_t cells() const { return count + taps - 1; }
  int64_t place(int64_t block, int64_t phase) const { return block * stride - lead + phase; }
  bool holds(int64_t place) const { return place >= 0 && place < out; }
  // The blocks of `some` whose output at that phase is kept
  Range kept(Range some, int64_t phase) const {
    return {std::max<int64_t>(some.begin, phase < lead), std::min(some.end,
            (out + lead - phase + stride - 1) / stride)};
  }
};

struct Phases {
  BlockAxis y, x;
  int64_t images, group, in, out;  // in, out: channels of one group
  bool last;                       // whether channels come last in the result (of one group)

  int64_t lines() const { return images * y.count; }           // of blocks
  int64_t phases() const { return group * y.stride; }          // rows of phases, g * stride + r
  int64_t patch() const { return y.taps * x.taps * in; }
  int64_t row() const { return out * x.stride; }               // a block's outputs at a phase row
  int64_t run() const { return x.stride * (last ? out : 1); }  // of one block on one line
  int64_t line() const { return x.out * (last ? out : 1); }    // numbers
  // Whether the blocks of a line lie along the vectors, not the numbers of a block
  bool planes() const { return !last && row() < 64 && fill(row()) < fill(x.count); }
  static double fill(int64_t n) { return n / double((n + 15) / 16 * 16); }  // of vectors
};

// A matrix as `multiply` reads its second factor: panels of columns, each row by row
template <typename T>
struct Panels {
  int64_t rows, cols;
  int64_t width() const { return (cols + kColumns<T> - 1) / kColumns<T> * kColumns<T>; }
  int64_t panel() const { return rows * kPanel<T>; }
  int64_t size() const { return (cols + kPanel<T> - 1) / kPanel<T> * panel(); }
  int64_t at(int64_t row, int64_t col) const {
    return col / kPanel<T> * panel() + row * kPanel<T> + col % kPanel<T>;
  }
};

// Calls f with `count` as a constant where it is a stride of the FCN nets
template <typename F>
FCN_INLINE void for_run(int64_t count, F f) {
  switch (count) {
    case 2: return f(std::integral_constant<int64_t, 2>());
    case 4: return f(std::integral_constant<int64_t, 4>());
    case 8: return f(std::integral_constant<int64_t, 8>());
    case 16: return f(std::integral_constant<int64_t, 16>());
    case 32: return f(std::integral_constant<int64_t, 32>());
    default: return f(count);
  }
}

// A line of blocks, row() numbers each, is a line of the result or, in the contiguous format, one
// a channel. move(block, column, cell) for each number that the crop keeps: its block, its place in
// the block and that in the result.
template <typename F>
FCN_INLINE void for_cells(const Phases& p, int64_t g, int64_t image, int64_t y, F move) {
  const int64_t run = p.run(), line = p.line(), lines = p.row() / run;
  const int64_t start = -p.x.lead * (run / p.x.stride), first = start < 0;
  const int64_t full = std::max(first, (line - start) / run);
  for (int64_t c = 0; c < lines; ++c) {
    const int64_t to = ((image * p.group * lines + g * lines + c) * p.y.out + y) * line + start;
    const auto some = [=](int64_t b) __attribute__((always_inline)) {
      const int64_t end = std::min(run, line - start - b * run);
      for (int64_t i = b ? 0 : -start; i < end; ++i) move(b, c * run + i, to + b * run + i);
    };
    if (first) some(0);
    for_run(run, [=](auto n) __attribute__((always_inline)) {
      for (int64_t b = first; b < full; ++b)
        for (int64_t i = 0; i < n; ++i) move(b, c * n + i, to + b * n + i);
    });
    if (full < p.x.count) some(full);
  }
}

// Where the numbers of a line of blocks stand: one block after the other or, in planes, one column
// after the other
template <bool planes>
FCN_INLINE int64_t stand(int64_t block, int64_t column, int64_t pitch) {
  return planes ? column * pitch + block : block * pitch + column;
}

// shift: a number for each of the row() numbers of a block
template <bool planes, typename T, typename Acc>
void scatter(const Phases& p, int64_t g, int64_t image, int64_t y, const Acc* __restrict__ blocks,
             int64_t pitch, const Acc* __restrict__ shift, T* __restrict__ result) {
  for_cells(p, g, image, y, [=](int64_t block, int64_t column, int64_t cell)
                __attribute__((always_inline)) {
    result[cell] = static_cast<T>(blocks[stand<planes>(block, column, pitch)] + shift[column]);
  });
}

// What the crop cuts is left as it is
template <bool planes, typename T, typename Acc>
void gather(const Phases& p, int64_t g, int64_t image, int64_t y, const T* __restrict__ grad,
            Acc* __restrict__ blocks, int64_t pitch) {
  for_cells(p, g, image, y, [=](int64_t block, int64_t column, int64_t cell)
                __attribute__((always_inline)) {
    blocks[stand<planes>(block, column, pitch)] = static_cast<Acc>(grad[cell]);
  });
}

// The gradient of one row of inputs: the lines of blocks that read it, in a fixed order. Of each
// group and line of blocks, `grads` has `size` numbers, those of (cell, tap, channel) at
// cell * step + (tap, channel) * step_k.
template <typename Acc>
void fold_row(const Phases& p, const Acc* grads, int64_t size, int64_t step, int64_t step_k,
              int64_t image, int64_t i, Acc* result) {
  const int64_t channels = p.group * p.in, cells = p.x.cells(), plane = p.y.cells() * cells;
  for (int64_t g = 0; g < p.group; ++g) {
    Acc* __restrict__ out = result + image * channels * plane +
        (p.last ? i * cells * channels : g * p.in * plane + i * cells);
    for (int64_t k = 0; k < (p.last ? 1 : p.in); ++k)
      std::fill_n(out + k * plane, p.last ? cells * channels : cells, Acc(0));
    for (int64_t a = std::max<int64_t>(0, i - p.y.count + 1); a < std::min(p.y.taps, i + 1); ++a) {
      const Acc* __restrict__ from =
          grads + ((g * p.images + image) * p.y.count + i - a) * size + a * p.in * step_k;
      if (p.last)  // one group, cell by cell
        for (int64_t j = 0; j < cells; ++j)
          for (int64_t k = 0; k < p.in; ++k) out[j * channels + k] += from[j * step + k];
      else
        for (int64_t k = 0; k < p.in; ++k)
          for (int64_t j = 0; j < cells; ++j) out[k * plane + j] += from[k * step_k + j * step];
    }
  }
}

}  // namespace fcn
