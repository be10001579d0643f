// Bilinear resizing with aligned corners (Caffe's Interp): between which inputs an output lies.
// Shared by host and device, so it includes nothing of ATen or c10.
#pragma once

#include <cstdint>

#include "host_device.h"

namespace fcn {

// One axis: cells of the input and of the output, whose first and last ones coincide
struct Resize {
  int64_t in, out;
};

// An output's place: (1 - t) times input i and t times input `next`, i + 1 or the last one
template <typename Acc>
struct Between {
  int64_t i, next;
  Acc t;
};

// Inputs from one output to the next, rounded as Caffe and torch round it
template <typename Acc>
FCN_HD Acc ratio_of(const Resize& axis) {
  return axis.out > 1 ? static_cast<Acc>(axis.in - 1) / static_cast<Acc>(axis.out - 1) : Acc(0);
}

template <typename Acc>
FCN_HD Between<Acc> between(const Resize& axis, Acc ratio, int64_t o) {
  const Acc at = ratio * static_cast<Acc>(o);
  int64_t i = static_cast<int64_t>(at);
  i = i < axis.in - 1 ? i : axis.in - 1;
  return Between<Acc>{i, i < axis.in - 1 ? i + 1 : i, at - static_cast<Acc>(i)};
}

// With which weight output o reads input i
template <typename Acc>
FCN_HD Acc weight_of(const Between<Acc>& at, int64_t i) {
  return (at.i == i ? Acc(1) - at.t : Acc(0)) + (at.next == i ? at.t : Acc(0));
}

// Outputs that may read input i, clamped: all that do, and some beside them, as many as rounding in
// `between` may move
FCN_HD void readers_of(const Resize& axis, int64_t i, int64_t* begin, int64_t* end) {
  *begin = 0, *end = axis.out;
  if (axis.in < 2 || axis.out < 2) return;
  const double each = static_cast<double>(axis.out - 1) / static_cast<double>(axis.in - 1);
  const double first = static_cast<double>(i - 1) * each, last = first + 2 * each;
  const double slack = 2 + last * 0x1p-21;
  if (first - slack > 0) *begin = static_cast<int64_t>(first - slack);
  if (i < axis.in - 1 && last + slack < static_cast<double>(axis.out))
    *end = static_cast<int64_t>(last + slack) + 1;
}

}  // namespace fcn
