// The fused op on the GPU. Every thread gathers what it writes, so nothing is atomic.
#include "upcrop.h"

#include "device.h"
#include "launch.h"
#include "two_taps.h"

namespace fcn {
namespace {

constexpr int kThreads = 128;
constexpr int kRows = 16;  // rows of outputs that a thread walks down
constexpr int kGather = 256;  // threads of adjoint_kernel

// k = 2 * stride on both axes. A thread keeps `vec` values of a row of the result (a cell holds
// `inner` of them) and walks down: the two input rows, expanded to its values, stay in registers
// until the walk passes an input. blockIdx.y walks pieces of kRows rows of all planes.
template <int vec, typename T, typename Acc>
__global__ void __launch_bounds__(kThreads)
    pairs_kernel(const T* source, const Acc* taps_y, const Acc* taps_x, Axis y, Axis x,
                 int64_t planes, int inner, Added<T> added, T* result) {
  const int width = static_cast<int>(x.out) * inner;  // values; the host checks that they fit
  const int column = (blockIdx.x * kThreads + threadIdx.x) * vec;
  if (column >= width) return;
  const int stride_y = static_cast<int>(y.stride), stride_x = static_cast<int>(x.stride);
  int before[vec], now[vec];  // offsets in an input row, -1 beside it
  Acc tap_before[vec], tap_now[vec];
  for (int v = 0; v < vec; ++v) {
    const int u = (column + v) / inner + static_cast<int>(x.shift), c = (column + v) % inner;
    const int i = u / stride_x, phase = u % stride_x;
    now[v] = i < x.in ? i * inner + c : -1;
    before[v] = i > 0 && i <= x.in ? (i - 1) * inner + c : -1;
    tap_now[v] = taps_x[phase];
    tap_before[v] = taps_x[phase + stride_x];
  }
  const int64_t pieces = (y.out + kRows - 1) / kRows;
  for (int64_t piece = blockIdx.y; piece < planes * pieces; piece += gridDim.y) {
    const int64_t plane = piece / pieces;
    const int begin = static_cast<int>(piece % pieces) * kRows;
    const int end = static_cast<int>(y.out - begin < kRows ? y.out : begin + kRows);
    const T* image = source + plane * y.in * x.in * inner;
    Acc above[vec], below[vec];  // input rows i - 1 and i at this thread's values
    const auto expand = [&](int i, Acc* wide) {
      const bool inside = i >= 0 && i < y.in;
      const T* row = image + static_cast<int64_t>(inside ? i : 0) * x.in * inner;
      for (int v = 0; v < vec; ++v) {
        const Acc a = inside && before[v] >= 0 ? Acc(widen(row[before[v]])) : Acc(0);
        const Acc b = inside && now[v] >= 0 ? Acc(widen(row[now[v]])) : Acc(0);
        wide[v] = tap_before[v] * a + tap_now[v] * b;
      }
    };
    const int u = begin + static_cast<int>(y.shift);
    int i = u / stride_y, phase = u % stride_y;
    expand(i - 1, above);
    expand(i, below);
    T* out = result + (plane * y.out + begin) * width + column;
    for (int row = begin; row < end; ++row, out += width) {
      const Acc low = taps_y[phase], high = taps_y[phase + stride_y];
      Pack<T, vec> pack;
      for (int v = 0; v < vec; ++v) {
        Acc sum = high * above[v] + low * below[v];
        if (added.values) sum += Acc(widen(added.row(plane, row, inner)[column + v]));
        store(pack.values + v, sum);
      }
      store_through(out, pack);
      if (++phase < stride_y) continue;
      phase = 0, ++i;
      for (int v = 0; v < vec; ++v) above[v] = below[v];
      if (row + 1 < end) expand(i, below);
    }
  }
}

// Any geometry. blockIdx.y walks the rows of all planes of the result, blockIdx.x their values.
template <bool forward, typename T, typename Acc>
__global__ void __launch_bounds__(kThreads)
    upcrop_kernel(const T* source, const Acc* taps_y, const Acc* taps_x, Axis y, Axis x,
                  int64_t planes, int64_t inner, Added<T> added, T* result) {
  const int64_t height = forward ? y.out : y.in;
  const int64_t width = (forward ? x.out : x.in) * inner;
  const int64_t plane_size = (forward ? y.in * x.in : y.out * x.out) * inner;
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t row = blockIdx.y; row < planes * height; row += gridDim.y) {
    const T* plane = source + row / height * plane_size;
    const int64_t cell_y = row % height;
    for (int64_t at = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; at < width;
         at += step) {
      const T* channel = plane + at % inner;
      const int64_t cell_x = at / inner;
      Acc sum = forward ? output_at(channel, taps_y, taps_x, y, x, inner, cell_y, cell_x)
                        : gradient_at(channel, taps_y, taps_x, y, x, inner, cell_y, cell_x);
      if (forward && added.values)
        sum += Acc(widen(added.row(row / height, cell_y, inner)[at]));
      store(result + row * width + at, sum);
    }
  }
}

// How adjoint_kernel cuts its result: tiles of input cells, and of the values of a cell
struct Cut {
  TileSize size;
  int channels;   // values of a cell that a tile has
  int64_t parts;  // tiles along them
};

// The adjoint, where at most two inputs an axis feed an output. A tile's sums of a row of the
// gradient stay in registers, `vec` a thread, at the columns' own order: reads are coalesced.
// For each value of the gradient: 1 read, or 1 + 1 / cut.size.rows of which the first is of DRAM,
// 2 multiply-adds down and 2 / stride across; the result is written once. Bound by reading.
template <int vec, typename T, typename Acc>
__global__ void __launch_bounds__(kGather, vec > 2 ? 2 : 4)
    adjoint_kernel(const T* __restrict__ grad, const Acc* __restrict__ taps_y,
                   const Acc* __restrict__ taps_x, Axis y, Axis x, int64_t planes, int inner,
                   Cut cut, T* __restrict__ result) {
  Acc* shared = shared_memory<Acc>();
  const TileSize& size = cut.size;
  const int64_t tiles = planes * size.bands * cut.parts * size.strips;
  for (int64_t at = blockIdx.x; at < tiles; at += gridDim.x) {
    const int64_t left = at % size.strips * size.columns;
    const int first = static_cast<int>(at / size.strips % cut.parts) * cut.channels;
    const int64_t top = at / size.strips / cut.parts % size.bands * size.rows;
    const int64_t plane = at / size.strips / cut.parts / size.bands;
    const int channels = inner - first < cut.channels ? inner - first : cut.channels;
    const auto least = [](int64_t a, int64_t b) { return a < b ? a : b; };
    const Tile tile(x, top, least(top + size.rows, y.in), left,
                    least(left + size.columns, x.in), channels);
    const auto slot = [](int v) { return v * kGather + static_cast<int>(threadIdx.x); };
    int offset[vec];  // in a row of the gradient; beyond the tile any, for a sum that nobody reads
    for (int v = 0; v < vec; ++v) {
      const int column = static_cast<int>(tile.first) + slot(v) / channels;
      offset[v] = slot(v) < tile.columns * channels
                      ? column * inner + first + slot(v) % channels : 0;
    }
    const T* image = grad + plane * y.out * x.out * inner;
    gather<vec, 8 / vec>(
        y, x, taps_y, taps_x, tile, shared, slot,
        [&](int64_t oy, Acc* values) {
          const T* row = image + oy * x.out * inner;
          for (int v = 0; v < vec; ++v) values[v] = Acc(widen(row[offset[v]]));
        },
        [&](int64_t i, int64_t j, int channel, Acc sum) {
          store(result + ((plane * y.in + i) * x.in + j) * inner + first + channel, sum);
        });
  }
}

template <bool forward, typename T, typename Acc>
cudaError_t launch_rows(const T* source, const Acc* taps_y, const Acc* taps_x, Axis y, Axis x,
                   int64_t planes, int64_t inner, Added<T> added, T* result,
                   cudaStream_t stream) {
  const int64_t rows = planes * (forward ? y.out : y.in);
  const int64_t width = (forward ? x.out : x.in) * inner;
  if (rows == 0 || width == 0) return cudaSuccess;
  const dim3 grid(blocks_for(width, kThreads, kMostBlocks), blocks_for(rows, 1, kMostRows));
  return launch(upcrop_kernel<forward, T, Acc>, grid, kThreads, 0, stream, source, taps_y, taps_x,
                y, x, planes, inner, added, result);
}

template <int vec, typename T, typename Acc>
cudaError_t launch_pairs(const T* source, const Acc* taps_y, const Acc* taps_x, Axis y, Axis x,
                         int64_t planes, int64_t inner, Added<T> added, T* result,
                         cudaStream_t stream) {
  const int64_t pieces = planes * ((y.out + kRows - 1) / kRows);
  if (pieces == 0) return cudaSuccess;
  const dim3 grid(blocks_for(x.out * inner, kThreads * vec),
                  blocks_for(pieces, 1, kMostRows));
  return launch(pairs_kernel<vec, T, Acc>, grid, kThreads, 0, stream, source, taps_y, taps_x, y, x,
                planes, static_cast<int>(inner), added, result);
}

template <int vec, typename T, typename Acc>
cudaError_t launch_adjoint(const T* grad, const Acc* taps_y, const Acc* taps_x, Axis y, Axis x,
                           int64_t planes, int64_t inner, T* result, cudaStream_t stream) {
  constexpr int64_t values = kGather * vec;
  const int64_t most = values / (2 * x.k);  // channels that leave room for two kernels' columns
  const int64_t parts = (inner + most - 1) / (most > 0 ? most : 1);
  const int64_t channels = (inner + parts - 1) / parts;
  const Cut cut{.size = TileSize(y, x, values / channels, planes * parts),
                .channels = static_cast<int>(channels),
                .parts = parts};
  const int64_t tiles = planes * cut.size.bands * cut.size.strips * parts;
  return launch(adjoint_kernel<vec, T, Acc>, dim3(blocks_for(tiles, 1, kMostBlocks)), kGather,
                (padded(values) + 1) * sizeof(Acc), stream, grad, taps_y, taps_x, y, x, planes,
                static_cast<int>(inner), cut, result);
}

// Whether offsets of 32 bits suffice along an axis with `inner` values in a cell
bool is_small(const Axis& axis, int64_t inner) {
  constexpr int64_t most = 1 << 30;
  return axis.k < most && axis.out + axis.shift < most && axis.out < most / inner &&
         axis.in < most / inner;
}

// Whether one axis suits pairs_kernel
bool fits(const Axis& axis, int64_t inner) {
  return axis.k == 2 * axis.stride && is_small(axis, inner);
}

// Whether the axes suit adjoint_kernel, a row of whose tiles has the outputs of an input
bool suits_adjoint(const Axis& y, const Axis& x, int64_t inner) {
  return has_two_taps(y) && has_two_taps(x) && is_small(y, 1) && is_small(x, inner) &&
         2 * x.k <= 2 * kGather;
}

}  // namespace

