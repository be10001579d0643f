// Repetition of two rows of a blob, or of two columns: which cell of the bottom a cell of the top
// copies, and back. Shared by host and device, so it includes nothing of ATen or c10.
#pragma once

#include <cstdint>

#include "host_device.h"

namespace fcn {

// One axis: cells `start` and `last` of the bottom stand `count` more times each in the top.
// start < last, and bottom + 2 * count fits 32 bits; with count 0 both are 0.
struct Border {
  int bottom, start, last, count;

  FCN_HD int top() const { return bottom + 2 * count; }
};

// How many of `count` copies stand before a place that is `distance` cells behind the first
FCN_HD int passed(int distance, int count) {
  return distance < 0 ? 0 : distance < count ? distance : count;
}

// The cell of the bottom that cell t of the top copies
FCN_HD int copied_from(const Border& b, int t) {
  return t - passed(t - b.start, b.count) - passed(t - b.last - b.count, b.count);
}

// The cells of the top that copy a cell of the bottom: [begin, end)
struct Copies {
  int begin, end;
};

FCN_HD Copies copies_of(const Border& b, int cell) {
  const int begin = cell + (cell > b.start ? b.count : 0) + (cell > b.last ? b.count : 0);
  return Copies{begin, begin + 1 + (cell == b.start ? b.count : 0) +
                           (cell == b.last ? b.count : 0)};
}

}  // namespace fcn
