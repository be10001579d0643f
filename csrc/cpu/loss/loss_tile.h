// The softmax loss of one tile of scores, and its gradient at the tile's narrow resolution.
#pragma once

#include <limits>

#include "../../epilogue.h"
#include "../../softmax_loss.h"
#include "score_tile.h"

namespace fcn {

// What a part of the labels makes
struct Sum {
  double loss = 0;
  int64_t valid = 0, bad = 0;
  double example = 0;  // a bad label
};

// Where a loss tile's loop reads and writes
template <typename Acc>
struct LossRun {
  const Acc *narrow, *taps;
  const typename Lanes<Acc>::Int* label;  // (phase, lane), -1 where nothing counts
  const Acc* weight;                      // (phase, lane), or nullptr
  int64_t classes;
  Acc* exps;                              // (class, 4) vectors of scratch
  Acc* grad;                              // (tap, class, span), added to; nullptr: nobody asks
};

// The scores of n phases from `phase` on at one vector of lanes: exp(score - largest) to run.exps,
// the factors of the gradient to `scale`; returns the vector of losses.
template <int n, bool pairs, typename Acc>
FCN_INLINE VecOf<Acc> loss_lanes(const LossRun<Acc>& run, const Tiling& t, int64_t lane,
                                 int64_t phase, VecOf<Acc>* scale, VecOf<Acc>* counted) {
  using V = VecOf<Acc>;
  using I = IntsOf<Acc>;
  constexpr int64_t size = Lanes<Acc>::count;
  V scores[n], largest[n], own[n] = {}, sum[n] = {}, total{};
  I label[n];
  for (int p = 0; p < n; ++p) {
    label[p] = load_ints<Acc>(run.label + (phase + p) * t.lanes + lane);
    largest[p] = all(-std::numeric_limits<Acc>::infinity());
  }
  for (int64_t c = 0; c < run.classes; ++c) {
    scores_of<n, pairs>(run.narrow + c * t.span + lane, run.taps, t, phase, scores);
    for (int p = 0; p < n; ++p) {
      store(run.exps + (c * 4 + p) * size, scores[p]);
      largest[p] = scores[p] > largest[p] ? scores[p] : largest[p];
      own[p] = label[p] == all_ints<Acc>(c) ? scores[p] : own[p];
    }
  }
  for (int64_t c = 0; c < run.classes; ++c)
    for (int p = 0; p < n; ++p) {
      const V e = exp_lanes(load(run.exps + (c * 4 + p) * size) - largest[p]);
      store(run.exps + (c * 4 + p) * size, e);
      sum[p] += e;
    }
  for (int p = 0; p < n; ++p) {
    // bits, not a comparison: gcc 12 fails at that where it clones the loop
    const I counts = ~(label[p] >> (8 * static_cast<int>(sizeof(Acc)) - 1));
    counted[p] = reinterpret_cast<V>(reinterpret_cast<I>(all(Acc(1))) & counts);
    if (run.weight) counted[p] *= load(run.weight + (phase + p) * t.lanes + lane);
    const V lost = log_probability(own[p], largest[p], log_lanes(sum[p]), all(Acc(kLeastLog)));
    total -= reinterpret_cast<V>(reinterpret_cast<I>(lost * counted[p]) & counts);
    scale[p] = counted[p] / sum[p];
  }
  return total;
}

// What n phases add to the gradient of a class's narrow values; pairs as in scores_of. Each tap has
// sums of its own: those of its neighbour overlap what was just written, and would wait for it.
template <int n, bool pairs, typename Acc>
FCN_INLINE void gradient_lanes(const LossRun<Acc>& run, const Tiling& t, int64_t lane,
                               int64_t phase, const VecOf<Acc>* scale,
                               const VecOf<Acc>* counted) {
  using V = VecOf<Acc>;
  using I = IntsOf<Acc>;
  I label[n];
  for (int p = 0; p < n; ++p) label[p] = load_ints<Acc>(run.label + (phase + p) * t.lanes + lane);
  for (int64_t c = 0; c < run.classes; ++c) {
    V slope[n];
    for (int p = 0; p < n; ++p) {
      slope[p] = load(run.exps + (c * 4 + p) * Lanes<Acc>::count) * scale[p];
      slope[p] -= label[p] == all_ints<Acc>(c) ? counted[p] : V{};
      slope[p] = label[p] >= 0 ? slope[p] : V{};  // a NaN where nothing counts
    }
    for (int64_t m = 0; m < (pairs ? 2 : t.taps); ++m) {
      Acc* to = run.grad + (m * run.classes + c) * t.span + lane + t.taps - 1 - m;
      V part = load(to);
      for (int p = 0; p < n; ++p)
        if (pairs || phase + p + m * t.x.stride < t.x.k)
          part += run.taps[phase + p + m * t.x.stride] * slope[p];
      store(to, part);
    }
  }
}

// The sum of a tile's losses
template <bool pairs, typename Acc>
FCN_CLONES double loss_of(const LossRun<Acc>& run, const Tiling& t) {
  using V = VecOf<Acc>;
  double sum = 0;
  for (int64_t lane = 0; lane < t.lanes; lane += Lanes<Acc>::count) {
    V total{};
    for_phases<4>(t.x.stride, [&](int64_t phase, auto count) __attribute__((always_inline)) {
      constexpr int n = decltype(count)::value;
      V scale[n], counted[n];
      total += loss_lanes<n, pairs>(run, t, lane, phase, scale, counted);
      if (run.grad) gradient_lanes<n, pairs>(run, t, lane, phase, scale, counted);
    });
    for (int i = 0; i < Lanes<Acc>::count; ++i) sum += total[i];
  }
  return sum;
}

// A label as Caffe reads it, truncated; kNoLabel where no int holds it
template <typename L>
FCN_INLINE int64_t label_of(L value) {
  if constexpr (std::is_integral_v<L>)
    return value;
  else
    return value > L(-2147483648.0) && value < L(2147483648.0) ? static_cast<int64_t>(value)
                                                               : kNoLabel;
}

// One row of labels as classes, -1 where nothing counts; returns how many do
template <typename L, typename Int>
FCN_CLONES int64_t classes_of(const L* from, const bool* mask, std::optional<int64_t> ignore,
                              int64_t classes, int64_t n, Int* __restrict__ to, int64_t* bad) {
  int64_t valid = 0, outside = 0;
  const bool ignores = ignore.has_value();
  const int64_t ignored = ignore.value_or(0);
  for (int64_t o = 0; o < n; ++o) {
    const int64_t c = label_of(from[o]);
    const bool asked = !(ignores & (c == ignored)) & !(mask && !mask[o]);
    const bool inside = (c >= 0) & (c < classes);
    to[o] = asked & inside ? static_cast<Int>(c) : Int(-1);
    valid += asked & inside;
    outside += asked & !inside;
  }
  *bad = outside;
  return valid;
}

template <typename Acc>
struct LossTile {
  using Int = typename Lanes<Acc>::Int;
  const SoftmaxLoss& op;
  Tile<Acc> scores;
  std::vector<Int> blocks;           // a row of labels, from where a phase 0 is
  Aligned<Int> label;                // (phase, lane)
  Aligned<Acc> weight, exps, grad;   // (phase, lane), (class, 4 vectors), (tap, class, span)

