// The solver update's CUDA backend as torch sees it; built only with a CUDA torch.
#include <ATen/Dispatch.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include "../update.h"
#include "update.h"

namespace fcn {
namespace {

// The parameters of one type and one kind of decay, a table full at a time
template <typename T>
void launch_some(const Update& update, Decay kind, cudaStream_t stream) {
  const Rates<T> p(update.clip, update.keep, update.keep2, update.delta);
  Table<T> table{};
  int count = 0;
  const auto launch = [&] {
    C10_CUDA_CHECK(launch_update(table, count, update.rule, kind, p, stream));
    count = 0;
  };
  for (const Parameter& parameter : update.parameters) {
    const at::Tensor& data = parameter.arrays[0];
    if (data.scalar_type() != c10::CppTypeToScalarType<T>::value ||
        kind_of(update, parameter) != kind)
      continue;
    T** const columns[] = {table.data, table.diff, table.first, table.second};
    for (int part = 0; part < 4; ++part)
      columns[part][count] = parameter.arrays[part].defined()
                                 ? parameter.arrays[part].mutable_data_ptr<T>()
                                 : nullptr;
    table.sizes[count] = data.numel();
    table.rate[count] = static_cast<T>(parameter.rate);
    table.decay[count] = static_cast<T>(parameter.decay);
    table.moves[count] = parameter.moves;
    if (++count == kParameters) launch();
  }
  if (count) launch();
}

void update_cuda(at::TensorList data, at::TensorList diff, at::TensorList history,
                 c10::string_view rule, at::ArrayRef<double> rates, at::ArrayRef<double> decays,
                 c10::List<bool> moves, bool l1, double clip, double keep, double keep2,
                 double delta) {
  if (data.empty()) return;
  const c10::cuda::CUDAGuard guard(data[0].device());
  const Update update = prepare_update(data, diff, history, rule, rates, decays, moves, l1, clip,
                                       keep, keep2, delta);
  const cudaStream_t stream = c10::cuda::getCurrentCUDAStream();
  for (const Decay kind : {Decay::None, Decay::L1, Decay::L2}) {
    launch_some<float>(update, kind, stream);
    launch_some<double>(update, kind, stream);
  }
  update.finish();
}

}  // namespace

TORCH_LIBRARY_IMPL(fcn_repro, CUDA, m) { m.impl("fused_update", update_cuda); }

}  // namespace fcn
