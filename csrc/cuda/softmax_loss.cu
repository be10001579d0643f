// Upsample + crop + softmax loss on the GPU. A first kernel keeps each pixel's label and the
// logarithm of its sum. The gradient takes a few planes of scores at a time, of one class and image
// each: a kernel writes the slope of the loss for each score, and the adjoint of the upsampling sums
// them. All sums are in an order that depends on the sizes alone.
//
// For each score, where at most two inputs an axis feed a pixel (FCN's kernels):
//   loss_kernel   a pixel's value of a class, computed from a blend of the inputs along x, twice: 2
//                 multiply-adds each; maximum; exponential
//   slope_kernel  the same once, exponential, 4 bytes written, to the L2 cache, from which
//   the adjoint   reads them, 2 multiply-adds down, and 2 / stride across
// Bytes of DRAM are the inputs, their gradient, the labels, and 8 a pixel between the kernels.
#include "softmax_loss.h"

#include "loss_device.h"
#include "two_taps.h"
#include "upcrop.h"

namespace fcn {
namespace {

constexpr int kThreads = kLossThreads;
constexpr int64_t kLossImages = 4;  // of a launch's blocks, for any geometry
constexpr int kOutside = -2;        // a label
constexpr int kClasses = 4;         // planes of slopes that a thread writes

template <typename Acc>
__device__ __forceinline__ Pixel<Acc> pixel_loss(const LossArgs<Acc>& args, int64_t n, int64_t oy,
                                                 int64_t ox, LossSum& sum) {
  const Source<Acc>& source = args.source;
  const int64_t pixel = (n * source.y.out + oy) * source.x_axis.out + ox;
  const int label = class_at(args.targets, pixel, sum);
  if (label < 0) return Pixel<Acc>{0, -1};
  const PixelScore<false, Acc> score(source, n, oy, ox);
  Acc largest = static_cast<Acc>(-INFINITY), own = 0, exps = 0;
  for (int64_t c = 0; c < source.classes; ++c) {
    const Acc value = score(c);
    largest = value > largest ? value : largest;
    own = c == label ? value : own;
  }
  for (int64_t c = 0; c < source.classes; ++c) exps += exp_of(score(c) - largest);
  return add_pixel(args.targets, label, largest, own, exps, sum);
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
  bool whole;             // whether all rows have both; the same in all threads of a block

  // Run r of those between two input rows, of which `near` is the lower one
  __device__ __forceinline__ Run(const Source<Acc>& from, int64_t near, int64_t r)
      : first(near * from.y.stride + r * kRun<Acc> - from.y.shift), far(near - 1), near(near),
        whole(true) {
    for (int q = 0; q < kRun<Acc>; ++q) {
      const int64_t phase = r * kRun<Acc> + q;
      has_near[q] = near < from.y.in && phase < from.y.stride && phase < from.y.k;
      has_far[q] = far >= 0 && phase < from.y.stride && phase + from.y.stride < from.y.k;
      near_tap[q] = has_near[q] ? from.taps_y[phase] : Acc(0);
      far_tap[q] = has_far[q] ? from.taps_y[phase + from.y.stride] : Acc(0);
      whole = whole && has_near[q] && has_far[q];
    }
  }

  // The scores at the pixels of the run, from the inputs above and below, blended along x
  template <bool all>
  __device__ __forceinline__ void scores(Acc above, Acc below, Acc* to) const {
    for (int q = 0; q < kRun<Acc>; ++q) {
      if constexpr (all) {
        to[q] = of_pair(far_tap[q], above, near_tap[q], below);
      } else {
        const Acc near = has_near[q] ? below : Acc(0);
        to[q] = has_far[q] ? of_pair(far_tap[q], above, near_tap[q], near) : near_tap[q] * near;
      }
    }
  }
};

// The four inputs of a run's pixels at a column: offsets in a plane of scores, in 32 bits
template <typename Acc>
struct Corners {
  uint32_t offset[4];     // above far, above near, below far, below near
  bool there[4];
  uint32_t plane;

