// Upsample + crop + softmax loss on the GPU. A first kernel keeps each pixel's label and the
// logarithm of its sum; the gradient gathers from them at the input's resolution. All sums are in
// an order that depends on the sizes alone.
//
// Where at most two inputs an axis feed a pixel (FCN's kernels), for each score, a pixel's value
// of a class, computed from a blend of the inputs along x that a thread keeps for several rows:
//   loss_kernel      2 times 2 multiply-adds, maximum, exponential
//   gradient_kernel  1 + 1 / rows of a tile times: 2 multiply-adds, exponential, 2 multiply-adds
//                    down; and 2 / stride across
// Bytes of DRAM are the inputs, their gradient, the labels, and 8 a pixel between the kernels,
// against 21 scores. So the bound is arithmetic, about 25 instructions a
// score in all, not bandwidth.
#include "softmax_loss.h"

#include "../epilogue.h"
#include "device.h"
#include "launch.h"
#include "two_taps.h"

namespace fcn {
namespace {

constexpr int kThreads = 128, kWarp = 32;
constexpr int64_t kLossImages = 4;  // of a launch's blocks, for any geometry
constexpr int kOutside = -2;        // a label
constexpr int kClasses = 4;         // classes that a thread takes at a time in the gradient
constexpr size_t kSumBytes = kThreads * sizeof(LossSum);

__device__ __forceinline__ float exp_of(float x) { return expf(x); }
__device__ __forceinline__ double exp_of(double x) { return exp(x); }
__device__ __forceinline__ float log_of(float x) { return logf(x); }
__device__ __forceinline__ double log_of(double x) { return log(x); }

// A label truncated to an integer, as Caffe reads it; kNoLabel if it does not fit an int
__device__ __forceinline__ int64_t truncated(double value) {
  return value > -2147483648.0 && value < 2147483648.0 ? static_cast<int64_t>(value)
                                                           : kNoLabel;
}

template <typename Acc>
__device__ __forceinline__ int64_t label_at(const LossArgs<Acc>& a, int64_t pixel) {
  switch (a.label_type) {
    case LabelType::kByte: return static_cast<const uint8_t*>(a.label)[pixel];
    case LabelType::kInt: return static_cast<const int32_t*>(a.label)[pixel];
    case LabelType::kLong: return static_cast<const int64_t*>(a.label)[pixel];
    case LabelType::kFloat: return truncated(static_cast<const float*>(a.label)[pixel]);
    default: return truncated(static_cast<const double*>(a.label)[pixel]);
  }
}

// The label before conversion
template <typename Acc>
__device__ __forceinline__ double given_label(const LossArgs<Acc>& a, int64_t pixel) {
  if (a.label_type == LabelType::kFloat) return static_cast<const float*>(a.label)[pixel];
  if (a.label_type == LabelType::kDouble) return static_cast<const double*>(a.label)[pixel];
  return static_cast<double>(label_at(a, pixel));
}

__device__ __forceinline__ void add(LossSum& to, const LossSum& from) {
  if (to.bad == 0) to.example = from.example;
  to.loss += from.loss;
  to.valid += from.valid;
  to.bad += from.bad;
}

// The sum over a block's threads, in all of them; takes kSumBytes of shared memory
__device__ __forceinline__ LossSum block_sum(LossSum mine) {
  LossSum* all = shared_memory<LossSum>();
  all[threadIdx.x] = mine;
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (static_cast<int>(threadIdx.x) < half) add(all[threadIdx.x], all[threadIdx.x + half]);
  }
  __syncthreads();
  return all[0];
}

// The class of a pixel's label, -1 where the pixel takes no part; counts a bad label in sum
template <typename Acc>
__device__ __forceinline__ int class_at(const LossArgs<Acc>& args, int64_t pixel, LossSum& sum) {
  const int64_t label = label_at(args, pixel);
  if ((args.has_ignore && label == args.ignore) || (args.mask && !args.mask[pixel])) return -1;
  if (label >= 0 && label < args.source.classes) return static_cast<int>(label);
  add(sum, LossSum{.loss = 0, .valid = 0, .bad = 1, .example = given_label(args, pixel)});
  return -1;
}

// Add one pixel's terms to sum, from its largest score, its label's score and the sum of
// exp(score - largest); returns what the gradient needs of it
template <typename Acc>
__device__ __forceinline__ Pixel<Acc> add_pixel(const LossArgs<Acc>& args, int label, Acc largest,
                                                Acc own, Acc exps, LossSum& sum) {
  if (label < 0) return Pixel<Acc>{0, -1};
  const Acc log_sum = log_of(exps);
  const Acc lost = -log_probability(own, largest, log_sum, Acc(kLeastLog));
  sum.loss += static_cast<double>(args.weight ? args.weight[label] * lost : lost);
  ++sum.valid;
  return Pixel<Acc>{largest + log_sum, label};
}

template <typename Acc>
__device__ __forceinline__ Pixel<Acc> pixel_loss(const LossArgs<Acc>& args, int64_t n, int64_t oy,
                                                 int64_t ox, LossSum& sum) {
  const Source<Acc>& source = args.source;
  const int64_t pixel = (n * source.y.out + oy) * source.x_axis.out + ox;
  const int label = class_at(args, pixel, sum);
  if (label < 0) return Pixel<Acc>{0, -1};
  const PixelScore<false, Acc> score(source, n, oy, ox);
  Acc largest = static_cast<Acc>(-INFINITY), own = 0, exps = 0;
  for (int64_t c = 0; c < source.classes; ++c) {
    const Acc value = score(c);
    largest = value > largest ? value : largest;
    own = c == label ? value : own;
  }
  for (int64_t c = 0; c < source.classes; ++c) exps += exp_of(score(c) - largest);
  return add_pixel(args, label, largest, own, exps, sum);
}

// Any geometry. blockIdx.y walks the images, blockIdx.x the rows of one.
template <typename Acc>
__global__ void __launch_bounds__(kThreads, 4)
    any_loss_kernel(const LossArgs<Acc> args, Pixel<Acc>* pixels, LossSum* partial) {
  const int64_t width = args.source.x_axis.out;
  LossSum sum{0, 0, 0, 0};
  for (int64_t n = blockIdx.y; n < args.source.batch; n += gridDim.y)
    for (int64_t oy = blockIdx.x; oy < args.source.y.out; oy += gridDim.x)
      for (int64_t ox = threadIdx.x; ox < width; ox += kThreads)
        pixels[(n * args.source.y.out + oy) * width + ox] = pixel_loss(args, n, oy, ox, sum);
  sum = block_sum(sum);
  if (threadIdx.x == 0) partial[blockIdx.y * gridDim.x + blockIdx.x] = sum;
}

// Rows of pixels that a thread takes at a time
template <typename Acc>
constexpr int kRun = sizeof(Acc) == 8 ? 2 : 4;

// Up to kRun rows of pixels between the same two input rows: their vertical taps
template <typename Acc>
struct Run {
  int64_t first;          // row of pixels, maybe above the image
  int64_t far, near;      // input rows; far may be -1, near one behind the last
  Acc far_tap[kRun<Acc>], near_tap[kRun<Acc>];
  bool has_far[kRun<Acc>], has_near[kRun<Acc>];

