// The sum of a loss over its blocks.
#include "loss.h"

#include "loss_device.h"

namespace fcn {
namespace {

// One block: the partial sums, and the loss
template <typename Acc>
__global__ void __launch_bounds__(kLossThreads)
    total_kernel(const LossTargets<Acc> targets, const LossSum* partial, int count, LossSum* total,
                 Acc* loss) {
  LossSum sum{0, 0, 0, 0};
  for (int at = threadIdx.x; at < count; at += kLossThreads) add(sum, partial[at]);
  sum = block_sum(sum);
  if (threadIdx.x != 0) return;
  *total = sum;
  *loss = sum.bad ? static_cast<Acc>(NAN)
                  : static_cast<Acc>(sum.loss / divisor(targets, sum.valid));
}

}  // namespace

template <typename Acc>
cudaError_t launch_total(const LossTargets<Acc>& targets, const LossSum* partial, int count,
                         LossSum* total, Acc* loss, cudaStream_t stream) {
  return launch(total_kernel<Acc>, dim3(1), kLossThreads, kSumBytes, stream, targets, partial,
                count, total, loss);
}

template cudaError_t launch_total(const LossTargets<float>&, const LossSum*, int, LossSum*, float*,
                                  cudaStream_t);
template cudaError_t launch_total(const LossTargets<double>&, const LossSum*, int, LossSum*,
                                  double*, cudaStream_t);

}  // namespace fcn
