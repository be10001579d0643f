// Upsampling followed by a reduction over the classes (argmax, softmax loss), without ever writing
// the scores: for 21 classes they are 21 times larger than the labels.
//
// A tile is a few output rows, all columns, all classes. First the vertical pass: the input rows
// of each class are blended to the tile's output rows, at the input's horizontal resolution
// (`blended`, which fits the L1/L2 cache). The horizontal pass is fused into the reduction, in
// sub-pixel order: lanes of a vector run along the inputs of a row (and on into the next row), and
// the outputs between two inputs, the phases, follow one another with the same tap for all lanes:
//
//   score[c][phase][lane] = sum over m of taps[phase + m * stride] * blended[c][lane + M - 1 - m]
//
// So a reduction over classes keeps a vector of accumulators per phase in registers, the gradient
// goes back the same way, and nothing is summed across lanes.
#pragma once

#include "../../scores.h"
#include "../upcrop/row_pair.h"
#include "../common/simd.h"

namespace fcn {

struct Tiling {
  Axis y, x;
  Subpixel first;       // source of output column 0
  int64_t taps;         // M, the most inputs that an output reads along x
  int64_t blocks;       // of one stride in a row of outputs
  int64_t row_pitch;    // lanes from one row of outputs to the next
  int64_t rows;         // of outputs in a tile
  int64_t lanes;        // per phase, in whole vectors
  int64_t class_pitch;  // values per class in `blended`, in whole vectors

  Tiling(const Axis& y, const Axis& x, int64_t vector)
      : y(y),
        x(x),
        first(subpixel(x, 0)),
        taps((x.k + x.stride - 1) / x.stride),
        blocks(subpixel(x, x.out - 1).i - first.i + 1),
        row_pitch(blocks + taps - 1) {
    const auto up = [=](int64_t n) { return (n + vector - 1) / vector * vector; };
    rows = 1;
    for (int64_t r = 2; r <= std::min<int64_t>(8, y.out) && r * row_pitch <= 20 * vector; ++r)
      if (up(r * row_pitch) * rows < up(rows * row_pitch) * r) rows = r;  // fewer lanes per row
    lanes = up(rows * row_pitch);
    class_pitch = up(lanes + taps - 1);
  }

  // Tiles start at multiples of `rows`, counted in the uncropped output, so that they start at an
  // input row where `rows` divides the stride
  int64_t tiles() const { return (y.shift % rows + y.out + rows - 1) / rows; }
  Span rows_of(int64_t tile) const {
    const int64_t begin = tile * rows - y.shift % rows;
    return Span{std::max<int64_t>(0, begin), std::min(y.out, begin + rows)};
  }
};

// Whether all of n values (whole vectors) lie between -bound and bound and none is NaN. Magnitudes
// compare as integers, and NaN compares greatest.
template <typename Acc>
FCN_CLONES bool all_within(const Acc* values, int64_t n, Acc bound) {
  using I = IntsOf<Acc>;
  const I magnitude = ~(broadcast_int<Acc>(1) << (8 * static_cast<int>(sizeof(Acc)) - 1));
  const I limit = reinterpret_cast<I>(broadcast(bound));
  I most{};
  for (int64_t i = 0; i < n; i += Lanes<Acc>::count) {
    const I v = reinterpret_cast<I>(load(values + i)) & magnitude;
    most = v > most ? v : most;
  }
  bool all = true;
  for (int i = 0; i < Lanes<Acc>::count; ++i) all &= most[i] < limit[i];
  return all;
}

// A tile of one thread: the rows of all classes after the vertical pass
template <typename Acc>
struct ScoreTile {
  const Scores& op;
  const Tiling& tiling;
  AlignedBuffer<Acc> blended, taps;  // taps zero-padded to whole strides
  std::vector<const Acc*> sources;
  std::vector<Acc> weights;
  bool bounded_taps;
  bool finite = true;  // whether all scores are: no infinity, no NaN

  ScoreTile(const Scores& op, const Tiling& tiling)
      : op(op),
        tiling(tiling),
        blended(op.classes * tiling.class_pitch),
        taps(tiling.taps * tiling.x.stride),
        sources((tiling.y.k + tiling.y.stride - 1) / tiling.y.stride),
        weights(sources.size()) {
    const Acc* given = op.taps_x.const_data_ptr<Acc>();
    Acc most = 0;
    for (int64_t t = 0; t < tiling.x.k; ++t) {
      taps.data()[t] = given[t];
      most = std::max(most, std::abs(given[t]));
    }
    bounded_taps = most * tiling.taps < Acc(1e6);
  }

