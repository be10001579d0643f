// The loops of the general deconvolution and crop on the CPU: how outputs fall into blocks, and what
// moves between blocks and images. Free of ATen.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

namespace fcn {

constexpr int64_t kBuffer = 96 * 1024;   // sums of a task, in numbers
constexpr int64_t kFilters = 96 * 1024;  // filters of a task, in numbers
constexpr int64_t kSlabs = 8;            // tasks that the gradient of few filters is split into

// One axis: block q holds outputs q * stride - lead .. + stride - 1 and reads inputs q .. q + m - 1
struct Blocks {
  int64_t count, stride, taps, lead, out;
  int64_t cells() const { return count + taps - 1; }
};

struct Phases {
  Blocks y, x;
  int64_t images, group, in, out;  // in, out: channels of one group
  bool last;                       // whether channels come last in the result (of one group)

  int64_t blocks() const { return images * y.count * x.count; }
  int64_t patch() const { return y.taps * x.taps * in; }
  int64_t row() const { return out * x.stride; }  // columns of one phase row
  int64_t run() const { return x.stride * (last ? out : 1); }  // of one block on one line
  int64_t line() const { return x.out * (last ? out : 1); }    // numbers
  // phase rows that a task does at once, and how many such chunks there are
  int64_t rows() const {
    return std::clamp<int64_t>(std::min(kFilters / patch(), kBuffer / 64) / row(), 1, y.stride);
  }
  int64_t chunks() const { return (y.stride + rows() - 1) / rows(); }
  int64_t height() const { return std::max<int64_t>(16, kBuffer / (rows() * row())); }
  int64_t bands() const { return (blocks() + height() - 1) / height(); }
};

struct Range {
  int64_t begin, end;
  int64_t size() const { return end - begin; }
};

Range part(int64_t index, int64_t step, int64_t whole) {
  return {index * step, std::min(whole, (index + 1) * step)};
}

// A task's blocks, line by line: f(sums, result, start, count) for each image row, phase row and, in
// the contiguous format, channel. Block b < count of the line stands at sums + b * rows * row, one
// line at `result`, there from number start + b * run on; what lies outside the line is cut.
template <typename F>
void for_lines(const Phases& p, int64_t g, Range blocks, Range rows, F f) {
  const int64_t lines = p.last ? 1 : p.out, channels = p.group * p.out;
  for (int64_t b = blocks.begin, next; b < blocks.end; b = next) {
    const int64_t qx = b % p.x.count, qy = b / p.x.count % p.y.count;
    const int64_t image = b / p.x.count / p.y.count;
    next = std::min(blocks.end, b + p.x.count - qx);
    const int64_t start = (qx * p.x.stride - p.x.lead) * (p.last ? p.out : 1);
    for (int64_t r = rows.begin; r < rows.end; ++r) {
      const int64_t y = qy * p.y.stride - p.y.lead + r;
      if (y < 0 || y >= p.y.out) continue;
      const int64_t from = (b - blocks.begin) * rows.size() * p.row();
      for (int64_t c = 0; c < lines; ++c)
        f(from + (r - rows.begin) * p.row() + c * p.x.stride,
          p.last ? (image * p.y.out + y) * p.line()
                 : ((image * channels + g * p.out + c) * p.y.out + y) * p.line(),
          start, next - b);
    }
  }
}

// Calls f with `count` as a constant where it is a stride of the FCN nets
template <typename F>
inline __attribute__((always_inline)) void for_run(int64_t count, F f) {
  switch (count) {
    case 2: return f(std::integral_constant<int64_t, 2>());
    case 4: return f(std::integral_constant<int64_t, 4>());
    case 8: return f(std::integral_constant<int64_t, 8>());
    case 16: return f(std::integral_constant<int64_t, 16>());
    case 32: return f(std::integral_constant<int64_t, 32>());
    default: return f(count);
  }
}

// move(sum, cell) for each number of a line that lies inside: its place in the sums, in the line
template <typename F>
inline __attribute__((always_inline)) void for_cells(const Phases& p, int64_t step, int64_t start,
                                                     int64_t count, F move) {
  const int64_t run = p.run(), line = p.line();
  const auto some = [=](int64_t b) __attribute__((always_inline)) {
    const int64_t at = start + b * run;
    for (int64_t i = std::max<int64_t>(0, -at); i < std::min(run, line - at); ++i)
      move(b * step + i, at + i);
  };
  const int64_t first = start < 0 ? 1 : 0;
  const int64_t full = std::clamp((line - start) / run, first, count);
  if (first) some(0);
  for_run(run, [=](auto n) __attribute__((always_inline)) {
    for (int64_t b = first; b < full; ++b)
      for (int64_t i = 0; i < n; ++i) move(b * step + i, start + b * run + i);
  });
  for (int64_t b = full; b < count; ++b) some(b);
}

template <typename T, typename Acc>
void scatter(const Phases& p, int64_t g, Range blocks, Range rows, const Acc* sums, T* result) {
  const int64_t step = rows.size() * p.row();
  for_lines(p, g, blocks, rows, [&](int64_t from, int64_t to, int64_t start, int64_t count) {
    const Acc* __restrict__ in = sums + from;
    T* __restrict__ out = result + to;
    for_cells(p, step, start, count, [=](int64_t sum, int64_t cell)
                  __attribute__((always_inline)) { out[cell] = static_cast<T>(in[sum]); });
  });
}

// The gradients of a task's outputs, 0 where the crop cuts
template <typename T, typename Acc>
void gather(const Phases& p, int64_t g, Range blocks, Range rows, const T* grad, Acc* sums) {
  const int64_t step = rows.size() * p.row();
  std::fill_n(sums, blocks.size() * step, Acc(0));
  for_lines(p, g, blocks, rows, [&](int64_t to, int64_t from, int64_t start, int64_t count) {
    const T* __restrict__ in = grad + from;
    Acc* __restrict__ out = sums + to;
    for_cells(p, step, start, count, [=](int64_t sum, int64_t cell)
                  __attribute__((always_inline)) { out[sum] = static_cast<Acc>(in[cell]); });
  });
}

// The inputs (N, cells_y, cells_x, C) of one group that each block reads, as rows (y, x, channel)
template <typename Acc>
void patches(const Phases& p, int64_t g, Range blocks, const Acc* cells, Acc* out) {
  const int64_t channels = p.group * p.in, run = p.group == 1 ? p.x.taps * p.in : p.in;
  for (int64_t b = blocks.begin; b < blocks.end; ++b) {
    const int64_t qx = b % p.x.count, qy = b / p.x.count % p.y.count;
    const int64_t image = b / p.x.count / p.y.count;
    for (int64_t a = 0; a < p.y.taps; ++a) {
      const int64_t row = (image * p.y.cells() + qy + a) * p.x.cells() + qx;
      for (int64_t c = 0; c < p.x.taps * p.in; c += run, out += run)
        std::copy_n(cells + (row + c / p.in) * channels + g * p.in, run, out);
    }
  }
}

// The gradient of one row of inputs: the blocks that read it, in a fixed order
template <typename Acc>
void fold_row(const Phases& p, const Acc* patch_grads, int64_t row, Acc* result) {
  const int64_t image = row / p.y.cells(), i = row % p.y.cells(), channels = p.group * p.in;
  Acc* out = result + row * p.x.cells() * channels;
  std::fill_n(out, p.x.cells() * channels, Acc(0));
  for (int64_t a = 0; a < p.y.taps; ++a) {
    const int64_t qy = i - a;
    if (qy < 0 || qy >= p.y.count) continue;
    for (int64_t g = 0; g < p.group; ++g)
      for (int64_t qx = 0; qx < p.x.count; ++qx) {
        const int64_t block = ((g * p.images + image) * p.y.count + qy) * p.x.count + qx;
        const Acc* grads = patch_grads + block * p.patch() + a * p.x.taps * p.in;
        for (int64_t c = 0; c < p.x.taps; ++c)
          for (int64_t k = 0; k < p.in; ++k)
            out[(qx + c) * channels + g * p.in + k] += grads[c * p.in + k];
      }
  }
}

}  // namespace fcn
