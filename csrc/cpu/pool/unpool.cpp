// Unpooling on the CPU: values put back where a max pooling found them, zeros elsewhere.
//
// Of several values for one place the last in the order of the bottom's rows stays. Bands of rows
// run side by side where their places are disjoint and ascend, as behind windows that do not
// overlap; otherwise one thread takes them in turn.
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <vector>

#include "../../counts.h"
#include "../../dense.h"
#include "../common/target.h"

TORCH_LIBRARY_FRAGMENT(fcn_repro, m) {
  m.def("unpool(Tensor x, Tensor mask, SymInt[2] size) -> Tensor");
}

namespace fcn {
namespace {

constexpr int64_t kBand = 32768;  // values of a band, about
constexpr int64_t kMostPlaces = int64_t(1) << 24;  // which float32 counts

struct Ends {
  float low, high;
  bool number;  // no NaN among them
};

FCN_CLONES Ends ends_of(const float* mask, int64_t count) {
  float low = mask[0], high = mask[0];
  int bad = 0;
  for (int64_t i = 0; i < count; ++i) {
    low = mask[i] < low ? mask[i] : low;
    high = mask[i] > high ? mask[i] : high;
    bad |= mask[i] != mask[i];
  }
  return {low, high, bad == 0};
}

// `cells` cells of `inner` values each: top[mask * inner + c] = x
FCN_CLONES void scatter(const float* x, const float* mask, int64_t cells, int64_t inner,
                        float* top) {
  for (int64_t i = 0; i < cells; ++i, x += inner, mask += inner)
    for (int64_t c = 0; c < inner; ++c) top[static_cast<int32_t>(mask[c]) * inner + c] = x[c];
}

at::Tensor unpool(const at::Tensor& x, const at::Tensor& mask, at::IntArrayRef size) {
  constexpr const char* op = "unpool";
  check_tensor(op, "x", x, 4, at::kFloat, at::kCPU);
  check_tensor(op, "mask", mask, 4, at::kFloat, at::kCPU);
  TORCH_CHECK_VALUE(x.sizes() == mask.sizes(), op, ": x is of shape ", x.sizes(), ", mask of ",
                    mask.sizes(), ", expected one shape.");
  check_sizes(op, "x", x.sizes());
  TORCH_CHECK_VALUE(size.size() == 2 && size[0] >= 1 && size[1] >= 1 && size[0] <= kMostPlaces &&
                        size[1] <= kMostPlaces && size[0] * size[1] <= kMostPlaces,
                    op, ": size ", size, ", expected two numbers (y, x) of at least 1, of up to ",
                    kMostPlaces, " places.");
  const int64_t places = size[0] * size[1];
  check_product(op, {x.size(0), x.size(1), places});
  const auto format = format_of(x);
  const bool last = format == at::MemoryFormat::ChannelsLast;
  const at::Tensor values = dense(x, format), index = dense(mask, format);
  const at::Tensor result =
      at::empty({x.size(0), x.size(1), size[0], size[1]}, x.options().memory_format(format));
  const int64_t planes = last ? x.size(0) : x.size(0) * x.size(1), inner = last ? x.size(1) : 1;
  const int64_t cells = x.size(2) * x.size(3);
  if (result.numel() == 0) return result;
  float* top = result.mutable_data_ptr<float>();
  if (cells == 0) {
    std::fill_n(top, result.numel(), 0.0f);
    return result;
  }
  const float *from = values.const_data_ptr<float>(), *at = index.const_data_ptr<float>();
  // bands of a plane, and the first place of each
  const int64_t bands = std::max<int64_t>(1, std::min(x.size(2), cells * inner / kBand));
  const auto first_cell = [&](int64_t band) { return x.size(2) * band / bands * x.size(3); };
  std::vector<Ends> ends(planes * bands);
  at::parallel_for(0, planes * bands, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t cell = first_cell(i % bands), count = first_cell(i % bands + 1) - cell;
      ends[i] = ends_of(at + (i / bands * cells + cell) * inner, count * inner);
    }
  });
  bool ascend = true;
  for (int64_t i = 0; i < planes * bands; ++i) {
    TORCH_CHECK_VALUE(ends[i].number && ends[i].low >= 0 && ends[i].high < places, op,
                      ": a place of the mask is outside the ", places, " of the result.");
    ascend &= i % bands == 0 || ends[i - 1].high < ends[i].low;
  }
  const auto run = [&](int64_t plane, int64_t begin, int64_t end, int64_t low, int64_t high) {
    float* const to = top + plane * places * inner;
    std::fill(to + low * inner, to + high * inner, 0.0f);
    const int64_t cell = first_cell(begin), at_cell = (plane * cells + cell) * inner;
    scatter(from + at_cell, at + at_cell, first_cell(end) - cell, inner, to);
  };
  if (ascend)
    at::parallel_for(0, planes * bands, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t band = i % bands;
        const auto low = band == 0 ? 0 : static_cast<int64_t>(ends[i].low);
        const auto high = band + 1 == bands ? places : static_cast<int64_t>(ends[i + 1].low);
        run(i / bands, band, band + 1, low, high);
      }
    });
  else
    at::parallel_for(0, planes, 1, [&](int64_t begin, int64_t end) {
      for (int64_t plane = begin; plane < end; ++plane) run(plane, 0, bands, 0, places);
    });
  return result;
}

}  // namespace

TORCH_LIBRARY_IMPL(fcn_repro, CPU, m) { m.impl("unpool", unpool); }

}  // namespace fcn
