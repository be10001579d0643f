// The general deconvolution and crop on the CPU where a block has few outputs: the blocks of a line
// lie along the vectors, and each number of a block is a plane of its own.
#pragma once

#include "interleaved.h"

namespace fcn {

// The inputs that some lines of blocks read, one channel after the other, with room behind
template <typename Acc>
struct CellPlanes {
  const Phases& p;
  const Acc* data;
  at::IntArrayRef step;  // of x (N, cells_y, cells_x, C)
  int64_t pitch;
  Aligned<Acc> planes;   // (taps_y, in, pitch)

  CellPlanes(const Phases& p, const at::Tensor& x)
      : p(p), data(x.const_data_ptr<Acc>()), step(x.strides()),
        pitch(whole(whole(p.x.count) + p.x.taps - 1)), planes(p.y.taps * p.in * pitch) {}

  static int64_t whole(int64_t n) { return Panels<Acc>{1, n}.width(); }

  void read(int64_t g, int64_t image, int64_t q) {
    for (int64_t i = 0; i < p.y.taps * p.in; ++i) {
      Acc* __restrict__ to = planes.data() + i * pitch;
      const Acc* __restrict__ from = data + image * step[0] + (q + i / p.in) * step[1] +
                                     (g * p.in + i % p.in) * step[3];
      const int64_t step_x = step[2];
      for (int64_t j = 0; j < p.x.cells(); ++j) to[j] = from[j * step_x];
    }
  }
};

// Filters as first factors: (group, stride_y, row(), taps_y, in, taps_x) of the outputs, or
// (group, taps_y, in, stride_y, row(), taps_x) of the inputs' gradient
template <typename Acc>
std::vector<Acc> factors_of(const Phases& p, const at::Tensor& filters, bool gradient) {
  const Filters<Acc> from{filters.const_data_ptr<Acc>(), filters.strides().data(), p.out,
                          p.x.stride};
  const int64_t reads = p.y.taps * p.in, writes = p.y.stride * p.row();
  std::vector<Acc> to(p.group * reads * writes * p.x.taps);
  for (int64_t i = 0; i < p.group * reads * writes; ++i) {
    const int64_t g = i / (reads * writes), rest = i % (reads * writes);
    const int64_t read = gradient ? rest / writes : rest % reads;
    const int64_t write = gradient ? rest % writes : rest / reads;
    const int64_t c = write % p.row() / p.x.stride, x = write % p.x.stride;
    for (int64_t t = 0; t < p.x.taps; ++t)
      to[i * p.x.taps + t] = from.at(g, p.y.taps - 1 - read / p.in,
                                     gradient ? t : p.x.taps - 1 - t, read % p.in,
                                     write / p.row())[c * from.step[5] + x * from.step[6]];
  }
  return to;
}

template <typename T, typename Acc>
void run_planes(const Phases& p, const at::Tensor& x, const at::Tensor& filters,
                const at::Tensor& shift, const at::Tensor& result) {
  const at::Tensor given = x.stride(2) == 1 ? x : turned<Acc>(x, true);
  const std::vector<Acc> factors = factors_of<Acc>(p, filters, false);
  const int64_t rows = p.y.stride * p.row(), lanes = CellPlanes<Acc>::whole(p.x.count);
  const Acc* shifts = shift.const_data_ptr<Acc>();
  T* to = result.mutable_data_ptr<T>();
  at::parallel_for(0, p.group * p.lines(), 1, [&](int64_t begin, int64_t end) {
    CellPlanes<Acc> cells(p, given);
    Aligned<Acc> sums(rows * lanes);
    for (int64_t t = begin; t < end; ++t) {
      const int64_t g = t / p.lines(), image = t % p.lines() / p.y.count, q = t % p.y.count;
      cells.read(g, image, q);
      multiply(Product<Acc>{rows, lanes, p.y.taps * p.in, p.x.taps,
                            factors.data() + g * rows * p.patch(), p.patch(), p.x.taps, 1,
                            cells.planes.data(), kPanel<Acc>, cells.pitch, 1, sums.data(), lanes,
                            false});
      for (int64_t r = 0; r < p.y.stride; ++r)
        if (const int64_t y = p.y.place(q, r); p.y.holds(y))
          scatter<true>(p, g, image, y, sums.data() + r * p.row() * lanes, lanes,
                        shifts + g * p.row(), to);
    }
  });
}

template <typename T, typename Acc>
void run_planes_input(const Phases& p, const at::Tensor& grad, const at::Tensor& filters,
                      const at::Tensor& result) {
  const std::vector<Acc> factors = factors_of<Acc>(p, filters, true);
  const int64_t rows = p.y.taps * p.in, deep = p.y.stride * p.row();
  const int64_t lanes = CellPlanes<Acc>::whole(p.x.cells());
  const int64_t pitch = CellPlanes<Acc>::whole(lanes + p.x.taps - 1);
  const at::Tensor sums = at::empty({p.group, p.lines(), rows, lanes}, filters.options());
  Acc* partial = sums.mutable_data_ptr<Acc>();
  const at::Tensor top = gradients<T>(p, grad);
  const T* from = top.const_data_ptr<T>();
  at::parallel_for(0, p.group * p.lines(), 1, [&](int64_t begin, int64_t end) {
    Aligned<Acc> blocks(deep * pitch);  // zeros beside the blocks
    for (int64_t t = begin; t < end; ++t) {
      const int64_t g = t / p.lines(), image = t % p.lines() / p.y.count, q = t % p.y.count;
      for (int64_t r = 0; r < p.y.stride; ++r) {
        Acc* line = blocks.data() + r * p.row() * pitch;
        const int64_t y = p.y.place(q, r);
        if (p.y.holds(y)) gather<true>(p, g, image, y, from, line + p.x.taps - 1, pitch);
        else std::fill_n(line, p.row() * pitch, Acc(0));
      }
      multiply(Product<Acc>{rows, lanes, deep, p.x.taps,
                            factors.data() + g * rows * deep * p.x.taps, deep * p.x.taps, p.x.taps,
                            1, blocks.data(), kPanel<Acc>, pitch, 1, partial + t * rows * lanes,
                            lanes, false});
    }
  });
  fold(p, partial, rows * lanes, 1, lanes, result);
}

// sums (in, taps_x, row()) of vectors += gradients times the inputs that they met, for the lines of
// one tap along y
template <typename Acc>
FCN_CLONES void add_dots(const Phases& p, const Acc* cells, int64_t pitch, const Acc* blocks,
                         int64_t lanes, Acc* sums) {
  constexpr int64_t lane = Lanes<Acc>::count;
  for (int64_t k = 0; k < p.in; ++k)
    for (int64_t t = 0; t < p.x.taps; ++t)
      for (int64_t m = 0; m < p.row(); ++m, sums += lane) {
        const Acc *a = cells + k * pitch + t, *b = blocks + m * lanes;
        VecOf<Acc> sum = load(sums);
        for (int64_t j = 0; j < lanes; j += lane) sum += load(a + j) * load(b + j);
        store(sums, sum);
      }
}

// The part of some lines of blocks in the gradient of one group's filters: (stride_y, patch, pitch)
template <typename T, typename Acc>
void dot_lines(const Phases& p, int64_t g, Range lines, CellPlanes<Acc>& cells, const T* grad,
               Aligned<Acc>& blocks, Acc* part) {
  constexpr int64_t lane = Lanes<Acc>::count;
  const int64_t lanes = CellPlanes<Acc>::whole(p.x.count), pitch = CellPlanes<Acc>::whole(p.row());
  const int64_t each = p.in * p.x.taps * p.row();
  Aligned<Acc> sums(p.y.stride * p.y.taps * each * lane);
  for (int64_t b = lines.begin; b < lines.end; ++b) {
    const int64_t image = b / p.y.count, q = b % p.y.count;
    cells.read(g, image, q);
    for (int64_t r = 0; r < p.y.stride; ++r) {
      if (!p.y.holds(p.y.place(q, r))) continue;
      gather<true>(p, g, image, p.y.place(q, r), grad, blocks.data(), lanes);
      for (int64_t a = 0; a < p.y.taps; ++a)
        add_dots(p, cells.planes.data() + a * p.in * cells.pitch, cells.pitch, blocks.data(),
                 lanes, sums.data() + (r * p.y.taps + a) * each * lane);
    }
  }
  const Acc* from = sums.data();
  for (int64_t i = 0; i < p.y.stride * p.y.taps * p.in * p.x.taps; ++i) {
    const int64_t a = i / p.x.taps / p.in, k = i / p.x.taps % p.in, t = i % p.x.taps;
    for (int64_t m = 0; m < p.row(); ++m, from += lane) {
      Acc sum = 0;
      for (int64_t l = 0; l < lane; ++l) sum += from[l];
      part[((a * p.x.taps + t) * p.in + k) * pitch + m] = sum;
    }
  }
}

template <typename T, typename Acc>
void run_planes_filters(const Phases& p, const at::Tensor& grad, const at::Tensor& x,
                        const at::Tensor& result) {
  const at::Tensor given = x.stride(2) == 1 ? x : turned<Acc>(x, true);
  const int64_t lines = p.lines(), lanes = CellPlanes<Acc>::whole(p.x.count);
  const int64_t most = std::clamp<int64_t>(kSlabs / p.group, 1, lines);
  const int64_t each = (lines + most - 1) / most, slabs = (lines + each - 1) / each;
  const at::Tensor parts = at::empty(
      {slabs, p.phases(), p.patch(), CellPlanes<Acc>::whole(p.row())}, x.options());
  const int64_t size = parts.numel() / (slabs * p.group);
  Acc* to = parts.mutable_data_ptr<Acc>();
  const at::Tensor top = gradients<T>(p, grad);
  const T* from = top.const_data_ptr<T>();
  at::parallel_for(0, slabs * p.group, 1, [&](int64_t begin, int64_t end) {
    CellPlanes<Acc> cells(p, given);
    Aligned<Acc> blocks(p.row() * lanes);
    for (int64_t t = begin; t < end; ++t) {
      const int64_t slab = t / p.group;
      dot_lines(p, t % p.group, {slab * each, std::min(lines, (slab + 1) * each)}, cells, from,
                blocks, to + t * size);
    }
  });
  finish<Acc>(p, parts, result);
}

}  // namespace fcn
