// Bilinear resizing with aligned corners + argmax or softmax loss on the GPU. A thread walks the
// classes of one pixel; the gradient gathers, for one input cell of one class, from the pixels that
// read it. All sums are in an order that depends on the sizes alone.
#include "interp.h"

#include "loss_device.h"

namespace fcn {
namespace {

constexpr int kThreads = kLossThreads;
constexpr int64_t kImages = 4;  // of a launch's blocks, in the loss

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
        const int label = class_at(args.targets, pixel, sum);
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
        pixels[pixel] = add_pixel(args.targets, label, largest, score(label), exps, sum);
      }
  sum = block_sum(sum);
  if (threadIdx.x == 0) partial[blockIdx.y * gridDim.x + blockIdx.x] = sum;
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
  const double norm = divisor(args.targets, total->valid);
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
            if (args.targets.weight) slope *= args.targets.weight[pixel.label];
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
  return launch_total(args.targets, partial, count, total, loss, stream);
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
