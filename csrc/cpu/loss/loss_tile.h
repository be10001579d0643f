// Softmax loss of one tile of scores (score_tile.h), and its gradient at the resolution of
// `blended`. Three passes over the classes per vector of pixels: maximum, sum of exponentials,
// gradient. The exponentials of four phases are kept in a scratch buffer in the L1 cache between
// the passes.
#pragma once

#include <limits>

#include "../../epilogue.h"
#include "../../softmax_loss.h"
#include "label_rows.h"
#include "score_tile.h"

namespace fcn {

// Pointers that the loops over a tile read and write
template <typename Acc>
struct LossArgs {
  const Acc *blended, *taps;
  const typename Lanes<Acc>::Int* label;  // (phase, lane), -1 where the pixel is ignored
  const Acc* weight;                      // (phase, lane), or nullptr
  int64_t classes;
  Acc* exps;  // scratch of (class, 4) vectors
  Acc* grad;  // (tap, class, class_pitch), accumulated; nullptr if not wanted
};

// Loss of n phases from `phase` on at one vector of lanes. Writes exp(score - maximum) to
// args.exps, weight / sum of exponentials to `scale` and the pixel's weight, 0 if ignored, to
// `counted`.
template <int n, bool pairs, typename Acc>
FCN_INLINE VecOf<Acc> loss_lanes(const LossArgs<Acc>& args, const Tiling& t, int64_t lane,
                                 int64_t phase, VecOf<Acc>* scale, VecOf<Acc>* counted) {
  using V = VecOf<Acc>;
  using I = IntsOf<Acc>;
  constexpr int64_t size = Lanes<Acc>::count;
  V scores[n], largest[n], label_score[n] = {}, sum[n] = {}, total{};
  I label[n];
  for (int p = 0; p < n; ++p) {
    label[p] = load_ints<Acc>(args.label + (phase + p) * t.lanes + lane);
    largest[p] = broadcast(-std::numeric_limits<Acc>::infinity());
  }
  for (int64_t c = 0; c < args.classes; ++c) {
    scores_of<n, pairs>(args.blended + c * t.class_pitch + lane, args.taps, t, phase, scores);
    for (int p = 0; p < n; ++p) {
      store(args.exps + (c * 4 + p) * size, scores[p]);
      largest[p] = scores[p] > largest[p] ? scores[p] : largest[p];
      label_score[p] = label[p] == broadcast_int<Acc>(c) ? scores[p] : label_score[p];
    }
  }
  for (int64_t c = 0; c < args.classes; ++c)
    for (int p = 0; p < n; ++p) {
      const V e = exp_lanes(load(args.exps + (c * 4 + p) * size) - largest[p]);
      store(args.exps + (c * 4 + p) * size, e);
      sum[p] += e;
    }
  for (int p = 0; p < n; ++p) {
    // bit operations: gcc 12 fails on a comparison here in cloned functions
    const I counts = ~(label[p] >> (8 * static_cast<int>(sizeof(Acc)) - 1));
    counted[p] = reinterpret_cast<V>(reinterpret_cast<I>(broadcast(Acc(1))) & counts);
    if (args.weight) counted[p] *= load(args.weight + (phase + p) * t.lanes + lane);
    const V lost =
        log_probability(label_score[p], largest[p], log_lanes(sum[p]), broadcast(Acc(kLeastLog)));
    total -= reinterpret_cast<V>(reinterpret_cast<I>(lost * counted[p]) & counts);
    scale[p] = counted[p] / sum[p];
  }
  return total;
}

// Accumulate the gradient of n phases with respect to `blended`; pairs as in scores_of. Each tap
// has its label_score accumulators: the neighbouring tap's overlap what was just stored, and the
// load would stall.
template <int n, bool pairs, typename Acc>
FCN_INLINE void gradient_lanes(const LossArgs<Acc>& args, const Tiling& t, int64_t lane,
                               int64_t phase, const VecOf<Acc>* scale, const VecOf<Acc>* counted) {
  using V = VecOf<Acc>;
  using I = IntsOf<Acc>;
  I label[n];
  for (int p = 0; p < n; ++p) label[p] = load_ints<Acc>(args.label + (phase + p) * t.lanes + lane);
  for (int64_t c = 0; c < args.classes; ++c) {
    V slope[n];
    for (int p = 0; p < n; ++p) {
      slope[p] = load(args.exps + (c * 4 + p) * Lanes<Acc>::count) * scale[p];
      slope[p] -= label[p] == broadcast_int<Acc>(c) ? counted[p] : V{};
      slope[p] = label[p] >= 0 ? slope[p] : V{};  // also where an ignored pixel has a NaN
    }
    for (int64_t m = 0; m < (pairs ? 2 : t.taps); ++m) {
      Acc* to = args.grad + (m * args.classes + c) * t.class_pitch + lane + t.taps - 1 - m;
      V part = load(to);
      for (int p = 0; p < n; ++p)
        if (pairs || phase + p + m * t.x.stride < t.x.k)
          part += args.taps[phase + p + m * t.x.stride] * slope[p];
      store(to, part);
    }
  }
}

// Sum of the losses of a tile
template <bool pairs, typename Acc>
FCN_CLONES double loss_of(const LossArgs<Acc>& args, const Tiling& t) {
  using V = VecOf<Acc>;
  double sum = 0;
  for (int64_t lane = 0; lane < t.lanes; lane += Lanes<Acc>::count) {
    V total{};
    for_phases<4>(t.x.stride, [&](int64_t phase, auto count) __attribute__((always_inline)) {
      constexpr int n = decltype(count)::value;
      V scale[n], counted[n];
      total += loss_lanes<n, pairs>(args, t, lane, phase, scale, counted);
      if (args.grad) gradient_lanes<n, pairs>(args, t, lane, phase, scale, counted);
    });
    for (int i = 0; i < Lanes<Acc>::count; ++i) sum += total[i];
  }
  return sum;
}

template <typename Acc>
struct LossTile {
  using Int = typename Lanes<Acc>::Int;
  const SoftmaxLoss& op;
  ScoreTile<Acc> scores;
  std::vector<Int> blocks;   // a row of labels in whole blocks
  AlignedBuffer<Int> label;  // (phase, lane)
  AlignedBuffer<Acc> weight, exps,
      grad;  // (phase, lane), (class, 4 vectors), (tap, class, class_pitch)

