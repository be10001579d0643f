// Bilinear resizing with aligned corners + argmax or softmax loss on the GPU. A thread walks the
// classes of one pixel; the gradient gathers, for one input cell of one class, from the pixels that
// read it. All sums are in an order that depends on the sizes alone.
#include "interp.h"

#include "../epilogue.h"
#include "device.h"
#include "launch.h"

namespace fcn {
namespace {

constexpr int kThreads = 128;
constexpr int64_t kImages = 4;  // of a launch's blocks, in the loss
constexpr size_t kSumBytes = kThreads * sizeof(LossSum);

__device__ __forceinline__ float exp_of(float x) { return expf(x); }
__device__ __forceinline__ double exp_of(double x) { return exp(x); }
__device__ __forceinline__ float log_of(float x) { return logf(x); }
__device__ __forceinline__ double log_of(double x) { return log(x); }

// The score of each class at one pixel, from four inputs with weights for all classes
template <typename Acc>
struct InterpScore {
  const Acc* image;
  int64_t plane, at[4];
  Between<Acc> y, x;

  __device__ __forceinline__ InterpScore(const InterpSource<Acc>& from, int64_t n,
                                         const Between<Acc>& y, const Between<Acc>& x)
      : plane(from.y.in * from.x_axis.in), y(y), x(x) {
    image = from.x + n * from.classes * plane;
    at[0] = y.i * from.x_axis.in + x.i, at[1] = y.i * from.x_axis.in + x.next;
    at[2] = y.next * from.x_axis.in + x.i, at[3] = y.next * from.x_axis.in + x.next;
  }