  __device__ __forceinline__ Corners(const Source<Acc>& from, const Run<Acc>& run,
                                     const Column<Acc>& column)
      : plane(static_cast<uint32_t>(from.y.in * from.x_axis.in)) {
    const bool rows[] = {run.far >= 0, run.near < from.y.in};
    const int columns[] = {column.far, column.near};
    for (int i = 0; i < 4; ++i) {
      there[i] = rows[i / 2] && columns[i % 2] >= 0;
      const int64_t at = (run.far + i / 2) * from.x_axis.in + columns[i % 2];
      offset[i] = there[i] ? static_cast<uint32_t>(at) : 0;
    }
  }
};

// body(c, scores) for the classes [begin, end) of an image. The inputs of kClasses are read at once:
// one after the other, their latency would be most of the kernel's time.
template <bool all, typename Acc, typename Body>
__device__ __forceinline__ void each_class(const Corners<Acc>& corners, const Run<Acc>& run,
                                           const Column<Acc>& column, const Acc* image, int begin,
                                           int end, Body body) {
#pragma unroll 1
  for (int first = begin; first < end; first += kClasses) {
    Acc above[kClasses], below[kClasses], score[kRun<Acc>];
    for (int k = 0; k < kClasses; ++k) {
      const int c = first + k < end ? first + k : end - 1;
      const uint32_t at = static_cast<uint32_t>(c) * corners.plane;
      Acc value[4];
      for (int i = 0; i < 4; ++i)
        value[i] = corners.there[i] ? image[at + corners.offset[i]] : Acc(0);
      above[k] = of_pair(column.far_tap, value[0], column.near_tap, value[1]);
      below[k] = of_pair(column.far_tap, value[2], column.near_tap, value[3]);
    }
    for (int k = 0; k < kClasses; ++k) {
      if (first + k >= end) break;
      run.template scores<all>(above[k], below[k], score);
      body(first + k, score);
    }
  }
}

template <typename Acc, typename Body>
__device__ __forceinline__ void each_class(const Corners<Acc>& corners, const Run<Acc>& run,
                                           const Column<Acc>& column, const Acc* image, int begin,
                                           int end, Body body) {
  if (run.whole)
    each_class<true>(corners, run, column, image, begin, end, body);
  else
    each_class<false>(corners, run, column, image, begin, end, body);
}

// The blocks of an image: runs of rows, a block's width of pixels each. In 32 bits, whose divisions
// are quick: those of 64 took longer than the scores.
struct Runs {
  uint32_t first, inputs;  // input rows that are the lower one of two
  uint32_t each, pieces;   // runs between two input rows; blocks along a row of pixels

  Runs(const Axis& y, const Axis& x, int64_t rows)
      : first(static_cast<uint32_t>(subpixel(y, 0).i)),
        inputs(static_cast<uint32_t>(subpixel(y, y.out - 1).i - first + 1)),
        each(static_cast<uint32_t>((y.stride + rows - 1) / rows)),
        pieces(static_cast<uint32_t>((x.out + kThreads - 1) / kThreads)) {}

  FCN_HD uint32_t blocks() const { return inputs * each * pieces; }
};

// The pixels of one thread: a run of rows at a column of an image. `at` counts blocks of images.
template <typename Acc>
struct Place {
  int64_t ox, n, r, m;

  __device__ __forceinline__ Place(const Runs& runs, uint32_t at) {
    ox = at % runs.pieces * kThreads + threadIdx.x, at /= runs.pieces;
    r = at % runs.each, at /= runs.each;
    m = at % runs.inputs + runs.first, n = at / runs.inputs;
  }

