// Upsample + crop + argmax over the classes on the CPU: for each vector of pixels the running
// maximum and its class stay in registers (score_tile.h). A second pass sums exponentials for the
// probability of the winner, where it is with_probability.
#include "../../argmax.h"

#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include "../../epilogue.h"
#include "score_tile.h"

namespace fcn {
namespace {

template <typename Acc>
struct BestClasses {
  AlignedBuffer<typename Lanes<Acc>::Int> index;  // (phase, lane)
  AlignedBuffer<Acc> probability;                 // likewise, empty if not with_probability

  BestClasses(const Tiling& t, bool with_probability)
      : index(t.x.stride * t.lanes), probability(with_probability ? t.x.stride * t.lanes : 0) {}
};

template <bool pairs, bool finite, typename Acc>
FCN_CLONES void find_best(const Acc* blended, const Acc* taps, const Tiling& t, int64_t classes,
                          typename Lanes<Acc>::Int* index, Acc* probability) {
  using V = VecOf<Acc>;
  using I = IntsOf<Acc>;
  for (int64_t lane = 0; lane < t.lanes; lane += Lanes<Acc>::count) {
    for_phases<8>(t.x.stride, [&](int64_t phase, auto count) __attribute__((always_inline)) {
      constexpr int n = decltype(count)::value;
      V scores[n];
      Best<V, I> best[n];
      scores_of<n, pairs>(blended + lane, taps, t, phase, scores);
      for (int p = 0; p < n; ++p) best[p].init(scores[p], I{});
      I at{};
      for (int64_t c = 1; c < classes; ++c) {
        at += 1;
        scores_of<n, pairs>(blended + c * t.class_pitch + lane, taps, t, phase, scores);
        for (int p = 0; p < n; ++p)
          finite ? best[p].update_number(scores[p], at) : best[p].update(scores[p], at);
      }
      for (int p = 0; p < n; ++p) store(index + (phase + p) * t.lanes + lane, best[p].index);
      if (probability == nullptr) return;
      V sum[n] = {};
      for (int64_t c = 0; c < classes; ++c) {
        scores_of<n, pairs>(blended + c * t.class_pitch + lane, taps, t, phase, scores);
        for (int p = 0; p < n; ++p) sum[p] += exp_lanes(scores[p] - best[p].value);
      }
      for (int p = 0; p < n; ++p)
        store(probability + (phase + p) * t.lanes + lane, Acc(1) / sum[p]);
    });
  }
}

// Reorder (phase, lane) to a row of outputs through `blocks`, which starts at phase 0
template <typename From, typename To>
void write_lanes(const From* values, const Tiling& t, int64_t row, To* blocks, To* out) {
  from_lanes(values + row * t.row_pitch, t, blocks);
  std::copy_n(blocks + t.first.phase, t.x.out, out);
}

template <typename Acc, typename Label>
void argmax_tiles(const Argmax& op, const Tiling& t, int64_t begin, int64_t end) {
  const Scores& s = op.scores;
  ScoreTile<Acc> tile(s, t);
  BestClasses<Acc> best_classes(t, op.with_probability);
  std::vector<Label> labels(t.blocks * t.x.stride);
  std::vector<float> probabilities(op.with_probability ? labels.size() : 0);
  const int64_t tiles = t.tiles(), plane = t.y.out * t.x.out;
  for (int64_t at = begin; at < end; ++at) {
    const int64_t n = at / tiles;
    const Span rows = t.rows_of(at % tiles);
    tile.fill(s.x.template const_data_ptr<Acc>() + n * s.classes * t.y.in * t.x.in,
              rows.begin, rows.end - rows.begin);
    const bool pairs = t.taps == 2 && (tile.finite || t.x.k == 2 * t.x.stride);
    const auto find = pairs ? (tile.finite ? find_best<true, true, Acc> : find_best<true, false, Acc>)
                            : (tile.finite ? find_best<false, true, Acc>
                                           : find_best<false, false, Acc>);
    find(tile.blended.data(), tile.taps.data(), t, s.classes, best_classes.index.data(),
         best_classes.probability.data());
    for (int64_t y = rows.begin, r = 0; y < rows.end; ++y, ++r) {
      const int64_t row = n * plane + y * t.x.out;
      write_lanes(best_classes.index.data(), t, r, labels.data(),
                  op.labels.mutable_data_ptr<Label>() + row);
      if (op.with_probability)
        write_lanes(best_classes.probability.data(), t, r, probabilities.data(),
                    op.probability.mutable_data_ptr<float>() + row);
    }
  }
}

std::tuple<at::Tensor, at::Tensor> argmax_cpu(
    const at::Tensor& x, const at::Tensor& taps_y, const at::Tensor& taps_x,
    at::IntArrayRef stride, at::IntArrayRef pad, at::IntArrayRef offset, at::IntArrayRef size,
    at::ScalarType dtype, bool probability) {
  const Argmax op = prepare_argmax(x, taps_y, taps_x, stride, pad, offset, size, dtype,
                                   probability);
  const Scores& s = op.scores;
  if (op.labels.numel() == 0) return {op.labels, op.probability};
  AT_DISPATCH_FLOATING_TYPES(s.x.scalar_type(), "upcrop_argmax", [&] {
    const Tiling t(s.y, s.x_axis, Lanes<scalar_t>::count);
    const int64_t work = t.lanes * t.x.stride * s.classes;
    at::parallel_for(0, s.batch * t.tiles(), std::max<int64_t>(1, 32768 / work),
                     [&](int64_t b, int64_t e) {
      dtype == at::kByte ? argmax_tiles<scalar_t, uint8_t>(op, t, b, e)
                         : argmax_tiles<scalar_t, int64_t>(op, t, b, e);
    });
  });
  return {op.labels, op.probability};
}

}  // namespace

TORCH_LIBRARY_IMPL(fcn_repro, CPU, m) { m.impl("upcrop_argmax", argmax_cpu); }

}  // namespace fcn