  // Run r of those between two input rows, of which `near` is the lower one
  __device__ __forceinline__ Run(const Source<Acc>& from, int64_t near, int64_t r)
      : first(near * from.y.stride + r * kRun<Acc> - from.y.shift), far(near - 1), near(near) {
    for (int q = 0; q < kRun<Acc>; ++q) {
      const int64_t phase = r * kRun<Acc> + q;
      has_near[q] = near < from.y.in && phase < from.y.stride && phase < from.y.k;
      has_far[q] = far >= 0 && phase < from.y.stride && phase + from.y.stride < from.y.k;
      near_tap[q] = has_near[q] ? from.taps_y[phase] : Acc(0);
      far_tap[q] = has_far[q] ? from.taps_y[phase + from.y.stride] : Acc(0);
    }
  }

  // The scores of class plane x at a column
  __device__ __forceinline__ void scores(const Source<Acc>& from, const Acc* x,
                                         const Column<Acc>& column, Acc* to) const {
    const int64_t width = from.x_axis.in;
    const Acc above = far >= 0 ? column.blend(x + far * width) : Acc(0);
    const Acc below = near < from.y.in ? column.blend(x + near * width) : Acc(0);
    for (int q = 0; q < kRun<Acc>; ++q) {
      const Acc near = has_near[q] ? below : Acc(0);
      to[q] = has_far[q] ? of_pair(far_tap[q], above, near_tap[q], near) : near_tap[q] * near;
    }
  }
};

// A launch's work: runs of rows, a block's width of pixels each
template <typename Acc>
struct Runs {
  int64_t first, inputs;  // input rows that are the lower one of two
  int64_t each, pieces;   // runs between two input rows; blocks along a row of pixels

