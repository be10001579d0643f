// Building the permutohedral lattice of some points on the CPU. Vertices are numbered by their
// remainders and then by their keys, so that the lattice does not depend on the number of threads,
// the vertices of one remainder can be found apart from the others, and a step along a direction
// leads from rising numbers to rising numbers.
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <torch/library.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <vector>

#include "../../dense.h"
#include "../../lattice.h"
#include "../../lattice_math.h"

namespace fcn {
namespace {

constexpr int64_t kGrain = 2048;  // points per task at least

// The keys of each point's simplex, by remainders: (d + 1, n)
struct Keys {
  int64_t n;
  int d;
  std::unique_ptr<LatticeKey[]> values;
  std::vector<LatticeKey> filling;  // of the zero points behind the last one: empty, or (d + 1)

  Keys(const float* points, int64_t n, int d, float* weights)
      : n(n), d(d), values(std::make_unique_for_overwrite<LatticeKey[]>((d + 1) * n)) {
    const auto factors = axis_factors(d);
    std::atomic<bool> wrong{false};
    at::parallel_for(0, n, kGrain, [&](int64_t begin, int64_t end) {
      Simplex simplex;
      for (int64_t i = begin; i < end; ++i) {
        if (!enclose(points + i * d, d, factors.data(), &simplex)) {
          wrong = true;
          return;
        }
        for (int r = 0; r <= d; ++r) values[r * n + i] = simplex.keys[r];
        std::copy_n(simplex.weights.data(), d + 1, weights + i * (d + 1));
      }
    });
    TORCH_CHECK_VALUE(!wrong, "lattice: a point is not finite, or farther than about ",
                      static_cast<int64_t>(kFarthest / (d + 1)), " from 0, in standard "
                      "deviations. Check the image, or raise the deviations.");
    if (n % kPointBlock) {
      Simplex origin;
      const std::array<float, kMostAxes> zero{};
      enclose(zero.data(), d, factors.data(), &origin);
      filling.assign(origin.keys.data(), origin.keys.data() + d + 1);
    }
  }
};

// Numbers of keys, in the order in which they came: open addressing, at most half full
class KeyTable {
 public:
  KeyTable() : slots_(1 << 10, kFree) {}

  int32_t number_of(const LatticeKey& key) {
    if (!keys_.empty() && keys_[latest_] == key) return latest_;  // as the point before
    const uint64_t at = slot_of(key);
    if (slots_[at] != kFree) return latest_ = slots_[at];
    slots_[at] = latest_ = static_cast<int32_t>(keys_.size());
    keys_.push_back(key);
    if (2 * keys_.size() > slots_.size()) grow();
    return latest_;
  }

  const std::vector<LatticeKey>& keys() const { return keys_; }

 private:
  static constexpr int32_t kFree = -1;

  uint64_t slot_of(const LatticeKey& key) const {
    uint64_t hash = (key.high ^ (key.low * 0x9e3779b97f4a7c15u)) * 0xd6e8feb86659fd93u;
    hash ^= hash >> 32;
    const uint64_t mask = slots_.size() - 1;
    uint64_t at = hash & mask;
    while (slots_[at] != kFree && keys_[slots_[at]] != key) at = (at + 1) & mask;
    return at;
  }

  void grow() {
    slots_.assign(2 * slots_.size(), kFree);
    for (size_t i = 0; i < keys_.size(); ++i) slots_[slot_of(keys_[i])] = static_cast<int32_t>(i);
  }

  std::vector<int32_t> slots_;
  std::vector<LatticeKey> keys_;
  int32_t latest_ = 0;
};

// The vertices of one remainder by their keys; numbers them in `vertices`, (n, d + 1), from 0
std::vector<LatticeKey> number_vertices(const Keys& keys, int remainder, int32_t* vertices) {
  KeyTable table;
  const int corners = keys.d + 1;
  for (int64_t i = 0; i < keys.n; ++i)
    vertices[i * corners + remainder] = table.number_of(keys.values[remainder * keys.n + i]);
  if (!keys.filling.empty()) table.number_of(keys.filling[remainder]);

  std::vector<std::pair<LatticeKey, int32_t>> sorted;
  for (const LatticeKey& key : table.keys())
    sorted.emplace_back(key, static_cast<int32_t>(sorted.size()));
  std::sort(sorted.begin(), sorted.end());
  std::vector<LatticeKey> found(sorted.size());
  std::vector<int32_t> order(sorted.size());
  for (size_t i = 0; i < sorted.size(); ++i) {
    found[i] = sorted[i].first;
    order[sorted[i].second] = static_cast<int32_t>(i);
  }
  for (int64_t i = 0; i < keys.n; ++i) {
    int32_t& vertex = vertices[i * corners + remainder];
    vertex = order[vertex];
  }
  return found;
}

// For the vertices `from`, whose first number is `first`, the next ones along a direction, which
// are among `to`: both are in order, and so is what the step leads to. No two have one next vertex,
// so no two write the same number.
void find_next(const std::vector<LatticeKey>& from, int64_t first,
               const std::vector<LatticeKey>& to, int64_t first_to, const LatticeKey& step,
               int32_t* neighbours) {
  size_t at = 0;
  for (size_t i = 0; i < from.size() && at < to.size(); ++i) {
    const LatticeKey next = from[i] + step;
    while (at < to.size() && to[at] < next) ++at;
    if (at == to.size() || to[at] != next) continue;
    neighbours[2 * (first + i)] = static_cast<int32_t>(first_to + at);
    neighbours[2 * (first_to + at) + 1] = static_cast<int32_t>(first + i);
  }
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> lattice_cpu(const at::Tensor& points) {
  check_points(points);
  const int64_t n = points.size(0);
  const int d = static_cast<int>(points.size(1)), corners = d + 1;
  const at::Tensor source = dense(points);
  const at::Tensor vertices = at::empty({n, corners}, at::kInt);
  const at::Tensor weights = at::empty({n, corners}, at::kFloat);
  int32_t* numbers = vertices.mutable_data_ptr<int32_t>();
  const Keys keys(source.const_data_ptr<float>(), n, d, weights.mutable_data_ptr<float>());

  std::vector<std::vector<LatticeKey>> found(corners);
  at::parallel_for(0, corners, 1, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      found[r] = number_vertices(keys, static_cast<int>(r), numbers);
  });
  std::vector<int64_t> firsts(corners + 1);
  for (int r = 0; r < corners; ++r) firsts[r + 1] = firsts[r] + found[r].size();
  at::parallel_for(0, n, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      for (int r = 1; r < corners; ++r)
        numbers[i * corners + r] += static_cast<int32_t>(firsts[r]);
  });

  const int64_t m = firsts[corners];
  const at::Tensor neighbours = at::full({corners, m, 2}, -1, at::kInt);
  int32_t* pairs = neighbours.mutable_data_ptr<int32_t>();
  at::parallel_for(0, corners * corners, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int axis = static_cast<int>(task / corners), r = static_cast<int>(task % corners);
      const int to = (r + d) % corners;
      find_next(found[r], firsts[r], found[to], firsts[to], step_along(d, axis),
                pairs + 2 * axis * m);
    }
  });
  return {vertices, weights, neighbours};
}

}  // namespace

TORCH_LIBRARY_IMPL(fcn_repro, CPU, m) { m.impl("lattice", lattice_cpu); }

}  // namespace fcn