  __device__ __forceinline__ Acc operator()(int64_t c) const {
    const Acc* v = image + c * plane;
    const Acc first = (Acc(1) - x.t) * v[at[0]] + x.t * v[at[1]];
    const Acc second = (Acc(1) - x.t) * v[at[2]] + x.t * v[at[3]];
    return (Acc(1) - y.t) * first + y.t * second;
  }
};

// blockIdx.z walks the images, blockIdx.y the rows of one, blockIdx.x the pixels of a row
template <typename Acc, typename Label>
__global__ void __launch_bounds__(kThreads)
    interp_argmax_kernel(const InterpSource<Acc> source, Label* labels, float* probability) {
  const Resize &y = source.y, &x = source.x_axis;
  const Acc ratio_y = ratio_of<Acc>(y), ratio_x = ratio_of<Acc>(x);
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t n = blockIdx.z; n < source.batch; n += gridDim.z)
    for (int64_t oy = blockIdx.y; oy < y.out; oy += gridDim.y)
      for (int64_t ox = first; ox < x.out; ox += step) {
        const InterpScore<Acc> score(source, n, between(y, ratio_y, oy), between(x, ratio_x, ox));
        Best<Acc, int> best;
        best.init(score(0), 0);
        for (int64_t c = 1; c < source.classes; ++c) best.update(score(c), static_cast<int>(c));
        const int64_t pixel = (n * y.out + oy) * x.out + ox;
        labels[pixel] = static_cast<Label>(best.index);
        if (probability == nullptr) continue;
        Acc sum = 0;
        for (int64_t c = 0; c < source.classes; ++c) sum += exp_of(score(c) - best.value);
        probability[pixel] = static_cast<float>(1 / sum);
      }
}

// A label truncated to an integer, as Caffe reads it; kNoLabel if it does not fit an int
__device__ __forceinline__ int64_t truncated(double value) {
  return value > -2147483648.0 && value < 2147483648.0 ? static_cast<int64_t>(value) : kNoLabel;
}

template <typename Acc>
__device__ __forceinline__ int64_t label_at(const InterpLossArgs<Acc>& a, int64_t pixel) {
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
__device__ __forceinline__ double given_label(const InterpLossArgs<Acc>& a, int64_t pixel) {
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
__device__ __forceinline__ int class_at(const InterpLossArgs<Acc>& a, int64_t pixel,
                                        LossSum& sum) {
  const int64_t label = label_at(a, pixel);
  if ((a.has_ignore && label == a.ignore) || (a.mask && !a.mask[pixel])) return -1;
  if (label >= 0 && label < a.source.classes) return static_cast<int>(label);
  add(sum, LossSum{.loss = 0, .valid = 0, .bad = 1, .example = given_label(a, pixel)});
  return -1;
}

// blockIdx.y walks the images, blockIdx.x the rows of one
template <typename Acc>
__global__ void __launch_bounds__(kThreads)
    interp_loss_kernel(const InterpLossArgs<Acc> args, Pixel<Acc>* pixels, LossSum* partial) {
  const InterpSource<Acc>& source = args.source;
  const Resize &y = source.y, &x = source.x_axis;
  const Acc ratio_y = ratio_of<Acc>(y), ratio_x = ratio_of<Acc>(x);
  LossSum sum{0, 0, 0, 0};
  for (int64_t n = blockIdx.y; n < source.batch; n += gridDim.y)
    for (int64_t oy = blockIdx.x; oy < y.out; oy += gridDim.x)
      for (int64_t ox = threadIdx.x; ox < x.out; ox += kThreads) {
        const int64_t pixel = (n * y.out + oy) * x.out + ox;
        const int label = class_at(args, pixel, sum);
        if (label < 0) {
          pixels[pixel] = Pixel<Acc>{0, -1};
          continue;
        }
        const InterpScore<Acc> score(source, n, between(y, ratio_y, oy), between(x, ratio_x, ox));
        Acc largest = static_cast<Acc>(-INFINITY), exps = 0;
        for (int64_t c = 0; c < source.classes; ++c) {
          const Acc value = score(c);
          largest = value > largest ? value : largest;
        }
        for (int64_t c = 0; c < source.classes; ++c) exps += exp_of(score(c) - largest);
        const Acc log_sum = log_of(exps);
        const Acc lost = -log_probability(score(label), largest, log_sum, Acc(kLeastLog));
        sum.loss += static_cast<double>(args.weight ? args.weight[label] * lost : lost);
        ++sum.valid;
        pixels[pixel] = Pixel<Acc>{largest + log_sum, label};
      }
  sum = block_sum(sum);
  if (threadIdx.x == 0) partial[blockIdx.y * gridDim.x + blockIdx.x] = sum;
}

template <typename Acc>
__device__ __forceinline__ double norm_of(const InterpLossArgs<Acc>& args, int64_t valid) {
  const InterpSource<Acc>& s = args.source;
  return normalizer(args.normalization, valid, s.batch, s.y.out * s.x_axis.out);
}

// One block
template <typename Acc>
__global__ void __launch_bounds__(kThreads)
    interp_total_kernel(const InterpLossArgs<Acc> args, const LossSum* partial, int count,
                        LossSum* total, Acc* loss) {
  LossSum sum{0, 0, 0, 0};
  for (int i = threadIdx.x; i < count; i += kThreads) add(sum, partial[i]);
  sum = block_sum(sum);
  if (threadIdx.x != 0) return;
  *total = sum;
  *loss = sum.bad ? static_cast<Acc>(NAN) : static_cast<Acc>(sum.loss / norm_of(args, sum.valid));
}

// blockIdx.z walks the images, blockIdx.y the classes, blockIdx.x the cells of a plane
template <typename Acc>
__global__ void __launch_bounds__(kThreads)
    interp_gradient_kernel(const InterpLossArgs<Acc> args, const Pixel<Acc>* pixels,
                           const LossSum* total, Acc* grad) {
  const InterpSource<Acc>& source = args.source;
  const Resize &y = source.y, &x = source.x_axis;
  const Acc ratio_y = ratio_of<Acc>(y), ratio_x = ratio_of<Acc>(x);
  const int64_t plane = y.in * x.in, step = static_cast<int64_t>(gridDim.x) * kThreads;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const double norm = norm_of(args, total->valid);
  for (int64_t n = blockIdx.z; n < source.batch; n += gridDim.z)
    for (int64_t c = blockIdx.y; c < source.classes; c += gridDim.y)
      for (int64_t cell = first; cell < plane; cell += step) {
        int64_t top, bottom, left, right;
        readers_of(y, cell / x.in, &top, &bottom);
        readers_of(x, cell % x.in, &left, &right);
        Acc sum = 0;
        for (int64_t oy = top; oy < bottom; ++oy) {
          const Between<Acc> at_y = between(y, ratio_y, oy);
          const Acc down = weight_of(at_y, cell / x.in);
          if (at_y.i != cell / x.in && at_y.next != cell / x.in) continue;
          Acc row = 0;
          for (int64_t ox = left; ox < right; ++ox) {
            const Between<Acc> at_x = between(x, ratio_x, ox);
            if (at_x.i != cell % x.in && at_x.next != cell % x.in) continue;
            const Pixel<Acc> pixel = pixels[(n * y.out + oy) * x.out + ox];
            if (pixel.label < 0) continue;
            const InterpScore<Acc> score(source, n, at_y, at_x);
            Acc slope = exp_of(score(c) - pixel.log_sum) - (pixel.label == c ? Acc(1) : Acc(0));
            if (args.weight) slope *= args.weight[pixel.label];
            row += weight_of(at_x, cell % x.in) * slope;
          }
          sum += down * row;
        }
        grad[(n * source.classes + c) * plane + cell] = static_cast<Acc>(sum / norm);
      }
}

}  // namespace

template <typename Acc, typename Label>
cudaError_t launch_interp_argmax(const InterpSource<Acc>& source, Label* labels,
                                 float* probability, cudaStream_t stream) {
  if (source.batch == 0) return cudaSuccess;
  const dim3 grid(blocks_for(source.x_axis.out, kThreads, kMostBlocks),
                  blocks_for(source.y.out, 1, kMostRows), blocks_for(source.batch, 1, kMostRows));
  return launch(interp_argmax_kernel<Acc, Label>, grid, kThreads, 0, stream, source, labels,
                probability);
}

template <typename Acc>
cudaError_t launch_interp_loss(const InterpLossArgs<Acc>& args, Pixel<Acc>* pixels,
                               LossSum* partial, LossSum* total, Acc* loss, cudaStream_t stream) {
  const InterpSource<Acc>& source = args.source;
  dim3 grid(0);
  if (source.batch > 0) {
    grid = dim3(blocks_for(source.y.out, 1, kLossBlocks / kImages),
                blocks_for(source.batch, 1, kImages));
    const cudaError_t error = launch(interp_loss_kernel<Acc>, grid, kThreads, kSumBytes, stream,
                                     args, pixels, partial);
    if (error != cudaSuccess) return error;
  }
  const int count = source.batch > 0 ? static_cast<int>(grid.x * grid.y) : 0;
  return launch(interp_total_kernel<Acc>, dim3(1), kThreads, kSumBytes, stream, args, partial,
                count, total, loss);
}

template <typename Acc>
cudaError_t launch_interp_gradient(const InterpLossArgs<Acc>& args, const Pixel<Acc>* pixels,
                                   const LossSum* total, Acc* grad, cudaStream_t stream) {
  const InterpSource<Acc>& source = args.source;
  if (source.batch == 0) return cudaSuccess;
  const dim3 grid(blocks_for(source.y.in * source.x_axis.in, kThreads, kMostBlocks),
                  blocks_for(source.classes, 1, kMostRows), blocks_for(source.batch, 1, kMostRows));
  return launch(interp_gradient_kernel<Acc>, grid, kThreads, 0, stream, args, pixels, total, grad);
}

#define INSTANTIATE(Acc)                                                                         \
  template cudaError_t launch_interp_argmax(const InterpSource<Acc>&, uint8_t*, float*,          \
                                            cudaStream_t);                                       \
  template cudaError_t launch_interp_argmax(const InterpSource<Acc>&, int64_t*, float*,          \
                                            cudaStream_t);                                       \
  template cudaError_t launch_interp_loss(const InterpLossArgs<Acc>&, Pixel<Acc>*, LossSum*,     \
                                          LossSum*, Acc*, cudaStream_t);                         \
  template cudaError_t launch_interp_gradient(const InterpLossArgs<Acc>&, const Pixel<Acc>*,     \
                                              const LossSum*, Acc*, cudaStream_t);
INSTANTIATE(float)
INSTANTIATE(double)
#undef INSTANTIATE

}  // namespace fcn