  FCN_HD Runs(const Axis& y, const Axis& x)
      : first(subpixel(y, 0).i), inputs(subpixel(y, y.out - 1).i - first + 1),
        each((y.stride + kRun<Acc> - 1) / kRun<Acc>), pieces((x.out + kThreads - 1) / kThreads) {}
};

// Where at most two inputs an axis feed a pixel: a thread has the pixels of a run at a column.
template <typename Acc>
__global__ void __launch_bounds__(kThreads, 4)
    loss_kernel(const LossArgs<Acc> args, Pixel<Acc>* pixels, LossSum* partial) {
  const Source<Acc>& source = args.source;
  const Axis &y = source.y, &x = source.x_axis;
  const Runs<Acc> runs(y, x);
  const int64_t count = source.batch * runs.inputs * runs.each * runs.pieces;
  const int64_t plane = y.in * x.in;
  LossSum sum{0, 0, 0, 0};
  for (int64_t at = blockIdx.x; at < count; at += gridDim.x) {
    const int64_t ox = at % runs.pieces * kThreads + threadIdx.x;
    const int64_t r = at / runs.pieces % runs.each;
    const int64_t m = at / runs.pieces / runs.each % runs.inputs + runs.first;
    const int64_t n = at / runs.pieces / runs.each / runs.inputs;
    const Run<Acc> run(source, m, r);
    if (ox >= x.out) continue;
    const Column<Acc> column(x, source.taps_x, ox);
    const Acc* image = source.x + n * source.classes * plane;
    const int64_t pixel = (n * y.out + run.first) * x.out + ox;
    int label[kRun<Acc>];  // -1 where the pixel takes no part, kOutside where it is not in the image
    Acc largest[kRun<Acc>], own[kRun<Acc>], exps[kRun<Acc>], score[kRun<Acc>];
    for (int q = 0; q < kRun<Acc>; ++q) {
      const bool inside =
          r * kRun<Acc> + q < y.stride && run.first + q >= 0 && run.first + q < y.out;
      label[q] = inside ? class_at(args, pixel + q * x.out, sum) : kOutside;
      largest[q] = static_cast<Acc>(-INFINITY), own[q] = 0, exps[q] = 0;
    }
    for (int64_t c = 0; c < source.classes; ++c) {
      run.scores(source, image + c * plane, column, score);
      for (int q = 0; q < kRun<Acc>; ++q) {
        largest[q] = score[q] > largest[q] ? score[q] : largest[q];
        own[q] = c == label[q] ? score[q] : own[q];
      }
    }
    for (int64_t c = 0; c < source.classes; ++c) {
      run.scores(source, image + c * plane, column, score);
      for (int q = 0; q < kRun<Acc>; ++q) exps[q] += exp_of(score[q] - largest[q]);
    }
    for (int q = 0; q < kRun<Acc>; ++q)
      if (label[q] != kOutside)
        pixels[pixel + q * x.out] = add_pixel(args, label[q], largest[q], own[q], exps[q], sum);
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

template <typename Acc>
__device__ __forceinline__ double divisor(const LossArgs<Acc>& args, int64_t valid) {
  const Source<Acc>& s = args.source;
  return normalizer(args.normalization, valid, s.batch, s.y.out * s.x_axis.out);
}

// One block: the partial sums, and the loss
template <typename Acc>
__global__ void __launch_bounds__(kThreads)
    total_kernel(const LossArgs<Acc> args, const LossSum* partial, int count, LossSum* total,
                 Acc* loss) {
  LossSum sum{0, 0, 0, 0};
  for (int at = threadIdx.x; at < count; at += kThreads) add(sum, partial[at]);
  sum = block_sum(sum);
  if (threadIdx.x != 0) return;
  *total = sum;
  *loss = sum.bad ? static_cast<Acc>(NAN)
                  : static_cast<Acc>(sum.loss / divisor(args, sum.valid));
}

// The slope of the loss for class c's score at a pixel that takes part, not yet divided
template <typename Acc>
__device__ __forceinline__ Acc slope(const Pixel<Acc>& pixel, Acc weight, int64_t c, Acc score) {
  return weight * (exp_of(score - pixel.log_sum) - (c == pixel.label ? Acc(1) : Acc(0)));
}

// The weight of a pixel's class
template <typename Acc>
__device__ __forceinline__ Acc weight_of(const LossArgs<Acc>& args, const Pixel<Acc>& pixel) {
  return args.weight && pixel.label >= 0 ? args.weight[pixel.label] : Acc(1);
}

// Any geometry: a warp gathers one input's gradient from the outputs that it feeds.
template <typename Acc>
__global__ void __launch_bounds__(kThreads, 4)
    any_gradient_kernel(const LossArgs<Acc> args, const Pixel<Acc>* pixels, const LossSum* total,
                        Acc* grad) {
  const Source<Acc>& source = args.source;
  const Axis &y = source.y, &x = source.x_axis;
  const int lane = threadIdx.x % kWarp;
  const int64_t warps = static_cast<int64_t>(gridDim.x) * (kThreads / kWarp);
  const int64_t inputs = source.batch * y.in * x.in * source.classes;
  const Acc scale = static_cast<Acc>(1 / divisor(args, total->valid));
  for (int64_t warp = static_cast<int64_t>(blockIdx.x) * (kThreads / kWarp) +
                      threadIdx.x / kWarp; warp < inputs; warp += warps) {
    const int64_t c = warp % source.classes, j = warp / source.classes % x.in;
    const int64_t i = warp / source.classes / x.in % y.in;
    const int64_t n = warp / source.classes / x.in / y.in;
    const Acc* plane = source.x + (n * source.classes + c) * y.in * x.in;
    const Span rows = targets(y, i), cols = targets(x, j);
    const int64_t wide = cols.end - cols.begin, count = (rows.end - rows.begin) * wide;
    Acc sum = 0;
    for (int64_t at = lane; at < count; at += kWarp) {
      const int64_t oy = rows.begin + at / wide, ox = cols.begin + at % wide;
      const Pixel<Acc> pixel = pixels[(n * y.out + oy) * x.out + ox];
      if (pixel.label < 0) continue;
      const Acc score =
          output_at(plane, source.taps_y, source.taps_x, y, x, int64_t(1), oy, ox);
      sum += source.taps_y[tap(y, oy, i)] * source.taps_x[tap(x, ox, j)] *
             slope(pixel, weight_of(args, pixel), c, score);
    }
    for (int half = kWarp / 2; half > 0; half /= 2) sum += __shfl_down_sync(~0u, sum, half);
    if (lane == 0) grad[((n * source.classes + c) * y.in + i) * x.in + j] = sum * scale;
  }
}

// How many pixels of a row, kThreads apart, a thread of gradient_kernel has
template <typename Acc>
constexpr int kColumns = sizeof(Acc) == 8 ? 1 : 2;

// Where at most two inputs an axis feed a pixel: the slopes of kClasses classes at once, as the
// values of a gradient that two_taps.h gathers.
template <typename Acc>
__global__ void __launch_bounds__(kThreads, 4)
    gradient_kernel(const LossArgs<Acc> args, const Pixel<Acc>* pixels, const LossSum* total,
                    TileSize size, Acc* grad) {
  constexpr int columns = kColumns<Acc>, vec = columns * kClasses;
  Acc* shared = shared_memory<Acc>();
  const Source<Acc>& source = args.source;
  const Axis &y = source.y, &x = source.x_axis;
  const int64_t groups = (source.classes + kClasses - 1) / kClasses, plane = y.in * x.in;
  const int64_t tiles = source.batch * size.bands * groups * size.strips;
  const Acc scale = static_cast<Acc>(1 / divisor(args, total->valid));
  for (int64_t at = blockIdx.x; at < tiles; at += gridDim.x) {
    const int64_t left = at % size.strips * size.columns;
    const int64_t c0 = at / size.strips % groups * kClasses;
    const int64_t top = at / size.strips / groups % size.bands * size.rows;
    const int64_t n = at / size.strips / groups / size.bands;
    const auto least = [](int64_t a, int64_t b) { return a < b ? a : b; };
    const Tile tile(x, top, least(top + size.rows, y.in), left,
                    least(left + size.columns, x.in), kClasses);
    const Acc* image = source.x + (n * source.classes + c0) * plane;
    Acc* result = grad + (n * source.classes + c0) * plane;
    const int classes = static_cast<int>(least(kClasses, source.classes - c0));
    Column<Acc> column[columns];
    bool inside[columns];
    for (int v = 0; v < columns; ++v) {
      const int o = v * kThreads + static_cast<int>(threadIdx.x);
      inside[v] = o < tile.columns;
      if (inside[v]) column[v] = Column<Acc>(x, source.taps_x, tile.first + o);
    }
    const int64_t first = n * y.out * x.out + tile.first + threadIdx.x;  // pixel of row 0
    int64_t ahead = -1;   // the row of `next`, which is read while the one before is computed
    Pixel<Acc> next[columns];
    const auto read = [&](int64_t oy) {
      ahead = oy;
      for (int q = 0; q < columns; ++q)
        next[q] = inside[q] && oy < y.out ? pixels[first + oy * x.out + q * kThreads]
                                          : Pixel<Acc>{0, -1};
    };
    Acc above[vec], below[vec];  // inputs of rows m - 1 and m, blended along x
    const auto blend = [&](int64_t m, Acc* to) {
      for (int v = 0; v < vec; ++v) {
        const int c = v % kClasses;
        const bool there = m >= 0 && m < y.in && c < classes;
        to[v] = there ? column[v / kClasses].blend(image + c * plane + m * x.in) : Acc(0);
      }
    };
    blend(tile.top - 1, below);
    gather<vec, 1>(
        y, x, source.taps_y, source.taps_x, tile, shared,
        [](int v) {
          return (v / kClasses * kThreads + static_cast<int>(threadIdx.x)) * kClasses +
                 v % kClasses;
        },
        [&](int64_t m) {
          for (int v = 0; v < vec; ++v) above[v] = below[v];
          blend(m, below);
        },
        [&](int64_t oy, Acc far, Acc near, bool has_far, Acc* slopes) {
          if (ahead != oy) read(oy);
          Pixel<Acc> pixel[columns];
          for (int q = 0; q < columns; ++q) pixel[q] = next[q];
          read(oy + 1);
          for (int q = 0; q < columns; ++q) {
            const Acc weight = weight_of(args, pixel[q]);
            for (int c = 0; c < kClasses; ++c) {
              const int v = q * kClasses + c;
              const Acc score =
                  has_far ? of_pair(far, above[v], near, below[v]) : near * below[v];
              slopes[v] = pixel[q].label >= 0 ? slope(pixel[q], weight, c0 + c, score) : Acc(0);
            }
          }
        },
        [&](int64_t i, int64_t j, int c, Acc sum) {
          if (c < classes) result[c * plane + i * x.in + j] = sum * scale;
        });
  }
}

// Whether a geometry suits loss_kernel and gradient_kernel, a row of whose tiles has the pixels
// of an input
template <typename Acc>
bool suits_two_taps(const Source<Acc>& s) {
  return has_two_taps(s.y) && has_two_taps(s.x_axis) && s.y.stride <= kThreads &&
         s.x_axis.k <= kThreads * kColumns<Acc>;
}

}  // namespace

template <typename Acc>
cudaError_t launch_loss(const LossArgs<Acc>& args, Pixel<Acc>* pixels, LossSum* partial,
                        LossSum* total, Acc* loss, cudaStream_t stream) {
  const Source<Acc>& s = args.source;
  dim3 blocks(0);
  if (s.batch > 0) {
    const Runs<Acc> runs(s.y, s.x_axis);
    const bool suits = suits_two_taps(s);
    blocks = suits ? dim3(blocks_for(s.batch * runs.inputs * runs.each * runs.pieces, 1,
                                     kLossBlocks))
                   : dim3(blocks_for(s.y.out, 1, kLossBlocks / kLossImages),
                          blocks_for(s.batch, 1, kLossImages));
    const cudaError_t error = launch(suits ? loss_kernel<Acc> : any_loss_kernel<Acc>, blocks,
                                     kThreads, kSumBytes, stream, args, pixels, partial);
    if (error != cudaSuccess) return error;
  }
  return launch(total_kernel<Acc>, dim3(1), kThreads, kSumBytes, stream, args, partial,
                static_cast<int>(blocks.x * blocks.y), total, loss);
}

template <typename Acc>
cudaError_t launch_loss_gradient(const LossArgs<Acc>& args, const Pixel<Acc>* pixels,
                                 const LossSum* total, Acc* grad, cudaStream_t stream) {
  const Source<Acc>& s = args.source;
  const int64_t inputs = s.batch * s.y.in * s.x_axis.in * s.classes;
  if (inputs == 0) return cudaSuccess;
  if (!suits_two_taps(s))
    return launch(any_gradient_kernel<Acc>,
                  dim3(blocks_for(inputs, kThreads / kWarp, kMostBlocks)), kThreads, 0, stream,
                  args, pixels, total, grad);
  constexpr int64_t columns = kThreads * kColumns<Acc>;
  const int64_t groups = (s.classes + kClasses - 1) / kClasses;
  const TileSize size(s.y, s.x_axis, columns, s.batch * groups);
  const int64_t tiles = s.batch * size.bands * groups * size.strips;
  return launch(gradient_kernel<Acc>, dim3(blocks_for(tiles, 1, kMostBlocks)), kThreads,
                (padded(columns * kClasses) + 1) * sizeof(Acc), stream, args, pixels, total,
                size, grad);
}

#define INSTANTIATE(Acc)                                                                       \
  template cudaError_t launch_loss(const LossArgs<Acc>&, Pixel<Acc>*, LossSum*, LossSum*,      \
                                   Acc*, cudaStream_t);                                        \
  template cudaError_t launch_loss_gradient(const LossArgs<Acc>&, const Pixel<Acc>*,           \
                                            const LossSum*, Acc*, cudaStream_t);
INSTANTIATE(float)
INSTANTIATE(double)
#undef INSTANTIATE

}  // namespace fcn
