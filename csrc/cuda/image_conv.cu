// The first convolution of a net on the GPU: 3x3, of an image of up to four channels, with bias and
// ReLU. Matrix products over so few channels leave most of a tensor core idle; here each multiply-
// add is one instruction: 27 an output, at 3 channels, of which a thread has 64 in registers. Its
// operands come from shared memory, 10 inputs and 24 filters for 192 multiply-adds. The output is
// written once.
#include "image_conv.h"

#include "device.h"
#include "launch.h"

namespace fcn {
namespace {

constexpr int kThreads = 128;
constexpr int kWide = 8;                        // outputs of a thread along a row
constexpr int kPack = 4;                        // its channels, twice
constexpr int kGroups = 8;                      // threads for a block's channels
constexpr int kOutputs = 2 * kPack * kGroups;   // channels of a block
constexpr int kRows = 4, kColumns = 32;         // of a tile: a warp has a row
constexpr int kLine = kColumns + 4;             // of a tile's inputs, whole packs
constexpr int kInputs = (kRows + 2) * kLine;    // of a channel
constexpr int kTaps = 9;

// How many tiles the top has; its memory ends long before 32 bits do
struct Tiles {
  uint32_t across, down, count;

  FCN_HD explicit Tiles(const ImageSize& size)
      : across(static_cast<uint32_t>((size.columns + kColumns - 1) / kColumns)),
        down(static_cast<uint32_t>((size.rows + kRows - 1) / kRows)),
        count(static_cast<uint32_t>(size.images) * down * across) {}
};

// blockIdx.y: a block's channels; blockIdx.x walks the tiles of all images
template <int channels, typename T, typename Acc>
__global__ void __launch_bounds__(kThreads)
    image_conv_kernel(const T* __restrict__ image, const T* __restrict__ filters,
                      const T* __restrict__ bias, ImageSize size, T* __restrict__ top) {
  constexpr int taps = kTaps * channels;
  Acc* held = shared_memory<Acc>();             // (taps, kOutputs), then (channels, kInputs)
  Acc* inputs = held + taps * kOutputs;
  const int first = static_cast<int>(blockIdx.y) * kOutputs;
  const int lane = static_cast<int>(threadIdx.x) % 32, row = static_cast<int>(threadIdx.x) / 32;
  const int group = lane % kGroups * kPack, column = lane / kGroups * kWide;
  for (int at = threadIdx.x; at < taps * kOutputs; at += kThreads) {
    const int o = at / taps, k = at % taps;
    held[k * kOutputs + o] = first + o < size.outputs
        ? Acc(widen(filters[static_cast<int64_t>(first + o) * taps + k])) : Acc(0);
  }
  Acc biases[2 * kPack];
  for (int half = 0; half < 2; ++half)
    for (int c = 0; c < kPack; ++c) {
      const int o = first + half * kPack * kGroups + group + c;
      biases[half * kPack + c] = o < size.outputs ? Acc(widen(bias[o])) : Acc(0);
    }
  const Tiles tiles(size);
  for (uint32_t at = blockIdx.x; at < tiles.count; at += gridDim.x) {
    const int64_t x0 = at % tiles.across * kColumns, y0 = at / tiles.across % tiles.down * kRows;
    const int64_t n = at / tiles.across / tiles.down;
    __syncthreads();                            // the tile before has been read
    for (int i = threadIdx.x; i < channels * kInputs; i += kThreads) {
      const int c = i % channels, x = i / channels % kLine, y = i / channels / kLine;
      const int64_t in_y = y0 + y - size.pad_y, in_x = x0 + x - size.pad_x;
      const bool inside = in_y >= 0 && in_y < size.height && in_x >= 0 && in_x < size.width;
      inputs[c * kInputs + y * kLine + x] = inside
          ? Acc(widen(image[((n * size.height + in_y) * size.width + in_x) * channels + c]))
          : Acc(0);
    }
    __syncthreads();
    Acc sums[kWide][2 * kPack];
    for (int p = 0; p < kWide; ++p)
      for (int c = 0; c < 2 * kPack; ++c) sums[p][c] = biases[c];
#pragma unroll 1
    for (int c = 0; c < channels; ++c)
#pragma unroll 1
      for (int y = 0; y < 3; ++y) {
        const Acc* line = inputs + c * kInputs + (row + y) * kLine + column;
        Acc value[kWide + 2];
        for (int p = 0; p < kWide + 2; ++p) value[p] = line[p];
        for (int x = 0; x < 3; ++x) {
          const Acc* filter = held + ((y * 3 + x) * channels + c) * kOutputs + group;
          const auto low = *reinterpret_cast<const Pack<Acc, kPack>*>(filter);
          const auto high = *reinterpret_cast<const Pack<Acc, kPack>*>(filter + kPack * kGroups);
          for (int p = 0; p < kWide; ++p)
            for (int o = 0; o < kPack; ++o) {
              sums[p][o] += value[p + x] * low.values[o];
              sums[p][kPack + o] += value[p + x] * high.values[o];
            }
        }
      }
    const int64_t y = y0 + row;
    if (y >= size.rows) continue;
    for (int p = 0; p < kWide; ++p) {
      const int64_t x = x0 + column + p;
      if (x >= size.columns) break;
      T* pixel = top + ((n * size.rows + y) * size.columns + x) * size.outputs;
      for (int half = 0; half < 2; ++half) {
        const int o = first + half * kPack * kGroups + group;
        if (o >= size.outputs) break;
        Pack<T, kPack> pack;
        for (int c = 0; c < kPack; ++c) {
          const Acc sum = sums[p][half * kPack + c];
          store(pack.values + c, sum > Acc(0) || sum != sum ? sum : Acc(0));  // NaN stays
        }
        store_pack(pixel + o, pack);
      }
    }
  }
}

template <int channels, typename T, typename Acc>
cudaError_t launch_channels(const T* image, const T* filters, const T* bias, const ImageSize& size,
                            T* top, cudaStream_t stream) {
  constexpr int64_t most = 1024;                // blocks, which read the filters once for many tiles
  const Tiles tiles(size);
  const dim3 grid(blocks_for(tiles.count, 1, most),
                  blocks_for(size.outputs, kOutputs, kMostRows));
  const size_t shared = sizeof(Acc) * (kTaps * channels * kOutputs + channels * kInputs);
  return launch(image_conv_kernel<channels, T, Acc>, grid, kThreads, shared, stream, image, filters,
                bias, size, top);
}

}  // namespace

template <typename T, typename Acc>
cudaError_t launch_image_conv(const T* image, const T* filters, const T* bias, ImageSize size,
                              T* top, cudaStream_t stream) {
  switch (size.channels) {
    case 1: return launch_channels<1, T, Acc>(image, filters, bias, size, top, stream);
    case 2: return launch_channels<2, T, Acc>(image, filters, bias, size, top, stream);
    case 3: return launch_channels<3, T, Acc>(image, filters, bias, size, top, stream);
    default: return launch_channels<4, T, Acc>(image, filters, bias, size, top, stream);
  }
}

#define INSTANTIATE(T, Acc)                                                                  \
  template cudaError_t launch_image_conv<T, Acc>(const T*, const T*, const T*, ImageSize, T*, \
                                                 cudaStream_t);
INSTANTIATE(float, float)
INSTANTIATE(double, double)
INSTANTIATE(__half, float)
INSTANTIATE(__nv_bfloat16, float)
#undef INSTANTIATE

}  // namespace fcn
