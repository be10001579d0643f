// Launcher of the solver update: raw pointers and a stream, nothing of ATen or c10.
#pragma once

#include <cuda_runtime_api.h>

#include "../update_math.h"

namespace fcn {

constexpr int kParameters = 40;  // of one launch: their table is an argument of at most 4 KB

template <typename T>
struct Table {
  T* data[kParameters];
  T* diff[kParameters];
  T* first[kParameters];
  T* second[kParameters];       // not read where the rule has one history
  int64_t sizes[kParameters];
  int64_t chunks[kParameters];  // of this parameter and all before it
  T rate[kParameters], decay[kParameters];
  bool moves[kParameters];
};

// Updates the first `count` parameters of the table, `chunks` of which are filled in here. All
// have the same kind of decay. Instantiated for float and double.
template <typename T>
cudaError_t launch_update(Table<T>& table, int count, Rule rule, Decay kind, Rates<T> p,
                          cudaStream_t stream);

}  // namespace fcn
