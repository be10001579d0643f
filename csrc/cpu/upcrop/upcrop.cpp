// Bilinear deconvolution (any separable kernel, the same for all channels) and crop on the CPU:
//
//   out[n, c, y, x] = sum over i, j of in[n, c, i, j] * taps_y[u - i * s_y] * taps_x[v - j * s_x]
//   with u = y + offset_y + pad_y and v = x + offset_x + pad_x (upcrop_math.h)
//
// optionally plus a window of a skip tensor. Both passes are gathers: threads share the rows to
// write, so nothing is written twice and the result does not depend on their number. Forward
// upsamples an input row horizontally once, keeps the few such rows that an output row needs in a
// ring buffer (RowCache), and blends them vertically. Backward blends the output rows that an
// input row feeds and contracts the result horizontally. Planar tensors are processed as N * C
// planes with inner = 1, channels-last ones as N planes of pixels with inner = C interleaved
// channels.
#include "../../upcrop.h"

#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>
#include <vector>

#include "row_pair.h"
#include "row_kernels.h"

namespace fcn {
namespace {

constexpr int64_t kGrain = 32768;  // multiplications per task at least

// Rows per task, for rows of `work` multiplications
int64_t grain(int64_t work) { return std::max<int64_t>(1, kGrain / work); }

// Ring buffer of horizontally upsampled input rows, as many as one output row reads
template <typename T, typename Acc>
struct RowCache {
  const Upcrop& op;
  const Subpixel first = subpixel(op.x, 0);
  const int64_t blocks = (first.phase + op.x.out - 1) / op.x.stride + 1;  // of one stride
  const bool pairs = op.x.k == 2 * op.x.stride;  // rows are then written in whole blocks
  const int64_t width = op.x.out * op.inner;
  const int64_t pitch = (pairs ? blocks * op.x.stride * op.inner : width) + kSlack;
  const int64_t slots = (op.y.k + op.y.stride - 1) / op.y.stride;
  const Acc* taps = op.taps_x.template const_data_ptr<Acc>();
  std::vector<Acc> rows = std::vector<Acc>(slots * pitch);
  std::vector<int64_t> cached = std::vector<int64_t>(slots, -1);
  std::vector<Acc> zeros = std::vector<Acc>(width);  // a row outside the input
  std::vector<Acc> padded = std::vector<Acc>(        // an input row with zeros on either side
      (std::max(op.x.in, first.i + blocks) + 1) * op.inner + kSlack);

  const Acc* row(int64_t plane, int64_t i) {
    if (i < 0 || i >= op.y.in) return zeros.data();
    const int64_t index = plane * op.y.in + i, slot = i % slots;
    Acc* wide = rows.data() + slot * pitch;
    if (cached[slot] != index) {
      const T* row = op.source.template const_data_ptr<T>() + index * op.x.in * op.inner;
      pairs ? expand_two_taps(row, wide) : expand(row, taps, op.x, op.inner, wide);
      cached[slot] = index;
    }
    return wide + pairs * first.phase * op.inner;
  }

  void expand_two_taps(const T* row, Acc* wide) {
    const int64_t inner = op.inner;
    for (int64_t i = 0; i < op.x.in * inner; ++i) padded[inner + i] = static_cast<Acc>(row[i]);
    const Acc* before = padded.data() + first.i * inner;
    inner == 1 ? expand_pairs(before, taps, op.x.stride, blocks, wide)
               : expand_pairs_interleaved(before, taps, op.x.stride, blocks, inner, wide);
  }
};

// The skip's window in row y of a plane, or nullptr
template <typename T>
const T* skip_row(const Upcrop& op, int64_t plane, int64_t y) {
  const Skip& skip = op.skip;
  if (!skip.values.defined()) return nullptr;
  const int64_t cell = (plane * skip.height + skip.top + y) * skip.width + skip.left;
  return skip.values.template const_data_ptr<T>() + cell * op.inner;
}

// k = 2 * stride: the output rows between two input rows are written together
template <typename T, typename Acc>
void forward_pairs(const Upcrop& op, int64_t begin, int64_t end) {
  RowCache<T, Acc> cache{op};
  const Acc* taps = op.taps_y.const_data_ptr<Acc>();
  T* result = op.result.mutable_data_ptr<T>();
  for (int64_t r = begin, n; r < end; r += n) {
    const int64_t plane = r / op.y.out, y = r % op.y.out;
    const Subpixel at = subpixel(op.y, y);
    n = std::min({end - r, op.y.out - y, op.y.stride - at.phase});
    const RowPair<Acc> rows{.below = cache.row(plane, at.i),
                            .above = cache.row(plane, at.i - 1),
                            .below_taps = taps + at.phase,
                            .above_taps = taps + at.phase + op.y.stride,
                            .width = cache.width};
    if (const T* skip = skip_row<T>(op, plane, y))
      rows.write_added(n, skip, op.skip.width * op.inner, result + r * cache.width);
    else
      rows.write(n, cache.width, result + r * cache.width);
  }
}

// Any kernel, row by row
template <typename T, typename Acc>
void forward_rows(const Upcrop& op, int64_t begin, int64_t end) {
  RowCache<T, Acc> cache{op};
  std::vector<const Acc*> rows(cache.slots);
  std::vector<Acc> weights(cache.slots), sum(cache.width);
  const Acc* taps = op.taps_y.const_data_ptr<Acc>();
  T* result = op.result.mutable_data_ptr<T>() + begin * cache.width;
  for (int64_t r = begin; r < end; ++r, result += cache.width) {
    const int64_t plane = r / op.y.out, y = r % op.y.out;
    const Span from = sources(op.y, y);
    for (int64_t i = from.begin; i < from.end; ++i) {
      rows[i - from.begin] = cache.row(plane, i);
      weights[i - from.begin] = taps[tap(op.y, y, i)];
    }
    blend(rows.data(), weights.data(), from.end - from.begin, cache.width, sum.data());
    if (const T* skip = skip_row<T>(op, plane, y)) add_row(skip, cache.width, sum.data());
    for (int64_t c = 0; c < cache.width; ++c) result[c] = static_cast<T>(sum[c]);
  }
}

// Horizontal backward pass: a row of the output's gradient to the input's width
template <typename T, typename Acc>
struct RowContraction {
  const Upcrop& op;
  const Subpixel first = subpixel(op.x, 0);
  const int64_t stride = op.x.stride, blocks = (first.phase + op.x.out - 1) / stride + 1;
  const bool pairs = op.inner == 1 && op.x.k == 2 * stride;
  const Acc* taps = op.taps_x.template const_data_ptr<Acc>();
  std::vector<Acc> values =  // for pairs in whole blocks, with a block of zeros on either side
      std::vector<Acc>(pairs ? (blocks + 2) * stride : op.x.out * op.inner);
  std::vector<Acc> scratch = std::vector<Acc>(pairs ? values.size() : op.inner);