  // Blend the sources of output rows y0 .. y0 + rows - 1 of an image (C, in, in)
  void fill(const Acc* image, int64_t y0, int64_t rows) {
    const Axis &y = tiling.y, &x = tiling.x;
    const int64_t left = tiling.first.i - (tiling.taps - 1);  // input of lane 0
    const int64_t skip = std::max<int64_t>(0, -left);
    const int64_t n = std::min(x.in, left + tiling.row_pitch) - (left + skip);
    image += left + skip;
    for (int64_t r = 0, done; r < rows && n > 0; r += done) {  // n <= 0: no output reads the input
      const Subpixel at = subpixel(y, y0 + r);
      Acc* to = blended.data() + r * tiling.row_pitch + skip;
      const bool pairs = y.k == 2 * y.stride && at.i > 0 && at.i < y.in;
      done = pairs ? std::min(rows - r, y.stride - at.phase) : 1;
      pairs ? fill_pairs(image + at.i * x.in, at, done, n, to) : fill_row(image, at, n, to);
    }
    finite = bounded_taps && all_within(blended.data(), op.classes * tiling.class_pitch, Acc(1e30));
  }

  // Rows of all classes between input row `below` and the row above it, n values each
  void fill_pairs(const Acc* below, const Subpixel& at, int64_t rows, int64_t n, Acc* to) {
    const Axis &y = tiling.y, &x = tiling.x;
    const Acc* taps = op.taps_y.const_data_ptr<Acc>() + at.phase;
    for (int64_t c = 0; c < op.classes; ++c, below += y.in * x.in, to += tiling.class_pitch)
      RowPair<Acc>{.below = below,
                   .above = below - x.in,
                   .below_taps = taps,
                   .above_taps = taps + y.stride,
                   .width = n}
          .write(rows, tiling.row_pitch, to);
  }

  // One row of all classes
  void fill_row(const Acc* image, const Subpixel& at, int64_t n, Acc* to) {
    const Axis &y = tiling.y, &x = tiling.x;
    const int64_t count = source_rows(y, at, image, x.in, op.taps_y.const_data_ptr<Acc>(),
                                      sources.data(), weights.data());
    for (int64_t c = 0; c < op.classes; ++c, to += tiling.class_pitch) {
      blend(sources.data(), weights.data(), count, n, to);
      for (int64_t i = 0; i < count; ++i) sources[i] += y.in * x.in;
    }
  }
};

// Reorder a row of whole blocks of outputs to (phase, lane), and back
template <typename From, typename To>
FCN_CLONES void to_lanes(const From* blocks, const Tiling& t, To* __restrict__ lane) {
  for_count(
      t.x.stride, [ =, &t ](auto n) __attribute__((always_inline)) {
        for (int64_t b = 0; b < t.blocks; ++b)
          for (int64_t p = 0; p < n; ++p)
            lane[p * t.lanes + b] = static_cast<To>(blocks[b * n + p]);
      });
}

template <typename From, typename To>
FCN_CLONES void from_lanes(const From* lane, const Tiling& t, To* __restrict__ blocks) {
  for_count(
      t.x.stride, [ =, &t ](auto n) __attribute__((always_inline)) {
        for (int64_t b = 0; b < t.blocks; ++b)
          for (int64_t p = 0; p < n; ++p)
            blocks[b * n + p] = static_cast<To>(lane[p * t.lanes + b]);
      });
}

// The scores of one class at `phases` phases from `phase` on, for one vector of lanes. pairs: two
// taps each, where k = 2 * stride or zero padding of the taps is harmless because all values are
// finite; otherwise taps beyond k are skipped.
template <int phases, bool pairs, typename Acc>
FCN_INLINE void scores_of(const Acc* blended, const Acc* taps, const Tiling& tiling, int64_t phase,
                          VecOf<Acc>* scores) {
  const int64_t stride = tiling.x.stride;
  if (pairs) {
    const VecOf<Acc> left = load(blended), right = load(blended + 1);
    for (int p = 0; p < phases; ++p)
      scores[p] = taps[phase + p + stride] * left + taps[phase + p] * right;
    return;
  }
  for (int p = 0; p < phases; ++p) {
    scores[p] = VecOf<Acc>{};
    for (int64_t m = tiling.taps - 1; m >= 0; --m)
      if (phase + p + m * stride < tiling.x.k)
        scores[p] += taps[phase + p + m * stride] * load(blended + tiling.taps - 1 - m);
  }
}

// Call f(phase, count) over all phases, `most` at a time, then four, then one
template <int most, typename F>
FCN_INLINE void for_phases(int64_t stride, F f) {
  int64_t p = 0;
  for (; p + most <= stride; p += most) f(p, std::integral_constant<int, most>());
  if (most > 4 && p + 4 <= stride) f(p, std::integral_constant<int, 4>()), p += 4;
  for (; p < stride; ++p) f(p, std::integral_constant<int, 1>());
}

}  // namespace fcn
