// Building the permutohedral lattice of some points on the CPU. Threads find the simplices and the
// neighbours; one numbers the vertices, by the first point that has them and its order of vertices,
// so that the lattice does not depend on the number of threads.
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <torch/library.h>

#include <atomic>
#include <bit>
#include <vector>

#include "../../dense.h"
#include "../../lattice.h"
#include "../../lattice_math.h"

namespace fcn {
namespace {

constexpr int64_t kGrain = 2048;  // points or vertices per task at least

// Numbers of keys, in the order in which they came: open addressing, at most half full
class VertexTable {
 public:
  explicit VertexTable(int64_t expected)
      : slots_(std::bit_ceil(static_cast<uint64_t>(2 * expected + 2)), kFree) {}

  int32_t size() const { return static_cast<int32_t>(keys_.size()); }
  const LatticeKey& key(int32_t number) const { return keys_[number]; }

  int32_t insert(const LatticeKey& key) {
    uint64_t at = slot_of(key);
    if (slots_[at] != kFree) return slots_[at];
    slots_[at] = size();
    keys_.push_back(key);
    if (2 * keys_.size() > slots_.size()) grow();
    return size() - 1;
  }

  int32_t find(const LatticeKey& key) const { return slots_[slot_of(key)]; }  // kFree: none

 private:
  static constexpr int32_t kFree = -1;

  uint64_t slot_of(const LatticeKey& key) const {
    const auto halves = std::bit_cast<std::array<uint64_t, 2>>(key);
    uint64_t hash = (halves[0] ^ (halves[1] * 0x9e3779b97f4a7c15u)) * 0xd6e8feb86659fd93u;
    hash ^= hash >> 32;
    const uint64_t mask = slots_.size() - 1;
    uint64_t at = hash & mask;
    while (slots_[at] != kFree && keys_[slots_[at]] != key) at = (at + 1) & mask;
    return at;
  }

  void grow() {
    slots_.assign(2 * slots_.size(), kFree);
    for (int32_t i = 0; i < size(); ++i) slots_[slot_of(keys_[i])] = i;
  }

  std::vector<int32_t> slots_;
  std::vector<LatticeKey> keys_;
};

// The simplex of each point; its weights go to `weights`, (n, d + 1)
std::vector<Simplex> enclose_all(const float* points, int64_t n, int d, float* weights) {
  std::vector<Simplex> simplices(n);
  const auto factors = axis_factors(d);
  std::atomic<int64_t> wrong{-1};
  at::parallel_for(0, n, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      if (!enclose(points + i * d, d, factors.data(), &simplices[i], weights + i * (d + 1)))
        wrong = i;
  });
  TORCH_CHECK_VALUE(wrong < 0, "lattice: a point is not finite, or farther from 0 than about ",
                    static_cast<int64_t>(kFarthest / axis_factors(d)[0] / 2),
                    " deviations. Check the image, or raise the standard deviations.");
  return simplices;
}

void number_vertices(const std::vector<Simplex>& simplices, int d, VertexTable* table,
                     int32_t* vertices) {
  const Simplex* before = nullptr;
  for (const Simplex& simplex : simplices) {
    for (int r = 0; r <= d; ++r)
      vertices[r] = before && *before == simplex ? vertices[r - (d + 1)]
                                                 : table->insert(vertex_of(simplex, d, r));
    before = &simplex;
    vertices += d + 1;
  }
  if (simplices.size() % kPointBlock == 0) return;
  Simplex origin;
  const std::array<float, kMostAxes> zero{};
  float weights[kMostAxes + 1];
  enclose(zero.data(), d, axis_factors(d).data(), &origin, weights);
  for (int r = 0; r <= d; ++r) table->insert(vertex_of(origin, d, r));
}

at::Tensor neighbours_of(const VertexTable& table, int d) {
  const int64_t m = table.size();
  const at::Tensor neighbours = at::full({d + 1, m, 2}, -1, at::kInt);
  int32_t* found = neighbours.mutable_data_ptr<int32_t>();
  for (int axis = 0; axis <= d; ++axis, found += 2 * m)
    at::parallel_for(0, m, kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int32_t next = table.find(next_vertex(table.key(i), d, axis));
        if (next < 0) continue;
        found[2 * i] = next;                               // each is the next one of one vertex
        found[2 * int64_t(next) + 1] = static_cast<int32_t>(i);  // alone, so no two write here
      }
    });
  return neighbours;
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> lattice_cpu(const at::Tensor& points) {
  check_points(points);
  const int64_t n = points.size(0);
  const int d = static_cast<int>(points.size(1));
  const at::Tensor source = dense(points);
  const at::Tensor vertices = at::empty({n, d + 1}, at::kInt);
  const at::Tensor weights = at::empty({n, d + 1}, at::kFloat);
  const auto simplices = enclose_all(source.const_data_ptr<float>(), n, d,
                                     weights.mutable_data_ptr<float>());
  VertexTable table(n);
  number_vertices(simplices, d, &table, vertices.mutable_data_ptr<int32_t>());
  return {vertices, weights, neighbours_of(table, d)};
}

}  // namespace

TORCH_LIBRARY_IMPL(fcn_repro, CPU, m) { m.impl("lattice", lattice_cpu); }

}  // namespace fcn
