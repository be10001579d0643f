// The sub-pixel deconvolution with planar blocks, for blocks with few outputs: vectors run along
// the blocks of a row, and each output of a block has a row of its own. The filters are A of the
// products, the planar input is B.
#pragma once

#include "interleaved.h"

namespace fcn {

// The input rows that a row of blocks reads, planar and padded to whole vectors
template <typename Acc>
struct PlanarInput {
  const SubpixelShape& p;
  const Acc* data;
  at::IntArrayRef step;  // strides of x (N, inputs_y, inputs_x, C)
  int64_t pitch;
  AlignedBuffer<Acc> lines;  // (taps_y, in, pitch)

  PlanarInput(const SubpixelShape& p, const at::Tensor& x)
      : p(p),
        data(x.const_data_ptr<Acc>()),
        step(x.strides()),
        pitch(whole(whole(p.x.count) + p.x.taps - 1)),
        lines(p.y.taps * p.in * pitch) {}

  static int64_t whole(int64_t n) { return Panels<Acc>{1, n}.width(); }

  void read(int64_t g, int64_t image, int64_t q) {
    for (int64_t i = 0; i < p.y.taps * p.in; ++i) {
      Acc* __restrict__ to = lines.data() + i * pitch;
      const Acc* __restrict__ from = data + image * step[0] + (q + i / p.in) * step[1] +
                                     (g * p.in + i % p.in) * step[3];
      const int64_t step_x = step[2];
      for (int64_t j = 0; j < p.x.inputs(); ++j) to[j] = from[j * step_x];
    }
  }
};

// Filters as operand A: (group, stride_y, row_size, taps_y, in, taps_x) for the forward product
// or (group, taps_y, in, stride_y, row_size, taps_x) for the input's gradient
template <typename Acc>
std::vector<Acc> pack_planar(const SubpixelShape& p, const at::Tensor& filters, bool gradient) {
  const FilterView<Acc> from{filters.const_data_ptr<Acc>(), filters.strides().data(), p.out,
                             p.x.stride};
  const int64_t reads = p.y.taps * p.in, writes = p.y.stride * p.row_size();
  std::vector<Acc> to(p.group * reads * writes * p.x.taps);
  for (int64_t i = 0; i < p.group * reads * writes; ++i) {
    const int64_t g = i / (reads * writes), rest = i % (reads * writes);
    const int64_t read = gradient ? rest / writes : rest % reads;
    const int64_t write = gradient ? rest % writes : rest / reads;
    const int64_t c = write % p.row_size() / p.x.stride, x = write % p.x.stride;
    for (int64_t t = 0; t < p.x.taps; ++t)
      to[i * p.x.taps + t] =
          from.at(g, p.y.taps - 1 - read / p.in, gradient ? t : p.x.taps - 1 - t, read % p.in,
                  write / p.row_size())[c * from.step[5] + x * from.step[6]];
  }
  return to;
}

template <typename T, typename Acc>
void planar_forward(const SubpixelShape& p, const at::Tensor& x, const at::Tensor& filters,
                    const at::Tensor& bias, const at::Tensor& result) {
  const at::Tensor planar = x.stride(2) == 1 ? x : relayout<Acc>(x, true);
  const std::vector<Acc> packed_filters = pack_planar<Acc>(p, filters, false);
  const int64_t rows = p.y.stride * p.row_size(), lanes = PlanarInput<Acc>::whole(p.x.count);
  const Acc* biases = bias.const_data_ptr<Acc>();
  T* to = result.mutable_data_ptr<T>();
  at::parallel_for(0, p.group * p.block_rows(), 1, [&](int64_t begin, int64_t end) {
    PlanarInput<Acc> input(p, planar);
    AlignedBuffer<Acc> sums(rows * lanes);
    for (int64_t t = begin; t < end; ++t) {
      const int64_t g = t / p.block_rows(), image = t % p.block_rows() / p.y.count,
                    q = t % p.y.count;
      input.read(g, image, q);
      gemm(Gemm<Acc>{.m = rows,
                     .n = lanes,
                     .k_outer = p.y.taps * p.in,
                     .k_inner = p.x.taps,
                     .a = packed_filters.data() + g * rows * p.patch_size(),
                     .a_row = p.patch_size(),
                     .a_outer = p.x.taps,
                     .a_inner = 1,
                     .b = input.lines.data(),
                     .b_panel = kPanel<Acc>,
                     .b_outer = input.pitch,
                     .b_inner = 1,
                     .c = sums.data(),
                     .c_row = lanes,
                     .accumulate = false});
      for (int64_t r = 0; r < p.y.stride; ++r)
        if (const int64_t y = p.y.output(q, r); p.y.contains(y))
          scatter<true>(p, g, image, y, sums.data() + r * p.row_size() * lanes, lanes,
                        biases + g * p.row_size(), to);
    }
  });
}

template <typename T, typename Acc>
void planar_input_gradient(const SubpixelShape& p, const at::Tensor& grad,
                           const at::Tensor& filters, const at::Tensor& result) {
  const std::vector<Acc> packed_filters = pack_planar<Acc>(p, filters, true);
  const int64_t rows = p.y.taps * p.in, depth = p.y.stride * p.row_size();
  const int64_t lanes = PlanarInput<Acc>::whole(p.x.inputs());
  const int64_t pitch = PlanarInput<Acc>::whole(lanes + p.x.taps - 1);
  const at::Tensor sums = at::empty({p.group, p.block_rows(), rows, lanes}, filters.options());
  Acc* partial = sums.mutable_data_ptr<Acc>();
  const at::Tensor top = dense_gradient<T>(p, grad);
  const T* from = top.const_data_ptr<T>();
  at::parallel_for(0, p.group * p.block_rows(), 1, [&](int64_t begin, int64_t end) {
    AlignedBuffer<Acc> blocks(depth * pitch);  // with zeros on either side
    for (int64_t t = begin; t < end; ++t) {
      const int64_t g = t / p.block_rows(), image = t % p.block_rows() / p.y.count,
                    q = t % p.y.count;
      for (int64_t r = 0; r < p.y.stride; ++r) {
        Acc* line = blocks.data() + r * p.row_size() * pitch;
        const int64_t y = p.y.output(q, r);
        if (p.y.contains(y))
          gather<true>(p, g, image, y, from, line + p.x.taps - 1, pitch);
        else
          std::fill_n(line, p.row_size() * pitch, Acc(0));
      }
      gemm(Gemm<Acc>{.m = rows,
                     .n = lanes,
                     .k_outer = depth,
                     .k_inner = p.x.taps,
                     .a = packed_filters.data() + g * rows * depth * p.x.taps,
                     .a_row = depth * p.x.taps,
                     .a_outer = p.x.taps,
                     .a_inner = 1,
                     .b = blocks.data(),
                     .b_panel = kPanel<Acc>,
                     .b_outer = pitch,
                     .b_inner = 1,
                     .c = partial + t * rows * lanes,
                     .c_row = lanes,
                     .accumulate = false});
    }
  });
  col2im(p, partial, rows * lanes, 1, lanes, result);
}

// sums (in, taps_x, row_size) of vectors += gradient * input along a row of blocks, for one
// tap along y
template <typename Acc>
FCN_CLONES void accumulate_products(const SubpixelShape& p, const Acc* input, int64_t pitch,
                                    const Acc* blocks, int64_t lanes, Acc* sums) {
  constexpr int64_t lane = Lanes<Acc>::count;
  for (int64_t k = 0; k < p.in; ++k)
    for (int64_t t = 0; t < p.x.taps; ++t)
      for (int64_t m = 0; m < p.row_size(); ++m, sums += lane) {
        const Acc *a = input + k * pitch + t, *b = blocks + m * lanes;
        VecOf<Acc> sum = load(sums);
        for (int64_t j = 0; j < lanes; j += lane) sum += load(a + j) * load(b + j);
        store(sums, sum);
      }
}

// The part of some rows of blocks in the gradient of one group's filters: (stride_y, patch, pitch)
template <typename T, typename Acc>
void planar_part(const SubpixelShape& p, int64_t g, Range block_rows, PlanarInput<Acc>& input,
                 const T* grad, AlignedBuffer<Acc>& blocks, Acc* part) {
  constexpr int64_t lane = Lanes<Acc>::count;
  const int64_t lanes = PlanarInput<Acc>::whole(p.x.count),
                pitch = PlanarInput<Acc>::whole(p.row_size());
  const int64_t each = p.in * p.x.taps * p.row_size();
  AlignedBuffer<Acc> sums(p.y.stride * p.y.taps * each * lane);
  for (int64_t b = block_rows.begin; b < block_rows.end; ++b) {
    const int64_t image = b / p.y.count, q = b % p.y.count;
    input.read(g, image, q);
    for (int64_t r = 0; r < p.y.stride; ++r) {
      if (!p.y.contains(p.y.output(q, r))) continue;
      gather<true>(p, g, image, p.y.output(q, r), grad, blocks.data(), lanes);
      for (int64_t a = 0; a < p.y.taps; ++a)
        accumulate_products(p, input.lines.data() + a * p.in * input.pitch, input.pitch,
                            blocks.data(), lanes, sums.data() + (r * p.y.taps + a) * each * lane);
    }
  }
  const Acc* from = sums.data();
  for (int64_t i = 0; i < p.y.stride * p.y.taps * p.in * p.x.taps; ++i) {
    const int64_t a = i / p.x.taps / p.in, k = i / p.x.taps % p.in, t = i % p.x.taps;
    for (int64_t m = 0; m < p.row_size(); ++m, from += lane) {
      Acc sum = 0;
      for (int64_t l = 0; l < lane; ++l) sum += from[l];
      part[((a * p.x.taps + t) * p.in + k) * pitch + m] = sum;
    }
  }
}

template <typename T, typename Acc>
void planar_filter_gradient(const SubpixelShape& p, const at::Tensor& grad, const at::Tensor& x,
                            const at::Tensor& result) {
  const at::Tensor planar = x.stride(2) == 1 ? x : relayout<Acc>(x, true);
  const int64_t block_rows = p.block_rows(), lanes = PlanarInput<Acc>::whole(p.x.count);
  const int64_t max_parts = std::clamp<int64_t>(kMaxParts / p.group, 1, block_rows);
  const int64_t each = (block_rows + max_parts - 1) / max_parts,
                count = (block_rows + each - 1) / each;
  const at::Tensor parts = at::empty(
      {count, p.phase_rows(), p.patch_size(), PlanarInput<Acc>::whole(p.row_size())}, x.options());
  const int64_t size = parts.numel() / (count * p.group);
  Acc* to = parts.mutable_data_ptr<Acc>();
  const at::Tensor top = dense_gradient<T>(p, grad);
  const T* from = top.const_data_ptr<T>();
  at::parallel_for(0, count * p.group, 1, [&](int64_t begin, int64_t end) {
    PlanarInput<Acc> input(p, planar);
    AlignedBuffer<Acc> blocks(p.row_size() * lanes);
    for (int64_t t = begin; t < end; ++t) {
      const int64_t part_index = t / p.group;
      planar_part(p, t % p.group,
                  {part_index * each, std::min(block_rows, (part_index + 1) * each)}, input, from,
                  blocks, to + t * size);
    }
  });
  reduce_parts<Acc>(p, parts, result);
}

}  // namespace fcn
