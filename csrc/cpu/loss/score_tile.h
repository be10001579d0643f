// Scores of a few output rows, many classes, in an order that suits vectors. Lanes run along the
// inputs of a row (and on into the next row); the outputs between two inputs, the phases, are
// computed one after the other with the same tap for all lanes:
//     score[c][phase][lane] = sum over m of taps[phase + m * stride] * narrow[c][lane + M - 1 - m]
// so that the gradient goes back the same way, and nothing is summed across lanes.
#pragma once

#include "../../scores.h"
#include "../upcrop/row_pair.h"
#include "../common/simd.h"

namespace fcn {

struct Tiling {
  Axis y, x;
  Place first;      // of output column 0
  int64_t taps;     // M, an output's inputs along x at most
  int64_t cells;    // inputs' intervals along a row of outputs
  int64_t pitch;    // lanes from one row of outputs to the next
  int64_t rows;     // rows of outputs in a tile
  int64_t lanes;    // whole vectors
  int64_t span;     // values of one class in `narrow`, whole vectors too

  Tiling(const Axis& y, const Axis& x, int64_t vector)
      : y(y), x(x), first(place(x, 0)), taps((x.k + x.stride - 1) / x.stride),
        cells(place(x, x.out - 1).i - first.i + 1), pitch(cells + taps - 1) {
    const auto up = [=](int64_t n) { return (n + vector - 1) / vector * vector; };
    rows = 1;
    for (int64_t r = 2; r <= std::min<int64_t>(8, y.out) && r * pitch <= 20 * vector; ++r)
      if (up(r * pitch) * rows < up(rows * pitch) * r) rows = r;  // fewer lanes a row
    lanes = up(rows * pitch);
    span = up(lanes + taps - 1);
  }

  // Tiles start `rows` apart, and where an input's row does if that divides the stride
  int64_t tiles() const { return (y.shift % rows + y.out + rows - 1) / rows; }
  Span rows_of(int64_t tile) const {
    const int64_t begin = tile * rows - y.shift % rows;
    return Span{std::max<int64_t>(0, begin), std::min(y.out, begin + rows)};
  }
};

// Whether all of n values, whole vectors, lie between -bound and bound; a NaN does not. As integers
// magnitudes are in the order of the numbers, and NaN is last.
template <typename Acc>
FCN_CLONES bool below(const Acc* values, int64_t n, Acc bound) {
  using I = IntsOf<Acc>;
  const I magnitude = ~(all_ints<Acc>(1) << (8 * static_cast<int>(sizeof(Acc)) - 1));
  const I limit = reinterpret_cast<I>(all(bound));
  I most{};
  for (int64_t i = 0; i < n; i += Lanes<Acc>::count) {
    const I v = reinterpret_cast<I>(load(values + i)) & magnitude;
    most = v > most ? v : most;
  }
  bool all = true;
  for (int i = 0; i < Lanes<Acc>::count; ++i) all &= most[i] < limit[i];
  return all;
}

// One thread's tile: the classes' input rows, blended to the tile's output rows
template <typename Acc>
struct Tile {
  const Scores& op;
  const Tiling& tiling;
  Aligned<Acc> narrow, taps;       // taps padded with zeros to whole strides
  std::vector<const Acc*> sources;
  std::vector<Acc> weights;
  bool tame_taps;
  bool tame = true;                // all scores are numbers: no infinity, no NaN

  Tile(const Scores& op, const Tiling& tiling)
      : op(op), tiling(tiling), narrow(op.classes * tiling.span),
        taps(tiling.taps * tiling.x.stride),
        sources((tiling.y.k + tiling.y.stride - 1) / tiling.y.stride), weights(sources.size()) {
    const Acc* given = op.taps_x.const_data_ptr<Acc>();
    Acc most = 0;
    for (int64_t t = 0; t < tiling.x.k; ++t) {
      taps.data()[t] = given[t];
      most = std::max(most, std::abs(given[t]));
    }
    tame_taps = most * tiling.taps < Acc(1e6);
  }

