// The fused op on the CPU: threads share the rows to write, so nothing is written twice.
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

constexpr int64_t kGrain = 32768;  // multiplications that are worth a thread

// Rows that make a thread worth starting; one row is `work` multiplications, at least one
int64_t grain(int64_t work) { return std::max<int64_t>(1, kGrain / work); }

// Input rows as wide as the output, kept while the output rows walk past them
template <typename T, typename Acc>
struct Ring {
  const Upcrop& op;
  const Place first = place(op.x, 0);
  const int64_t blocks = (first.phase + op.x.out - 1) / op.x.stride + 1;  // between two inputs
  const int64_t width = op.x.out * op.inner, pitch = blocks * op.x.stride * op.inner + kSlack;
  const int64_t slots = (op.y.k + op.y.stride - 1) / op.y.stride;
  const Acc* taps = op.taps_x.template const_data_ptr<Acc>();
  std::vector<Acc> rows = std::vector<Acc>(slots * pitch);
  std::vector<int64_t> held = std::vector<int64_t>(slots, -1);
  std::vector<Acc> none = std::vector<Acc>(width);   // a row beside the input
  std::vector<Acc> narrow = std::vector<Acc>(        // with zeros on either side
      (std::max(op.x.in, first.i + blocks) + 1) * op.inner + kSlack);

  const Acc* row(int64_t plane, int64_t i) {
    if (i < 0 || i >= op.y.in) return none.data();
    const int64_t wanted = plane * op.y.in + i, slot = i % slots;
    Acc* wide = rows.data() + slot * pitch;
    const bool pairs = op.x.k == 2 * op.x.stride;
    if (held[slot] != wanted) {
      const T* row = op.source.template const_data_ptr<T>() + wanted * op.x.in * op.inner;
      pairs ? widen_pairs(row, wide) : expand(row, taps, op.x, op.inner, wide);
      held[slot] = wanted;
    }
    return wide + pairs * first.phase * op.inner;
  }

  void widen_pairs(const T* row, Acc* wide) {
    const int64_t inner = op.inner;
    for (int64_t i = 0; i < op.x.in * inner; ++i) narrow[inner + i] = static_cast<Acc>(row[i]);
    const Acc* before = narrow.data() + first.i * inner;
    inner == 1 ? expand_pairs(before, taps, op.x.stride, blocks, wide)
               : expand_cells(before, taps, op.x.stride, blocks, inner, wide);
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

// Kernels of two strides: the rows of outputs between two rows of inputs are written together
template <typename T, typename Acc>
void forward_pairs(const Upcrop& op, int64_t begin, int64_t end) {
  Ring<T, Acc> ring{op};
  const Acc* taps = op.taps_y.const_data_ptr<Acc>();
  T* result = op.result.mutable_data_ptr<T>();
  for (int64_t r = begin, n; r < end; r += n) {
    const int64_t plane = r / op.y.out, y = r % op.y.out;
    const Place at = place(op.y, y);
    n = std::min({end - r, op.y.out - y, op.y.stride - at.phase});
    const Between<Acc> rows{ring.row(plane, at.i), ring.row(plane, at.i - 1), taps + at.phase,
                            taps + at.phase + op.y.stride, ring.width};
    if (const T* skip = skip_row<T>(op, plane, y))
      rows.write_sums(n, skip, op.skip.width * op.inner, result + r * ring.width);
    else
      rows.write(n, ring.width, result + r * ring.width);
  }
}

// Any kernel, row by row
template <typename T, typename Acc>
void forward_rows(const Upcrop& op, int64_t begin, int64_t end) {
  Ring<T, Acc> ring{op};
  std::vector<const Acc*> rows(ring.slots);
  std::vector<Acc> weights(ring.slots), sum(ring.width);
  const Acc* taps = op.taps_y.const_data_ptr<Acc>();
  T* result = op.result.mutable_data_ptr<T>() + begin * ring.width;
  for (int64_t r = begin; r < end; ++r, result += ring.width) {
    const int64_t plane = r / op.y.out, y = r % op.y.out;
    const Span from = sources(op.y, y);
    for (int64_t i = from.begin; i < from.end; ++i) {
      rows[i - from.begin] = ring.row(plane, i);
      weights[i - from.begin] = taps[tap(op.y, y, i)];
    }
    blend(rows.data(), weights.data(), from.end - from.begin, ring.width, sum.data());
    if (const T* skip = skip_row<T>(op, plane, y)) add_row(skip, ring.width, sum.data());
    for (int64_t c = 0; c < ring.width; ++c) result[c] = static_cast<T>(sum[c]);
  }
}

// A row of gradients of the output, back to the input's width
template <typename T, typename Acc>
struct Narrowing {
  const Upcrop& op;
  const Place first = place(op.x, 0);
  const int64_t stride = op.x.stride, blocks = (first.phase + op.x.out - 1) / stride + 1;
  const bool pairs = op.inner == 1 && op.x.k == 2 * stride;
  const Acc* taps = op.taps_x.template const_data_ptr<Acc>();
  std::vector<Acc> values =  // of pairs whole blocks, and one of zeros on either side
      std::vector<Acc>(pairs ? (blocks + 2) * stride : op.x.out * op.inner);
  std::vector<Acc> scratch = std::vector<Acc>(pairs ? values.size() : op.inner);

  Acc* wide() { return values.data() + (pairs ? stride + first.phase : 0); }

  void write(T* row) {
    if (!pairs) return contract(wide(), taps, op.x, op.inner, scratch.data(), row);
    const int64_t begin = std::clamp<int64_t>(first.i - 1, 0, op.x.in);  // others feed nothing
    const int64_t end = std::clamp<int64_t>(first.i + blocks, begin, op.x.in);
    std::fill(row, row + begin, T(0));
    contract_pairs(values.data() + (begin - first.i + 1) * stride, taps, stride, end - begin,
                   scratch.data(), row + begin);
    std::fill(row + end, row + op.x.in, T(0));
  }
};

template <typename T, typename Acc>
void backward_rows(const Upcrop& op, int64_t begin, int64_t end) {
  Narrowing<T, Acc> narrowing{op};
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
    blend(rows.data(), taps + tap(op.y, from.begin, i), from.end - from.begin, width,
          narrowing.wide());
    narrowing.write(result + r * op.x.in * op.inner);
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
