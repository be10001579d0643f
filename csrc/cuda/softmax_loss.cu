// Upsample + crop + softmax loss on the GPU. A first kernel keeps one number for each pixel, the
// logarithm of its sum; the gradient gathers from them at the input's resolution. All sums are in
// an order that depends on the sizes alone.
#include "softmax_loss.h"

#include "../epilogue.h"
#include "device.h"
#include "launch.h"

namespace fcn {
namespace {

constexpr int kThreads = 128, kWarp = 32;
constexpr int64_t kLossImages = 4;  // of a launch's blocks
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

// Add one pixel's terms to sum; returns its entry of log_sums
template <bool pairs, typename Acc>
__device__ __forceinline__ Acc pixel_loss(const LossArgs<Acc>& args, int64_t n, int64_t oy,
                                          int64_t ox, LossSum& sum) {
  const Source<Acc>& source = args.source;
  const int64_t pixel = (n * source.y.out + oy) * source.x_axis.out + ox;
  const int64_t label = label_at(args, pixel);
  if ((args.has_ignore && label == args.ignore) || (args.mask && !args.mask[pixel]))
    return static_cast<Acc>(INFINITY);
  if (label < 0 || label >= source.classes) {
    add(sum, LossSum{.loss = 0, .valid = 0, .bad = 1, .example = given_label(args, pixel)});
    return static_cast<Acc>(INFINITY);
  }
  const PixelScore<pairs, Acc> score(source, n, oy, ox);
  Acc largest = static_cast<Acc>(-INFINITY), own = 0, exps = 0;
  for (int64_t c = 0; c < source.classes; ++c) {
    const Acc value = score(c);
    largest = value > largest ? value : largest;
    own = c == label ? value : own;
  }
  for (int64_t c = 0; c < source.classes; ++c) exps += exp_of(score(c) - largest);
  const Acc log_sum = log_of(exps);
  const Acc lost = -log_probability(own, largest, log_sum, Acc(kLeastLog));
  sum.loss += static_cast<double>(args.weight ? args.weight[label] * lost : lost);
  ++sum.valid;
  return largest + log_sum;
}

// blockIdx.y walks the images, blockIdx.x the rows of one
template <bool pairs, typename Acc>
__global__ void __launch_bounds__(kThreads, 4)
    loss_kernel(const LossArgs<Acc> args, Acc* log_sums, LossSum* partial) {
  const int64_t width = args.source.x_axis.out;
  LossSum sum{0, 0, 0, 0};
  for (int64_t n = blockIdx.y; n < args.source.batch; n += gridDim.y)
    for (int64_t oy = blockIdx.x; oy < args.source.y.out; oy += gridDim.x)
      for (int64_t ox = threadIdx.x; ox < width; ox += kThreads)
        log_sums[(n * args.source.y.out + oy) * width + ox] =
            pixel_loss<pairs>(args, n, oy, ox, sum);
  sum = block_sum(sum);
  if (threadIdx.x == 0) partial[blockIdx.y * gridDim.x + blockIdx.x] = sum;
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

// The slope of the loss for class c's score at a pixel, not yet divided; 0 where it takes no part
template <typename Acc>
__device__ __forceinline__ Acc slope(const LossArgs<Acc>& args, int64_t pixel, int64_t c,
                                     Acc score, Acc log_sum) {
  const int64_t label = label_at(args, pixel);
  const Acc hot = c == label ? Acc(1) : Acc(0);
  const Acc value = exp_of(score - log_sum) - hot;
  return args.weight ? args.weight[label] * value : value;
}

// A warp gathers one input's gradient from the outputs that it feeds
template <bool pairs, typename Acc>
__global__ void __launch_bounds__(kThreads, 4)
    gradient_kernel(const LossArgs<Acc> args, const Acc* log_sums, const LossSum* total,
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
    [[maybe_unused]] Acc near[9];  // inputs i - 1 .. i + 1, j - 1 .. j + 1, 0 beside the image
    if constexpr (pairs)
      for (int q = 0; q < 9; ++q) {
        const int64_t a = i + q / 3 - 1, b = j + q % 3 - 1;
        near[q] = a >= 0 && a < y.in && b >= 0 && b < x.in ? plane[a * x.in + b] : Acc(0);
      }
    Acc sum = 0;
    for (int64_t at = lane; at < count; at += kWarp) {
      const int64_t oy = rows.begin + at / wide, ox = cols.begin + at % wide;
      const int64_t pixel = (n * y.out + oy) * x.out + ox;
      const Acc log_sum = log_sums[pixel];
      if (log_sum == static_cast<Acc>(INFINITY)) continue;
      const int64_t ty = tap(y, oy, i), tx = tap(x, ox, j);
      Acc score;
      if constexpr (pairs) {  // before i (the tap's first half) or behind it
        const bool down = ty >= y.stride, right = tx >= x.stride;
        const int64_t py = down ? ty - y.stride : ty, px = right ? tx - x.stride : tx;
        const Acc xb = source.taps_x[px + x.stride], xn = source.taps_x[px];
        const Acc a = right ? near[1] : near[0], b = right ? near[2] : near[1];
        const Acc d = right ? near[4] : near[3], e = right ? near[5] : near[4];
        const Acc g = right ? near[7] : near[6], h = right ? near[8] : near[7];
        const Acc top = xb * a + xn * b, mid = xb * d + xn * e, low = xb * g + xn * h;
        score = source.taps_y[py + y.stride] * (down ? mid : top) +
                source.taps_y[py] * (down ? low : mid);
      } else {
        score = output_at(plane, source.taps_y, source.taps_x, y, x, int64_t(1), oy, ox);
      }
      sum += source.taps_y[ty] * source.taps_x[tx] * slope(args, pixel, c, score, log_sum);
    }
    for (int half = kWarp / 2; half > 0; half /= 2) sum += __shfl_down_sync(~0u, sum, half);
    if (lane == 0) grad[((n * source.classes + c) * y.in + i) * x.in + j] = sum * scale;
  }
}

}  // namespace

template <typename Acc>
cudaError_t launch_loss(const LossArgs<Acc>& args, Acc* log_sums, LossSum* partial, LossSum* total,
                        Acc* loss, cudaStream_t stream) {
  const Source<Acc>& s = args.source;
  const unsigned images = blocks_for(s.batch, 1, kLossImages);
  const dim3 blocks(blocks_for(s.y.out, 1, kLossBlocks / kLossImages), images);
  if (images > 0) {
    const cudaError_t error = launch(all_pairs(s) ? loss_kernel<true, Acc> : loss_kernel<false, Acc>,
                                     blocks, kThreads, kSumBytes, stream, args, log_sums, partial);
    if (error != cudaSuccess) return error;
  }
  return launch(total_kernel<Acc>, dim3(1), kThreads, kSumBytes, stream, args, partial,
                static_cast<int>(blocks.x * images), total, loss);
}

template <typename Acc>
cudaError_t launch_loss_gradient(const LossArgs<Acc>& args, const Acc* log_sums,
                                 const LossSum* total, Acc* grad, cudaStream_t stream) {
  const Source<Acc>& s = args.source;
  const int64_t inputs = s.batch * s.y.in * s.x_axis.in * s.classes;
  if (inputs == 0) return cudaSuccess;
  const unsigned blocks = blocks_for(inputs, kThreads / kWarp, kMostBlocks);
  return launch(all_pairs(s) ? gradient_kernel<true, Acc> : gradient_kernel<false, Acc>,
                dim3(blocks), kThreads, 0, stream, args, log_sums, total, grad);
}

#define INSTANTIATE(Acc)                                                                       \
  template cudaError_t launch_loss(const LossArgs<Acc>&, Acc*, LossSum*, LossSum*, Acc*,       \
                                   cudaStream_t);                                              \
  template cudaError_t launch_loss_gradient(const LossArgs<Acc>&, const Acc*, const LossSum*,  \
                                            Acc*, cudaStream_t);
INSTANTIATE(float)
INSTANTIATE(double)
#undef INSTANTIATE

}  // namespace fcn