template <typename T, typename Acc>
cudaError_t launch_upcrop(const T* source, const Acc* taps_y, const Acc* taps_x, Axis y, Axis x,
                          int64_t planes, int64_t inner, Added<T> added, T* result,
                          cudaStream_t stream) {
  constexpr int vec = 16 / sizeof(T);
  if (inner == 0 || !fits(y, 1) || !fits(x, inner))
    return launch_rows<true>(source, taps_y, taps_x, y, x, planes, inner, added, result, stream);
  const bool whole = x.out * inner % vec == 0 && reinterpret_cast<uintptr_t>(result) % 16 == 0;
  return whole ? launch_pairs<vec>(source, taps_y, taps_x, y, x, planes, inner, added, result,
                                   stream)
               : launch_pairs<1>(source, taps_y, taps_x, y, x, planes, inner, added, result,
                                 stream);
}

template <typename T, typename Acc>
cudaError_t launch_upcrop_backward(const T* source, const Acc* taps_y, const Acc* taps_x, Axis y,
                                   Axis x, int64_t planes, int64_t inner, T* result,
                                   cudaStream_t stream) {
  if (planes == 0 || inner == 0) return cudaSuccess;
  if (!suits_adjoint(y, x, inner))
    return launch_rows<false>(source, taps_y, taps_x, y, x, planes, inner, Added<T>{}, result,
                              stream);
  return inner == 1 ? launch_adjoint<2>(source, taps_y, taps_x, y, x, planes, inner, result, stream)
                    : launch_adjoint<sizeof(Acc) == 8 ? 4 : 8>(source, taps_y, taps_x, y, x, planes,
                                                              inner, result, stream);
}

#define INSTANTIATE(T, Acc)                                                                    \
  template cudaError_t launch_upcrop(const T*, const Acc*, const Acc*, Axis, Axis, int64_t,    \
                                     int64_t, Added<T>, T*, cudaStream_t);                     \
  template cudaError_t launch_upcrop_backward(const T*, const Acc*, const Acc*, Axis, Axis,    \
                                              int64_t, int64_t, T*, cudaStream_t);
INSTANTIATE(float, float)
INSTANTIATE(double, double)
INSTANTIATE(__half, float)
INSTANTIATE(__nv_bfloat16, float)
#undef INSTANTIATE

}  // namespace fcn
