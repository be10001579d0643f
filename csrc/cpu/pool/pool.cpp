// Max pooling on the CPU, for any windows. Threads share the rows to write.
#include "../../pool.h"

#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>

namespace fcn {
namespace {

constexpr int64_t kGrain = 32768;  // values per task at least

// body(plane, row) for each row of all planes, by tasks of whole rows
template <typename Body>
void for_rows(int64_t planes, int64_t rows, int64_t row_values, const Body& body) {
  const int64_t grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(1, row_values));
  at::parallel_for(0, planes * rows, grain, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) body(row / rows, static_cast<int>(row % rows));
  });
}

template <typename T>
void pool_forward(const Pool& op) {
  using Acc = at::opmath_type<T>;
  const PoolAxis &y = op.y, &x = op.x;
  const T* source = op.source.const_data_ptr<T>();
  T* result = op.result.mutable_data_ptr<T>();
  uint8_t* index = op.index.numel() ? op.index.mutable_data_ptr<uint8_t>() : nullptr;
  for_rows(op.planes, y.out, x.out * op.inner, [&](int64_t plane, int oy) {
    const PoolSpan rows = cells_of(y, oy);
    for (int ox = 0; ox < x.out; ++ox) {
      const PoolSpan columns = cells_of(x, ox);
      for (int64_t c = 0; c < op.inner; ++c) {
        const auto at = [&](int iy, int ix) {
          return source[((plane * y.in + iy) * x.in + ix) * op.inner + c];
        };
        T largest = at(rows.begin, columns.begin);
        int row = rows.begin, column = columns.begin;
        for (int iy = rows.begin; iy < rows.end; ++iy)
          for (int ix = columns.begin; ix < columns.end; ++ix)
            if (exceeds(Acc(at(iy, ix)), Acc(largest)))
              largest = at(iy, ix), row = iy, column = ix;
        const int64_t top = ((plane * y.out + oy) * x.out + ox) * op.inner + c;
        result[top] = largest;
        if (index)
          index[top] = static_cast<uint8_t>((row - first_cell(y, oy)) * x.k + column -
                                            first_cell(x, ox));
      }
    }
  });
}

template <typename T>
void pool_backward(const Pool& op) {
  using Acc = at::opmath_type<T>;
  const PoolAxis &y = op.y, &x = op.x;
  const T* source = op.source.const_data_ptr<T>();
  const uint8_t* index = op.index.const_data_ptr<uint8_t>();
  T* result = op.result.mutable_data_ptr<T>();
  for_rows(op.planes, y.in, x.in * op.inner, [&](int64_t plane, int iy) {
    const PoolSpan rows = windows_of(y, iy);
    for (int ix = 0; ix < x.in; ++ix) {
      const PoolSpan columns = windows_of(x, ix);
      for (int64_t c = 0; c < op.inner; ++c) {
        Acc sum = 0;
        for (int oy = rows.begin; oy < rows.end; ++oy)
          for (int ox = columns.begin; ox < columns.end; ++ox) {
            const int64_t top = ((plane * y.out + oy) * x.out + ox) * op.inner + c;
            if (index[top] == (iy - first_cell(y, oy)) * x.k + ix - first_cell(x, ox))
              sum += Acc(source[top]);
          }
        result[((plane * y.in + iy) * x.in + ix) * op.inner + c] = static_cast<T>(sum);
      }
    }
  });
}

std::tuple<at::Tensor, at::Tensor> max_pool_cpu(const at::Tensor& x, at::IntArrayRef kernel,
                                                at::IntArrayRef stride, at::IntArrayRef pad,
                                                at::IntArrayRef size, bool index) {
  const Pool op = prepare_pool(x, kernel, stride, pad, size, index);
  if (op.result.numel())
    AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, x.scalar_type(), "max_pool",
                                    [&] { pool_forward<scalar_t>(op); });
  return {op.result, op.index};
}

at::Tensor max_pool_backward_cpu(const at::Tensor& grad, const at::Tensor& index,
                                 at::IntArrayRef kernel, at::IntArrayRef stride,
                                 at::IntArrayRef pad, at::IntArrayRef in_size) {
  const Pool op = prepare_pool_backward(grad, index, kernel, stride, pad, in_size);
  if (op.result.numel())
    AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, grad.scalar_type(),
                                    "max_pool_backward", [&] { pool_backward<scalar_t>(op); });
  return op.result;
}

}  // namespace

TORCH_LIBRARY_IMPL(fcn_repro, CPU, m) {
  m.impl("max_pool", max_pool_cpu);
  m.impl("max_pool_backward", max_pool_backward_cpu);
}

}  // namespace fcn
