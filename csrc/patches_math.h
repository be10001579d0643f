// The windows of a convolution with stride 1, unrolled: which values of the image a row of a window
// holds, and which windows hold a value. Shared by host and device, so it includes nothing of ATen
// or c10.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define FCN_PATCHES_HD __host__ __device__ __forceinline__
#else
#define FCN_PATCHES_HD inline
#endif

namespace fcn {

// An image (images, height, width, channels) and its windows (images, rows, columns, k_y, k_x,
// channels): the one at (row, column) begins at cell (row - pad_y, column - pad_x). What it holds
// outside the image is 0.
struct Windows {
  int64_t images, height, width, channels, rows, columns, k_y, k_x, pad_y, pad_x;

  FCN_PATCHES_HD int64_t cells() const { return images * height * width; }
  FCN_PATCHES_HD int64_t lines() const { return images * rows * columns * k_y; }
  FCN_PATCHES_HD int64_t line_size() const { return k_x * channels; }
};

// A line of a window: its values from `begin` to before `end` stand in the image from
// first + begin on; the others are 0.
struct Line {
  int64_t first, begin, end;
};

FCN_PATCHES_HD Line line_of(const Windows& w, int64_t line) {
  const int64_t i = line % w.k_y, window = line / w.k_y;
  const int64_t column = window % w.columns, row = window / w.columns % w.rows;
  const int64_t y = row + i - w.pad_y, x = column - w.pad_x;
  if (y < 0 || y >= w.height) return Line{0, 0, 0};
  const int64_t image = window / w.columns / w.rows;
  const int64_t before = x < 0 ? -x : 0, begin = before < w.k_x ? before : w.k_x;
  const int64_t end = w.width - x < w.k_x ? w.width - x : w.k_x;
  return Line{((image * w.height + y) * w.width + x) * w.channels, begin * w.channels,
              (end > begin ? end : begin) * w.channels};
}

// use(at) for each window that holds channel 0 of a cell, where it stands there, in one fixed order
template <typename Use>
FCN_PATCHES_HD void each_window(const Windows& w, int64_t cell, Use use) {
  const int64_t x = cell % w.width + w.pad_x, y = cell / w.width % w.height + w.pad_y;
  const int64_t image = cell / w.width / w.height;
  const int64_t top = y < w.rows ? 0 : y - w.rows + 1, below = y < w.k_y ? y + 1 : w.k_y;
  const int64_t left = x < w.columns ? 0 : x - w.columns + 1, right = x < w.k_x ? x + 1 : w.k_x;
  for (int64_t i = top; i < below; ++i)
    for (int64_t j = left; j < right; ++j)
      use((((image * w.rows + y - i) * w.columns + x - j) * w.k_y * w.k_x + i * w.k_x + j) *
          w.channels);
}

}  // namespace fcn
