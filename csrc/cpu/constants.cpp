// Constants of the kernels that the Python side needs to choose an op or to shape its result,
// and the probe of the processor. Python has no copies of them.
#include <torch/library.h>

#include <string>

#include "../lattice.h"
#include "../pool_math.h"
#include "common/bf16.h"
#include "conv/winograd_transforms.h"
#include "gemm/micro_kernel.h"

namespace fcn {
namespace {

c10::Dict<std::string, int64_t> constants() {
  c10::Dict<std::string, int64_t> all;
  all.insert("winograd_tile", kOutputTile);   // outputs along a side of a tile
  all.insert("winograd_points", kPoints);     // products of a tile
  all.insert("winograd_channels", kVecSize);  // channels are multiples of it
  all.insert("winograd_max_pad", kMaxPad);
  all.insert("gemm_channels", kVector<float>);  // input channels are multiples of it
  all.insert("gemm_vector", kVector<float>);    // what columns of a product are a multiple of
  all.insert("gemm_panel", kPanel<float>);      // operands in a row of a packed panel
  all.insert("bf16_channels", sizeof(Bf16Pair) / sizeof(Bf16));  // per operand; 1 for float32
  all.insert("lattice_points", kPointBlock);  // points of a lattice are a multiple of it
  all.insert("pool_cells", kWindow);  // of a window of max_pool, at most
  return all;
}

}  // namespace
}  // namespace fcn

TORCH_LIBRARY_FRAGMENT(fcn_repro, m) {
  m.def("constants() -> Dict(str, int)", fcn::constants);
  m.def("has_avx512_bf16() -> bool", [] { return fcn::has_avx512_bf16(); });
}