  LossTile(const SoftmaxLoss& op, const Tiling& t)
      : op(op), scores(op.scores, t), blocks(t.cells * t.x.stride, -1),
        label(t.x.stride * t.lanes), weight(op.weight ? t.x.stride * t.lanes : 0),
        exps(op.scores.classes * 4 * Lanes<Acc>::count),
        grad(op.gradient ? t.taps * op.scores.classes * t.span : 0) {
    no_labels();
  }

  const Tiling& tiling() const { return scores.tiling; }
  void no_labels() { std::fill_n(label.data(), tiling().x.stride * tiling().lanes, Int(-1)); }

  // Labels and weights of output rows y0 .. y0 + rows - 1 into lanes; whether any pixel counts
  bool read_labels(int64_t n, int64_t y0, int64_t rows, Sum* sum) {
    const int64_t before = sum->valid;
    if (rows < tiling().rows) no_labels();
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t row = (n * tiling().y.out + y0 + r) * tiling().x.out;
      switch (op.label.scalar_type()) {
        case at::kByte: read_row<uint8_t>(row, sum); break;
        case at::kInt: read_row<int32_t>(row, sum); break;
        case at::kLong: read_row<int64_t>(row, sum); break;
        case at::kFloat: read_row<float>(row, sum); break;
        default: read_row<double>(row, sum);
      }
      to_lanes(blocks.data(), tiling(), label.data() + r * tiling().pitch);
    }
    if (op.weight) read_weights();
    return sum->valid > before;
  }

  template <typename L>
  void read_row(int64_t row, Sum* sum) {
    const Axis& x = tiling().x;
    const L* from = op.label.template const_data_ptr<L>() + row;
    const bool* mask = op.mask ? op.mask->template const_data_ptr<bool>() + row : nullptr;
    Int* to = blocks.data() + tiling().first.phase;
    int64_t bad;
    sum->valid += classes_of(from, mask, op.ignore, op.scores.classes, x.out, to, &bad);
    if (bad > 0 && sum->bad == 0) sum->example = first_bad(from, mask, to);
    sum->bad += bad;
  }

  template <typename L>
  double first_bad(const L* from, const bool* mask, Int* scratch) const {
    for (int64_t bad;; ++from, mask += mask != nullptr) {
      classes_of(from, mask, op.ignore, op.scores.classes, 1, scratch, &bad);
      if (bad) return static_cast<double>(*from);
    }
  }

  void read_weights() {
    const Acc* weights = op.weight->template const_data_ptr<Acc>();
    for (int64_t i = 0; i < tiling().x.stride * tiling().lanes; ++i)
      weight.data()[i] = label.data()[i] < 0 ? Acc(0) : weights[label.data()[i]];
  }

  // The tile's loss; its gradient to narrow_grad
  double run() {
    const Tiling& t = tiling();
    const int64_t size = op.scores.classes * t.span;
    if (op.gradient) std::fill_n(grad.data(), t.taps * size, Acc(0));
    const LossRun<Acc> run{scores.narrow.data(), scores.taps.data(), label.data(), weight.data(),
                           op.scores.classes, exps.data(), grad.data()};
    const bool pairs = t.taps == 2 && (scores.tame || t.x.k == 2 * t.x.stride);
    const double loss = pairs ? loss_of<true>(run, t) : loss_of<false>(run, t);
    if (op.gradient)
      for (int64_t m = 1; m < t.taps; ++m) add_row(grad.data() + m * size, size, grad.data());
    return loss;
  }

  const Acc* narrow_grad(int64_t c) const { return grad.lines[0].values + c * tiling().span; }
};

}  // namespace fcn
