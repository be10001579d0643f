// Schemas and argument checks of the repetition of border cells, and what serves all devices that
// have no kernel: copies and sums of blocks.
#include "border.h"

#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <vector>

#include "counts.h"
#include "dense.h"

TORCH_LIBRARY_FRAGMENT(fcn_repro, m) {
  m.def("repeat_border(Tensor x, int[3] rows, int[3] columns) -> Tensor");
  m.def("repeat_border_backward(Tensor grad, int[3] rows, int[3] columns) -> Tensor");
}

namespace fcn {
namespace {

// cells: of the bottom, or of the top if `backward`
Border check_border(const char* op, const char* name, int64_t cells, at::IntArrayRef setting,
                    bool backward) {
  TORCH_CHECK_VALUE(setting.size() == 3, op, ": ", name, " has ", setting.size(),
                    " numbers, expected 3 (start, end, count).");
  for (const int64_t number : setting)
    TORCH_CHECK_VALUE(number >= 0 && number <= kMaxSize, op, ": ", name, " is ", setting,
                      ", expected numbers from 0 to ", kMaxSize, ".");
  const int64_t start = setting[0], end = setting[1], count = setting[2];
  const int64_t bottom = backward ? cells - 2 * count : cells, top = bottom + 2 * count;
  TORCH_CHECK_VALUE(count == 0 || start + end + 2 <= bottom, op, ": the bottom has ", bottom,
                    " ", name, ", but number ", start, " and the one ", end,
                    " before the last are repeated. Lower start and end.");
  TORCH_CHECK_VALUE(top <= kMaxSize, op, ": the top has ", top, " ", name, ", expected at most ",
                    kMaxSize, ". Lower the count.");
  return Border{.bottom = static_cast<int>(bottom),
                .start = static_cast<int>(count ? start : 0),
                .last = static_cast<int>(count ? bottom - 1 - end : 0),
                .count = static_cast<int>(count)};
}

RepeatBorder prepare(const char* op, const char* name, const at::Tensor& source,
                     at::IntArrayRef rows, at::IntArrayRef columns, bool backward) {
  check_blob(op, name, source);
  const Border y = check_border(op, "rows", source.size(2), rows, backward);
  const Border x = check_border(op, "columns", source.size(3), columns, backward);
  const int64_t n = source.size(0), c = source.size(1);
  check_product(op, {n, c, y.top(), x.top()});
  const auto format = format_of(source);
  const bool last = format == at::MemoryFormat::ChannelsLast;
  return RepeatBorder{
      .source = source,
      .result = at::empty({n, c, backward ? y.bottom : y.top(), backward ? x.bottom : x.top()},
                          source.options().memory_format(format)),
      .format = format,
      .rows = y,
      .columns = x,
      .planes = last ? n : n * c,
      .inner = last ? c : 1};
}

// Cells [at, at + size) of an axis of the top, and those of the bottom that they copy: as many, or
// one
struct Piece {
  int64_t top, top_size, bottom, bottom_size;
};

// Pieces that cover an axis in both
std::vector<Piece> pieces_of(const Border& b) {
  if (b.count == 0) return {{0, b.bottom, 0, b.bottom}};
  const int64_t cuts[] = {0, b.start, b.start + 1, b.last, b.last + 1, b.bottom};
  std::vector<Piece> pieces;
  int64_t at = 0;
  for (int i = 0; i < 5; ++i) {
    const int64_t size = cuts[i + 1] - cuts[i], copies = size + (i % 2 ? b.count : 0);
    if (size) pieces.push_back({at, copies, cuts[i], size});
    at += copies;
  }
  return pieces;
}

at::Tensor part(const at::Tensor& tensor, int64_t y, int64_t height, int64_t x, int64_t width) {
  return tensor.narrow(2, y, height).narrow(3, x, width);
}

at::Tensor repeat_border(const at::Tensor& x, at::IntArrayRef rows, at::IntArrayRef columns) {
  const RepeatBorder op = prepare_border(x, rows, columns);
  for (const Piece& y : pieces_of(op.rows))
    for (const Piece& x : pieces_of(op.columns))
      part(op.result, y.top, y.top_size, x.top, x.top_size)
          .copy_(part(op.source, y.bottom, y.bottom_size, x.bottom, x.bottom_size));
  return op.result;
}

at::Tensor repeat_border_backward(const at::Tensor& grad, at::IntArrayRef rows,
                                  at::IntArrayRef columns) {
  const RepeatBorder op = prepare_border_backward(grad, rows, columns);
  for (const Piece& y : pieces_of(op.rows))
    for (const Piece& x : pieces_of(op.columns)) {
      const at::Tensor block = part(op.source, y.top, y.top_size, x.top, x.top_size);
      std::vector<int64_t> many;
      if (y.top_size != y.bottom_size) many.push_back(2);
      if (x.top_size != x.bottom_size) many.push_back(3);
      part(op.result, y.bottom, y.bottom_size, x.bottom, x.bottom_size)
          .copy_(many.empty() ? block : block.sum(many, true));
    }
  return op.result;
}

}  // namespace

RepeatBorder prepare_border(const at::Tensor& x, at::IntArrayRef rows, at::IntArrayRef columns) {
  return prepare("repeat_border", "x", x, rows, columns, false);
}

RepeatBorder prepare_border_backward(const at::Tensor& grad, at::IntArrayRef rows,
                                     at::IntArrayRef columns) {
  return prepare("repeat_border_backward", "grad", grad, rows, columns, true);
}

TORCH_LIBRARY_IMPL(fcn_repro, CompositeExplicitAutograd, m) {
  m.impl("repeat_border", repeat_border);
  m.impl("repeat_border_backward", repeat_border_backward);
}

}  // namespace fcn