  Acc* wide() { return values.data() + (pairs ? stride + first.phase : 0); }

  void write(T* row) {
    if (!pairs) return contract(wide(), taps, op.x, op.inner, scratch.data(), row);
    const int64_t begin =
        std::clamp<int64_t>(first.i - 1, 0, op.x.in);  // other inputs feed no output
    const int64_t end = std::clamp<int64_t>(first.i + blocks, begin, op.x.in);
    std::fill(row, row + begin, T(0));
    contract_pairs(values.data() + (begin - first.i + 1) * stride, taps, stride, end - begin,
                   scratch.data(), row + begin);
    std::fill(row + end, row + op.x.in, T(0));
  }
};

template <typename T, typename Acc>
void backward_rows(const Upcrop& op, int64_t begin, int64_t end) {
  RowContraction<T, Acc> row{op};
  const int64_t width = op.x.out * op.inner;
  std::vector<const T*> rows(op.y.k);
  const Acc* taps = op.taps_y.const_data_ptr<Acc>();
  const T* grad = op.source.const_data_ptr<T>();
  T* result = op.result.mutable_data_ptr<T>();
  for (int64_t r = begin; r < end; ++r) {
    const int64_t plane = r / op.y.in, i = r % op.y.in;
    const Span from = targets(op.y, i);
    for (int64_t y = from.begin; y < from.end; ++y)
      rows[y - from.begin] = grad + (plane * op.y.out + y) * width;
    blend(rows.data(), taps + tap(op.y, from.begin, i), from.end - from.begin, width, row.wide());
    row.write(result + r * op.x.in * op.inner);
  }
}

at::Tensor run_forward(const Upcrop& op) {
  if (op.result.numel() == 0) return op.result;
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, op.source.scalar_type(), "upcrop", [&] {
    using Acc = at::opmath_type<scalar_t>;
    at::parallel_for(0, op.planes * op.y.out, grain(op.x.out * op.inner),
                     [&](int64_t b, int64_t e) {
      op.y.k == 2 * op.y.stride ? forward_pairs<scalar_t, Acc>(op, b, e)
                                : forward_rows<scalar_t, Acc>(op, b, e);
    });
  });
  return op.result;
}

at::Tensor upcrop_cpu(const at::Tensor& x, const at::Tensor& taps_y, const at::Tensor& taps_x,
                      at::IntArrayRef stride, at::IntArrayRef pad, at::IntArrayRef offset,
                      at::IntArrayRef size) {
  return run_forward(prepare_forward(x, taps_y, taps_x, stride, pad, offset, size));
}

at::Tensor upcrop_add_cpu(const at::Tensor& x, const at::Tensor& taps_y, const at::Tensor& taps_x,
                          at::IntArrayRef stride, at::IntArrayRef pad, at::IntArrayRef offset,
                          at::IntArrayRef size, const at::Tensor& skip,
                          at::IntArrayRef skip_offset) {
  return run_forward(
      prepare_add(x, taps_y, taps_x, stride, pad, offset, size, skip, skip_offset));
}

at::Tensor upcrop_backward_cpu(const at::Tensor& grad, const at::Tensor& taps_y,
                               const at::Tensor& taps_x, at::IntArrayRef stride,
                               at::IntArrayRef pad, at::IntArrayRef offset,
                               at::IntArrayRef in_size) {
  const Upcrop op = prepare_backward(grad, taps_y, taps_x, stride, pad, offset, in_size);
  if (op.result.numel() == 0) return op.result;
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, grad.scalar_type(), "upcrop_backward",
                                  [&] {
    using Acc = at::opmath_type<scalar_t>;
    at::parallel_for(0, op.planes * op.y.in, grain(op.y.k * op.x.out * op.inner),
                     [&](int64_t b, int64_t e) { backward_rows<scalar_t, Acc>(op, b, e); });
  });
  return op.result;
}

}  // namespace

TORCH_LIBRARY_IMPL(fcn_repro, CPU, m) {
  m.impl("upcrop", upcrop_cpu);
  m.impl("upcrop_add", upcrop_add_cpu);
  m.impl("upcrop_backward", upcrop_backward_cpu);
}

}  // namespace fcn
