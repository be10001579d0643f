// PoolAxis of a max pooling. Shared by host and device, so it includes nothing of ATen or c10.
#pragma once

#include <cstdint>

#include "host_device.h"

namespace fcn {

constexpr int64_t kWindow = 256;  // cells of a window, whose numbers take 8 bits

// One axis. Window o has the cells o * stride - pad .. + k - 1, at least one of which exists.
// 0 <= pad < k <= kWindow, and in + 2 * pad fits 32 bits.
struct PoolAxis {
  int in, out;  // cells, windows
  int k, stride, pad;
};

struct PoolSpan {
  int begin, end;  // [begin, end)
};

// Window o's first cell, below 0 in the padding
FCN_HD int first_cell(const PoolAxis& w, int o) { return o * w.stride - w.pad; }

// Window o's cells that exist
FCN_HD PoolSpan cells_of(const PoolAxis& w, int o) {
  const int first = first_cell(w, o), end = first < w.in - w.k ? first + w.k : w.in;
  return PoolSpan{first > 0 ? first : 0, end};
}

// The windows that have cell i; empty, with begin above end or not, if there are none
FCN_HD PoolSpan windows_of(const PoolAxis& w, int i) {
  const int at = i + w.pad, end = at / w.stride + 1;
  return PoolSpan{at < w.k ? 0 : (at - w.k) / w.stride + 1, end < w.out ? end : w.out};
}

// Whether a value takes the place of the largest of those before it in the window: the first of
// equal ones stays, and the last NaN wins, as in torch
template <typename Acc>
FCN_HD bool exceeds(Acc value, Acc largest) {
  return (value > largest) | (value != value);
}

}  // namespace fcn
