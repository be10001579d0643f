// Bands of distance from a boundary. The pixels within a distance are a mask of one bit each, so
// that widening it for the next band is a few shifts and ors of words.
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>
#include <torch/library.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "../../dense.h"
#include "bytes.h"

namespace fcn {
namespace {

constexpr const char* kOp = "boundary_bands";
constexpr int64_t kBits = 64;  // of a word
constexpr int64_t kMostBands = 255;

// Column x of a row is bit x % 64 of its word x / 64; the bits behind the last column are 0.
struct Mask {
  int64_t height, width, pitch;
  std::vector<uint64_t> words;

  Mask(int64_t height, int64_t width)
      : height(height), width(width), pitch((width + kBits - 1) / kBits), words(height * pitch) {}
  uint64_t* row(int64_t y) { return words.data() + y * pitch; }
};

// The pixels that touch one of another label above, below, left or right
Mask edges_of(const uint8_t* labels, int64_t height, int64_t width) {
  Mask mask(height, width);
  std::vector<uint8_t> differs(mask.pitch * kBits);
  for (int64_t y = 0; y < height; ++y) {
    const uint8_t* own = labels + y * width;
    const uint8_t* above = y ? own - width : own;
    const uint8_t* below = y + 1 < height ? own + width : own;
    for (int64_t x = 0; x < width; ++x) differs[x] = (own[x] != above[x]) | (own[x] != below[x]);
    for (int64_t x = 1; x < width; ++x) differs[x] |= own[x] != own[x - 1];
    for (int64_t x = 1; x < width; ++x) differs[x - 1] |= own[x] != own[x - 1];
    for (int64_t x = 0; x < width; x += kBytes)
      mask.row(y)[x / kBits] |= bits_of(load_bytes(differs.data() + x)) << x % kBits;
  }
  return mask;
}

// to |= from, moved by `shift` columns to the left and to the right
void or_moved(const uint64_t* from, int64_t pitch, int64_t shift, uint64_t* to) {
  const int64_t words = shift / kBits, bits = shift % kBits;
  const auto at = [&](int64_t i) { return 0 <= i && i < pitch ? from[i] : uint64_t(0); };
  for (int64_t i = 0; i < pitch; ++i) {
    to[i] |= at(i - words) << bits | at(i + words) >> bits;
    if (bits)
      to[i] |= at(i - words - 1) >> (kBits - bits) | at(i + words + 1) << (kBits - bits);
  }
}

// Adds the pixels that are at most `distance` columns, and then rows, from one of the mask. A mask
// that was widened by r is moved by up to r + 1 without a gap: at an edge it has one side alone.
void widen(Mask& mask, int64_t distance) {
  const int64_t over = mask.pitch * kBits - mask.width;
  Mask before = mask;
  for (int64_t r = 0, step; r < distance; r += step) {
    step = std::min(r + 1, distance - r);
    before.words = mask.words;
    for (int64_t y = 0; y < mask.height; ++y) {
      or_moved(before.row(y), mask.pitch, step, mask.row(y));
      mask.row(y)[mask.pitch - 1] &= ~uint64_t(0) >> over;
    }
  }
  for (int64_t r = 0, step; r < distance; r += step) {
    step = std::min(r + 1, distance - r);
    before.words = mask.words;
    for (int64_t y = 0; y < mask.height; ++y)
      for (const int64_t from : {y - step, y + step})
        if (0 <= from && from < mask.height)
          for (int64_t i = 0; i < mask.pitch; ++i) mask.row(y)[i] |= before.row(from)[i];
  }
}

// bands -= 1 at the pixels of the mask
void take_one(Mask& mask, uint8_t* bands) {
  for (int64_t y = 0; y < mask.height; ++y, bands += mask.width)
    for (int64_t x = 0; x < mask.width; x += kBytes) {
      const uint64_t bits = mask.row(y)[x / kBits] >> x % kBits & 0xff;
      if (!bits) continue;
      if (x + kBytes <= mask.width)
        store_bytes(bands + x, load_bytes(bands + x) - bytes_of(bits));
      else
        for (int64_t i = x; i < mask.width; ++i) bands[i] -= bits >> (i - x) & 1;
    }
}

at::Tensor boundary_bands_cpu(const at::Tensor& labels, at::IntArrayRef ends) {
  TORCH_CHECK_VALUE(labels.dim() == 2 && labels.scalar_type() == at::kByte, kOp, ": labels is ",
                    labels.scalar_type(), " of shape ", labels.sizes(),
                    ", expected Byte (uint8) of 2 axes (H, W).");
  const int64_t count = ends.size();
  TORCH_CHECK_VALUE(1 <= count && count <= kMostBands && ends[0] >= 1 &&
                        std::is_sorted(ends.begin(), ends.end()),
                    kOp, ": ends is ", ends, ", expected 1 to ", kMostBands,
                    " distances of at least 1 that rise.");
  check_sizes(kOp, "labels", labels.sizes());
  const at::Tensor whole = dense(labels);
  const int64_t height = whole.size(0), width = whole.size(1);
  at::Tensor result = at::empty({height, width}, labels.options());
  uint8_t* bands = result.mutable_data_ptr<uint8_t>();
  std::fill_n(bands, result.numel(), count);  // fill_ would wake the threads that a net uses
  if (!result.numel()) return result;
  Mask mask = edges_of(whole.const_data_ptr<uint8_t>(), height, width);
  int64_t distance = 1;
  for (const int64_t end : ends) {
    widen(mask, std::min(end, std::max(height, width)) - std::min(distance, end));
    distance = end;
    take_one(mask, bands);
  }
  return result;
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(fcn_repro, m) {
  m.def("boundary_bands(Tensor labels, int[] ends) -> Tensor");
}
TORCH_LIBRARY_IMPL(fcn_repro, CPU, m) { m.impl("boundary_bands", boundary_bands_cpu); }

}  // namespace fcn
