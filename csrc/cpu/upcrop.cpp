// The fused op on the CPU: threads share the rows to write, so nothing is written twice.
#include "../upcrop.h"

#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>
#include <vector>

#include "rows.h"

namespace fcn {
namespace {

constexpr int64_t kGrain = 32768;  // multiplications that are worth a thread

// Rows that make a thread worth starting; one row is `work` multiplications, at least one
int64_t grain(int64_t work) { return std::max<int64_t>(1, kGrain / work); }

// Expanded input rows, kept while the output rows walk past them
template <typename T, typename Acc>
struct Ring {
  const Upcrop& op;
  int64_t width = op.x.out * op.inner;
  int64_t slots = (op.y.k + op.y.stride - 1) / op.y.stride;
  std::vector<Acc> rows = std::vector<Acc>(slots * width);
  std::vector<int64_t> held = std::vector<int64_t>(slots, -1);

  const Acc* row(int64_t plane, int64_t i) {
    const int64_t wanted = plane * op.y.in + i, slot = i % slots;
    Acc* wide = rows.data() + slot * width;
    if (held[slot] != wanted) {
      const T* narrow = op.source.template const_data_ptr<T>() + wanted * op.x.in * op.inner;
      expand(narrow, op.taps_x.template const_data_ptr<Acc>(), op.x, op.inner, wide);
      held[slot] = wanted;
    }
    return wide;
  }
};

// A row of sums as a row of T; in place when T is the type that sums
template <typename T, typename Acc, typename F>
void write_row(T* row, std::vector<Acc>& scratch, F&& fill) {
  if constexpr (std::is_same_v<T, Acc>) {
    fill(row);
  } else {
    fill(scratch.data());
    for (size_t c = 0; c < scratch.size(); ++c) row[c] = static_cast<T>(scratch[c]);
  }
}

// sum += the skip's window in row y of a plane, if there is a skip
template <typename T, typename Acc>
void add_skip(const Upcrop& op, int64_t plane, int64_t y, Acc* sum) {
  const Skip& skip = op.skip;
  if (!skip.values.defined()) return;
  const int64_t cell = (plane * skip.height + skip.top + y) * skip.width + skip.left;
  const T* row = skip.values.template const_data_ptr<T>() + cell * op.inner;
  add_row(row, op.x.out * op.inner, sum);
}

// Planes of single values: blend while the rows are narrow, then expand once for each output row
template <typename T, typename Acc>
void forward_rows(const Upcrop& op, int64_t begin, int64_t end) {
  const bool pairs = op.x.k == 2 * op.x.stride;
  const Blocks blocks(op.x);
  std::vector<const T*> rows((op.y.k + op.y.stride - 1) / op.y.stride);
  std::vector<Acc> weights(rows.size()), scratch(std::is_same_v<T, Acc> ? 0 : op.x.out);
  std::vector<Acc> narrow(std::max(op.x.in, blocks.first.i + blocks.whole + 1) + 2);
  const Acc* taps_y = op.taps_y.const_data_ptr<Acc>();
  const Acc* taps_x = op.taps_x.const_data_ptr<Acc>();
  const T* plane = op.source.const_data_ptr<T>() + begin / op.y.out * op.y.in * op.x.in;
  T* result = op.result.mutable_data_ptr<T>() + begin * op.x.out;
  int64_t y = begin % op.y.out;
  Place at = place(op.y, y);
  for (int64_t r = begin; r < end; ++r, result += op.x.out) {
    const int64_t count = feeding_rows(op.y, at, plane, op.x.in, taps_y, rows.data(),
                                       weights.data());
    blend(rows.data(), weights.data(), count, op.x.in, narrow.data() + 1);
    write_row(result, scratch, [&](Acc* wide) {
      pairs ? expand_pairs(narrow.data(), taps_x, op.x.stride, blocks, wide)
            : expand(narrow.data() + 1, taps_x, op.x, 1, wide);
      add_skip<T>(op, r / op.y.out, y, wide);
    });
    step(op.y, at);
    if (++y < op.y.out) continue;
    y = 0, at = place(op.y, 0), plane += op.y.in * op.x.in;
  }
}

// Cells of `inner` values: their rows are long enough to blend, so each is expanded only once
template <typename T, typename Acc>
void forward_cells(const Upcrop& op, int64_t begin, int64_t end) {
  Ring<T, Acc> ring{op};
  std::vector<const Acc*> rows(ring.slots);
  std::vector<Acc> weights(ring.slots), scratch(std::is_same_v<T, Acc> ? 0 : ring.width);
  const Acc* taps = op.taps_y.const_data_ptr<Acc>();
  T* result = op.result.mutable_data_ptr<T>();
  for (int64_t r = begin; r < end; ++r) {
    const int64_t plane = r / op.y.out, y = r % op.y.out;
    const Span from = sources(op.y, y);
    for (int64_t i = from.begin; i < from.end; ++i) {
      rows[i - from.begin] = ring.row(plane, i);
      weights[i - from.begin] = taps[tap(op.y, y, i)];
    }
    write_row(result + r * ring.width, scratch, [&](Acc* sum) {
      blend(rows.data(), weights.data(), from.end - from.begin, ring.width, sum);
      add_skip<T>(op, plane, y, sum);
    });
  }
}

template <typename T, typename Acc>
void backward_rows(const Upcrop& op, int64_t begin, int64_t end) {
  const int64_t width = op.x.out * op.inner;
  std::vector<const T*> rows(op.y.k);
  std::vector<Acc> wide(width), sum(op.inner);
  const Acc* taps_y = op.taps_y.const_data_ptr<Acc>();
  const Acc* taps_x = op.taps_x.const_data_ptr<Acc>();
  const T* grad = op.source.const_data_ptr<T>();
  T* result = op.result.mutable_data_ptr<T>();
  for (int64_t r = begin; r < end; ++r) {
    const int64_t plane = r / op.y.in, i = r % op.y.in;
    const Span from = targets(op.y, i);
    for (int64_t y = from.begin; y < from.end; ++y)
      rows[y - from.begin] = grad + (plane * op.y.out + y) * width;
    blend(rows.data(), taps_y + tap(op.y, from.begin, i), from.end - from.begin, width,
          wide.data());
    contract(wide.data(), taps_x, op.x, op.inner, sum.data(), result + r * op.x.in * op.inner);
  }
}

at::Tensor run_forward(const Upcrop& op) {
  if (op.result.numel() == 0) return op.result;
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, op.source.scalar_type(), "upcrop", [&] {
    using Acc = at::opmath_type<scalar_t>;
    at::parallel_for(0, op.planes * op.y.out, grain(op.x.out * op.inner),
                     [&](int64_t b, int64_t e) {
      op.inner == 1 ? forward_rows<scalar_t, Acc>(op, b, e)
                    : forward_cells<scalar_t, Acc>(op, b, e);
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