  LossTile(const SoftmaxLoss& op, const Tiling& t)
      : op(op),
        scores(op.scores, t),
        blocks(t.blocks * t.x.stride, -1),
        label(t.x.stride * t.lanes),
        weight(op.weight ? t.x.stride * t.lanes : 0),
        exps(op.scores.classes * 4 * Lanes<Acc>::count),
        grad(op.gradient ? t.taps * op.scores.classes * t.class_pitch : 0) {
    clear_labels();
  }

  const Tiling& tiling() const { return scores.tiling; }
  void clear_labels() { std::fill_n(label.data(), tiling().x.stride * tiling().lanes, Int(-1)); }

  // Read labels and weights of output rows y0 .. y0 + rows - 1; returns whether any pixel counts
  bool read_labels(int64_t n, int64_t y0, int64_t rows, Sum* sum) {
    const int64_t before = sum->valid;
    if (rows < tiling().rows) clear_labels();
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t row = (n * tiling().y.out + y0 + r) * tiling().x.out;
      read_classes<Acc>(op, op.scores.classes, row, tiling().x.out,
                        blocks.data() + tiling().first.phase, sum);
      to_lanes(blocks.data(), tiling(), label.data() + r * tiling().row_pitch);
    }
    if (op.weight) read_weights();
    return sum->valid > before;
  }

  void read_weights() {
    const Acc* weights = op.weight->template const_data_ptr<Acc>();
    for (int64_t i = 0; i < tiling().x.stride * tiling().lanes; ++i)
      weight.data()[i] = label.data()[i] < 0 ? Acc(0) : weights[label.data()[i]];
  }

  // Compute the loss of the tile, and its gradient into blended_grad
  double compute() {
    const Tiling& t = tiling();
    const int64_t size = op.scores.classes * t.class_pitch;
    if (op.gradient) std::fill_n(grad.data(), t.taps * size, Acc(0));
    const LossArgs<Acc> args{.blended = scores.blended.data(),
                             .taps = scores.taps.data(),
                             .label = label.data(),
                             .weight = weight.data(),
                             .classes = op.scores.classes,
                             .exps = exps.data(),
                             .grad = grad.data()};
    const bool pairs = t.taps == 2 && (scores.finite || t.x.k == 2 * t.x.stride);
    const double loss = pairs ? loss_of<true>(args, t) : loss_of<false>(args, t);
    if (op.gradient)
      for (int64_t m = 1; m < t.taps; ++m) add_row(grad.data() + m * size, size, grad.data());
    return loss;
  }

  const Acc* blended_grad(int64_t c) const { return grad.data() + c * tiling().class_pitch; }
};

}  // namespace fcn
