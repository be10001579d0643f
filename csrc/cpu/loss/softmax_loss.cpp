// Upsample + crop + softmax loss on the CPU: scores and probabilities stay within a tile
// (loss_tile.h), whose gradient is reduced to the input's resolution before it is written.
//
// An image is split into chunks of input rows, whatever the number of threads. A chunk owns the
// gradient of its input rows; the rows before its first one, to which it contributes as well, go
// to a halo that is added afterwards in a fixed order. So no gradient is written by two threads,
// and loss and gradient have the same bits for any number of them.
#include "../../softmax_loss.h"

#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <cmath>

#include "../../epilogue.h"
#include "loss_tile.h"

namespace fcn {
namespace {

constexpr int64_t kChunks = 16;  // per image

// Destination of a chunk's gradient: its own rows in `grad`, earlier ones in `halo`
template <typename Acc>
struct GradientTarget {
  Acc* grad;      // (C, in, in) of the image
  Acc* halo;      // (sources - 1, C, in), for input rows first - sources + 1 .. first - 1
  int64_t first;  // input row that the chunk owns
  int64_t sources;

  Acc* row(const Axis& y, const Axis& x, int64_t classes, int64_t c, int64_t i) const {
    return i >= first ? grad + (c * y.in + i) * x.in
                      : halo + ((i - first + sources - 1) * classes + c) * x.in;
  }
};

// to += the weighted sum of rows `pitch` apart, in their order
template <typename Acc>
void add_rows(const Acc* row, int64_t pitch, const Acc* weights, int64_t count, int64_t n,
              Acc* to) {
  for (; count >= 4; count -= 4, weights += 4, row += 4 * pitch) {
    const Acc* rows[] = {row, row + pitch, row + 2 * pitch, row + 3 * pitch};
    blend_few<4, true>(rows, weights, n, to);
  }
  for (; count > 0; --count, ++weights, row += pitch) blend_few<1, true>(&row, weights, n, to);
}

// Vertical backward pass: add a tile's rows, times the taps along y, to the input's rows
template <typename Acc>
void scatter_rows(const LossTile<Acc>& tile, const GradientTarget<Acc>& to, int64_t y0,
                  int64_t rows) {
  const Tiling& t = tile.tiling();
  const Axis& y = t.y;
  const int64_t left = t.first.i - (t.taps - 1), skip = std::max<int64_t>(0, -left);
  const int64_t n = std::min(t.x.in, left + t.row_pitch) - (left + skip);
  const Acc* taps = tile.op.scores.taps_y.template const_data_ptr<Acc>();
  const int64_t classes = tile.op.scores.classes;
  for (int64_t r = 0, done; r < rows; r += done) {
    const Subpixel at = subpixel(y, y0 + r);
    done = std::min(rows - r, y.stride - at.phase);
    for (int64_t i = at.i, k = at.phase; i >= 0 && k < y.k; --i, k += y.stride)
      for (int64_t c = 0; i < y.in && c < classes; ++c)
        add_rows(tile.blended_grad(c) + r * t.row_pitch + skip, t.row_pitch, taps + k,
                 std::min(done, y.k - k), n, to.row(y, t.x, classes, c, i) + left + skip);
  }
}

// The loss of the outputs between input rows begin .. end - 1 of image n
template <typename Acc>
Sum loss_chunk(const SoftmaxLoss& op, const Tiling& t, int64_t n, int64_t begin, int64_t end,
               const GradientTarget<Acc>& to) {
  const Scores& s = op.scores;
  LossTile<Acc> tile(op, t);
  Sum sum;
  const Acc* image = s.x.const_data_ptr<Acc>() + n * s.classes * t.y.in * t.x.in;
  const int64_t last = std::min(t.y.out, end * t.y.stride - t.y.shift);
  for (int64_t y = std::max<int64_t>(0, begin * t.y.stride - t.y.shift); y < last; y += t.rows) {
    const int64_t rows = std::min(t.rows, last - y);
    if (!tile.read_labels(n, y, rows, &sum)) continue;
    tile.scores.fill(image, y, rows);
    sum.loss += tile.compute();
    if (op.gradient) scatter_rows(tile, to, y, rows);
  }
  return sum;
}

template <typename Acc>
void loss_images(const SoftmaxLoss& op) {
  const Scores& s = op.scores;
  const Tiling t(s.y, s.x_axis, Lanes<Acc>::count);
  const int64_t first = subpixel(s.y, 0).i, rows = subpixel(s.y, s.y.out - 1).i + 1 - first;
  const int64_t chunks = std::min(kChunks, rows), sources = (s.y.k + s.y.stride - 1) / s.y.stride;
  const int64_t row = s.classes * s.x_axis.in, halo = op.gradient ? (sources - 1) * row : 0;
  const auto start = [=](int64_t chunk) { return first + rows * chunk / chunks; };
  std::vector<Sum> sums(s.batch * chunks);
  std::vector<Acc> halos(sums.size() * halo);
  Acc* grad = op.gradient ? op.grad.mutable_data_ptr<Acc>() : nullptr;
  at::parallel_for(0, static_cast<int64_t>(sums.size()), 1, [&](int64_t b, int64_t e) {
    for (int64_t at = b; at < e; ++at) {
      const int64_t n = at / chunks, chunk = at % chunks;
      const GradientTarget<Acc> to{.grad = grad ? grad + n * row * s.y.in : nullptr,
                                   .halo = halos.data() + at * halo,
                                   .first = start(chunk),
                                   .sources = sources};
      sums[at] = loss_chunk(op, t, n, start(chunk), start(chunk + 1), to);
    }
  });
  const Sum sum = total_of(sums);
  check_labels(op.name, s.classes, op.ignore, sum.bad, sum.example);
  const double norm = normalizer(op.normalization, sum.valid, s.batch, s.y.out * s.x_axis.out);
  *op.loss.mutable_data_ptr<Acc>() = static_cast<Acc>(sum.loss / norm);
  if (!op.gradient) return;
  for (int64_t at = 0; at < static_cast<int64_t>(sums.size()); ++at) {
    const int64_t n = at / chunks, own = start(at % chunks);
    for (int64_t i = std::max<int64_t>(0, own - sources + 1); i < std::min(own, s.y.in); ++i)
      for (int64_t c = 0; c < s.classes; ++c)
        add_row(halos.data() + at * halo + ((i - own + sources - 1) * s.classes + c) * s.x_axis.in,
                s.x_axis.in, grad + n * row * s.y.in + (c * s.y.in + i) * s.x_axis.in);
  }
  op.grad.div_(norm);
}

std::tuple<at::Tensor, at::Tensor> softmax_loss_cpu(
    const at::Tensor& x, const at::Tensor& label, const at::Tensor& taps_y,
    const at::Tensor& taps_x, at::IntArrayRef stride, at::IntArrayRef pad, at::IntArrayRef offset,
    int64_t normalization, std::optional<int64_t> ignore, const std::optional<at::Tensor>& weight,
    const std::optional<at::Tensor>& mask, bool gradient, bool check) {
  const SoftmaxLoss op = prepare_softmax_loss(x, label, taps_y, taps_x, stride, pad, offset,
                                              normalization, ignore, weight, mask, gradient);
  AT_DISPATCH_FLOATING_TYPES(op.scores.x.scalar_type(), "upcrop_softmax_loss",
                             [&] { loss_images<scalar_t>(op); });
  return {op.loss, gradient_like(op, x)};
}

}  // namespace

TORCH_LIBRARY_IMPL(fcn_repro, CPU, m) { m.impl("upcrop_softmax_loss", softmax_loss_cpu); }

}  // namespace fcn