  // Blend the sources of output rows y0 .. y0 + rows - 1 of an image (C, in, in)
  void fill(const Acc* image, int64_t y0, int64_t rows) {
    const Axis &y = tiling.y, &x = tiling.x;
    const int64_t left = tiling.first.i - (tiling.taps - 1);  // input of the first lane
    const int64_t skip = std::max<int64_t>(0, -left);
    const int64_t n = std::min(x.in, left + tiling.pitch) - (left + skip);
    image += left + skip;
    for (int64_t r = 0, done; r < rows && n > 0; r += done) {  // n <= 0: all lies beside the input
      const Place at = place(y, y0 + r);
      Acc* to = narrow.data() + r * tiling.pitch + skip;
      const bool pairs = y.k == 2 * y.stride && at.i > 0 && at.i < y.in;
      done = pairs ? std::min(rows - r, y.stride - at.phase) : 1;
      pairs ? fill_pairs(image + at.i * x.in, at, done, n, to) : fill_row(image, at, n, to);
    }
    tame = tame_taps && below(narrow.data(), op.classes * tiling.span, Acc(1e30));
  }

  // Rows of all classes between inputs' rows `now`, n values of each, and the one before
  void fill_pairs(const Acc* now, const Place& at, int64_t rows, int64_t n, Acc* to) {
    const Axis &y = tiling.y, &x = tiling.x;
    const Acc* taps = op.taps_y.const_data_ptr<Acc>() + at.phase;
    for (int64_t c = 0; c < op.classes; ++c, now += y.in * x.in, to += tiling.span)
      Between<Acc>{now, now - x.in, taps, taps + y.stride, n}.write(rows, tiling.pitch, to);
  }

  // One row of all classes
  void fill_row(const Acc* image, const Place& at, int64_t n, Acc* to) {
    const Axis &y = tiling.y, &x = tiling.x;
    const int64_t count = feeding_rows(y, at, image, x.in, op.taps_y.const_data_ptr<Acc>(),
                                       sources.data(), weights.data());
    for (int64_t c = 0; c < op.classes; ++c, to += tiling.span) {
      blend(sources.data(), weights.data(), count, n, to);
      for (int64_t i = 0; i < count; ++i) sources[i] += y.in * x.in;
    }
  }
};

// A row of whole blocks of outputs to (phase, lane), and back
template <typename From, typename To>
FCN_CLONES void to_lanes(const From* blocks, const Tiling& t, To* __restrict__ lane) {
  for_count(t.x.stride, [=, &t](auto n) __attribute__((always_inline)) {
    for (int64_t b = 0; b < t.cells; ++b)
      for (int64_t p = 0; p < n; ++p) lane[p * t.lanes + b] = static_cast<To>(blocks[b * n + p]);
  });
}

template <typename From, typename To>
FCN_CLONES void from_lanes(const From* lane, const Tiling& t, To* __restrict__ blocks) {
  for_count(t.x.stride, [=, &t](auto n) __attribute__((always_inline)) {
    for (int64_t b = 0; b < t.cells; ++b)
      for (int64_t p = 0; p < n; ++p) blocks[b * n + p] = static_cast<To>(lane[p * t.lanes + b]);
  });
}

// The scores of one class at `phases` phases from `phase` on, for one vector of lanes. pairs: two
// taps each, all scores numbers or k = 2 * stride; else a tap that does not exist is left out.
template <int phases, bool pairs, typename Acc>
FCN_INLINE void scores_of(const Acc* narrow, const Acc* taps, const Tiling& tiling, int64_t phase,
                          VecOf<Acc>* scores) {
  const int64_t stride = tiling.x.stride;
  if (pairs) {
    const VecOf<Acc> before = load(narrow), now = load(narrow + 1);
    for (int p = 0; p < phases; ++p)
      scores[p] = taps[phase + p + stride] * before + taps[phase + p] * now;
    return;
  }
  for (int p = 0; p < phases; ++p) {
    scores[p] = VecOf<Acc>{};
    for (int64_t m = tiling.taps - 1; m >= 0; --m)
      if (phase + p + m * stride < tiling.x.k)
        scores[p] += taps[phase + p + m * stride] * load(narrow + tiling.taps - 1 - m);
  }
}

// Calls f(phase, count) for all phases, `most` at a time and then four
template <int most, typename F>
FCN_INLINE void for_phases(int64_t stride, F f) {
  int64_t p = 0;
  for (; p + most <= stride; p += most) f(p, std::integral_constant<int, most>());
  if (most > 4 && p + 4 <= stride) f(p, std::integral_constant<int, 4>()), p += 4;
  for (; p < stride; ++p) f(p, std::integral_constant<int, 1>());
}

}  // namespace fcn