  // Whether row q of the run is in the image and belongs to it
  __device__ __forceinline__ bool has(const Axis& y, const Run<Acc>& run, int q) const {
    return r * kRun<Acc> + q < y.stride && run.first + q >= 0 && run.first + q < y.out;
  }
};

// Where at most two inputs an axis feed a pixel: a thread has the pixels of a run at a column.
template <typename Acc>
__global__ void __launch_bounds__(kThreads, 4)
    loss_kernel(const LossArgs<Acc> args, const Runs runs, Pixel<Acc>* pixels, LossSum* partial) {
  const Source<Acc>& source = args.source;
  const Axis &y = source.y, &x = source.x_axis;
  const uint32_t count = static_cast<uint32_t>(source.batch) * runs.blocks();
  const int classes = static_cast<int>(source.classes);
  LossSum sum{0, 0, 0, 0};
  for (uint32_t at = blockIdx.x; at < count; at += gridDim.x) {
    const Place<Acc> place(runs, at);
    if (place.ox >= x.out) continue;
    const Run<Acc> run(source, place.m, place.r);
    const Column<Acc> column(x, source.taps_x, place.ox);
    const Corners<Acc> corners(source, run, column);
    const Acc* image = kept(source.x + place.n * source.classes * y.in * x.in);
    const int64_t pixel = (place.n * y.out + run.first) * x.out + place.ox;
    int label[kRun<Acc>];  // -1 where the pixel takes no part, kOutside where it is not in the image
    Acc largest[kRun<Acc>], own[kRun<Acc>], exps[kRun<Acc>];
    for (int q = 0; q < kRun<Acc>; ++q) {
      label[q] = place.has(y, run, q) ? class_at(args.targets, pixel + q * x.out, sum) : kOutside;
      largest[q] = static_cast<Acc>(-INFINITY), own[q] = 0, exps[q] = 0;
    }
    each_class(corners, run, column, image, 0, classes, [&](int c, const Acc* score) {
      for (int q = 0; q < kRun<Acc>; ++q) {
        largest[q] = score[q] > largest[q] ? score[q] : largest[q];
        own[q] = c == label[q] ? score[q] : own[q];
      }
    });
    each_class(corners, run, column, image, 0, classes, [&](int, const Acc* score) {
      for (int q = 0; q < kRun<Acc>; ++q) exps[q] += exp_of(score[q] - largest[q]);
    });
    for (int q = 0; q < kRun<Acc>; ++q)
      if (label[q] != kOutside)
        pixels[pixel + q * x.out] = add_pixel(args.targets, label[q], largest[q], own[q], exps[q], sum);
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

// What the slopes of a pixel are multiplied by
template <typename Acc>
__device__ __forceinline__ Acc weight_of(const LossTargets<Acc>& t, const Pixel<Acc>& pixel,
                                         Acc scale) {
  return t.weight && pixel.label >= 0 ? scale * t.weight[pixel.label] : scale;
}

// The slope of the loss for the score of class c at a pixel; 0 where it takes no part
template <typename Acc>
__device__ __forceinline__ Acc slope(const Pixel<Acc>& pixel, Acc weight, int c, Acc score) {
  const Acc value =
      weight * (exp_of(score - pixel.log_sum) - (c == pixel.label ? Acc(1) : Acc(0)));
  return pixel.label >= 0 ? value : Acc(0);
}

// Groups of planes of scores, at most kClasses of one image each: `count` of them from `first` on
struct Groups {
  uint32_t first, count, classes;

  FCN_HD uint32_t each() const { return (classes + kClasses - 1) / kClasses; }  // of an image
  FCN_HD int64_t image(uint32_t group) const { return (first + group) / each(); }
  FCN_HD int begin(uint32_t group) const {
    return static_cast<int>((first + group) % each() * kClasses);
  }
  FCN_HD int end(uint32_t group) const {
    const int to = begin(group) + kClasses, all = static_cast<int>(classes);
    return to < all ? to : all;
  }
  // The first plane of a group, counted over all images
  FCN_HD int64_t plane(uint32_t group) const { return image(group) * classes + begin(group); }
};

// Any geometry. blockIdx.y walks the groups of planes, blockIdx.x the rows of one.
template <typename Acc>
__global__ void __launch_bounds__(kThreads, 4)
    any_slope_kernel(const LossArgs<Acc> args, const Pixel<Acc>* pixels, const LossSum* total,
                     const Groups groups, Acc* slopes) {
  const Source<Acc>& source = args.source;
  const int64_t width = source.x_axis.out, height = source.y.out;
  const int64_t first = groups.plane(0);
  const Acc scale = static_cast<Acc>(1 / divisor(args.targets, total->valid));
  for (uint32_t group = blockIdx.y; group < groups.count; group += gridDim.y) {
    const int64_t n = groups.image(group);
    const int end = groups.end(group);
    for (int64_t oy = blockIdx.x; oy < height; oy += gridDim.x)
      for (int64_t ox = threadIdx.x; ox < width; ox += kThreads) {
        const Pixel<Acc> pixel = pixels[(n * height + oy) * width + ox];
        const Acc weight = weight_of(args.targets, pixel, scale);
        const PixelScore<false, Acc> score(source, n, oy, ox);
        for (int c = groups.begin(group); c < end; ++c)
          slopes[((n * source.classes + c - first) * height + oy) * width + ox] =
              slope(pixel, weight, c, score(c));
      }
  }
}

// Where at most two inputs an axis feed a pixel: a thread has the pixels of a run at a column, and
// a group of planes. blockIdx.y walks the groups, blockIdx.x the runs of one.
template <typename Acc>
__global__ void __launch_bounds__(kThreads, sizeof(Acc) == 8 ? 4 : 5)
    slope_kernel(const LossArgs<Acc> args, const Runs runs, const Pixel<Acc>* pixels,
                 const LossSum* total, const Groups groups, Acc* slopes) {
  const Source<Acc>& source = args.source;
  const Axis &y = source.y, &x = source.x_axis;
  const int64_t first = groups.plane(0), size = y.out * x.out;
  const Acc scale = static_cast<Acc>(1 / divisor(args.targets, total->valid));
  for (uint32_t group = blockIdx.y; group < groups.count; group += gridDim.y) {
    const int64_t n = groups.image(group);
    for (uint32_t at = blockIdx.x; at < runs.blocks(); at += gridDim.x) {
      const Place<Acc> place(runs, at);
      if (place.ox >= x.out) continue;
      const Run<Acc> run(source, place.m, place.r);
      const Column<Acc> column(x, source.taps_x, place.ox);
      const int64_t in_plane = run.first * x.out + place.ox;
      const Corners<Acc> corners(source, run, column);
      Pixel<Acc> pixel[kRun<Acc>];
      Acc weight[kRun<Acc>];
      bool inside[kRun<Acc>];
      for (int q = 0; q < kRun<Acc>; ++q) {
        inside[q] = place.has(y, run, q);
        pixel[q] = inside[q] ? pixels[n * size + in_plane + q * x.out] : Pixel<Acc>{0, -1};
        weight[q] = weight_of(args.targets, pixel[q], scale);
      }
      each_class(corners, run, column, kept(source.x + n * source.classes * y.in * x.in),
                 groups.begin(group), groups.end(group), [&](int c, const Acc* score) {
                   Acc* to = kept(slopes + (n * source.classes + c - first) * size + in_plane);
                   for (int q = 0; q < kRun<Acc>; ++q, to += x.out) {
                     const Acc value = slope(pixel[q], weight[q], c, score[q]);
                     if (inside[q]) *to = value;
                   }
                 });
    }
  }
}

// Whether a geometry suits loss_kernel and slope_kernel, whose blocks count to 32 bits
template <typename Acc>
bool suits_two_taps(const Source<Acc>& s) {
  const auto below = [](int64_t size) { return size < int64_t(1) << 30; };
  const auto short_axis = [&](const Axis& axis) {
    return below(axis.out + axis.shift + axis.k) && below(axis.in);
  };
  return has_two_taps(s.y) && has_two_taps(s.x_axis) && short_axis(s.y) && short_axis(s.x_axis) &&
         s.y.stride <= kThreads && below(s.classes * s.y.in * s.x_axis.in) &&
         below(s.batch * (s.y.out + 2 * s.y.stride)) &&
         below((s.x_axis.out / kThreads + 1) * s.batch * (s.y.out + 2 * s.y.stride));
}

}  // namespace

template <typename Acc>
cudaError_t launch_loss(const LossArgs<Acc>& args, Pixel<Acc>* pixels, LossSum* partial,
                        LossSum* total, Acc* loss, cudaStream_t stream) {
  const Source<Acc>& s = args.source;
  dim3 blocks(0);
  if (s.batch > 0) {
    cudaError_t error;
    if (suits_two_taps(s)) {
      const Runs runs(s.y, s.x_axis, kRun<Acc>);
      blocks = dim3(blocks_for(s.batch * runs.blocks(), 1, kLossBlocks));
      error = launch(loss_kernel<Acc>, blocks, kThreads, kSumBytes, stream, args, runs, pixels,
                     partial);
    } else {
      blocks = dim3(blocks_for(s.y.out, 1, kLossBlocks / kLossImages),
                    blocks_for(s.batch, 1, kLossImages));
      error = launch(any_loss_kernel<Acc>, blocks, kThreads, kSumBytes, stream, args, pixels,
                     partial);
    }
    if (error != cudaSuccess) return error;
  }
  return launch_total(args.targets, partial, static_cast<int>(blocks.x * blocks.y), total, loss,
                      stream);
}

int64_t slope_planes(int64_t pixels, int64_t batch, int64_t classes, int64_t width) {
  const int64_t most = kSlopeBytes / width / (pixels > 0 ? pixels : 1) / kClasses * kClasses;
  const int64_t least = kClasses < classes ? kClasses : classes, all = batch * classes;
  return most > all ? all : most > least ? most : least;
}

template <typename Acc>
cudaError_t launch_loss_gradient(const LossArgs<Acc>& args, const Pixel<Acc>* pixels,
                                 const LossSum* total, Acc* slopes, Acc* grad,
                                 cudaStream_t stream) {
  const Source<Acc>& s = args.source;
  const int64_t plane = s.y.in * s.x_axis.in;
  if (s.batch * s.classes * plane == 0) return cudaSuccess;
  const int64_t room = slope_planes(s.y.out * s.x_axis.out, s.batch, s.classes, sizeof(Acc));
  Groups groups{.first = 0, .count = 0, .classes = static_cast<uint32_t>(s.classes)};
  const uint32_t all = static_cast<uint32_t>(s.batch) * groups.each();
  for (; groups.first < all; groups.first += groups.count) {
    const int64_t first = groups.plane(0);
    groups.count = 1;
    while (groups.first + groups.count < all && groups.plane(groups.count + 1) - first <= room)
      ++groups.count;
    const unsigned many = blocks_for(groups.count, 1, kMostRows);
    cudaError_t error;
    if (suits_two_taps(s)) {
      const Runs runs(s.y, s.x_axis, kRun<Acc>);
      error = launch(slope_kernel<Acc>, dim3(blocks_for(runs.blocks(), 1, kMostBlocks), many),
                     kThreads, 0, stream, args, runs, pixels, total, groups, slopes);
    } else {
      error = launch(any_slope_kernel<Acc>, dim3(blocks_for(s.y.out, 1, kMostBlocks), many),
                     kThreads, 0, stream, args, pixels, total, groups, slopes);
    }
    if (error == cudaSuccess)
      error = launch_upcrop_backward(static_cast<const Acc*>(slopes), s.taps_y, s.taps_x, s.y,
                                     s.x_axis, groups.plane(groups.count) - first, int64_t(1),
                                     grad + first * plane, stream);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

#define INSTANTIATE(Acc)                                                                       \
  template cudaError_t launch_loss(const LossArgs<Acc>&, Pixel<Acc>*, LossSum*, LossSum*,      \
                                   Acc*, cudaStream_t);                                        \
  template cudaError_t launch_loss_gradient(const LossArgs<Acc>&, const Pixel<Acc>*,           \
                                            const LossSum*, Acc*, Acc*, cudaStream_t);
INSTANTIATE(float)
INSTANTIATE(double)
#undef INSTANTIATE

}  // namespace fcn
