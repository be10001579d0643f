// Bilinear resizing with aligned corners + argmax or softmax loss on the CPU, without ever writing
// the scores.
//
// An input row of all classes is resized along x once and kept while output rows read it (WideRows:
// at most two at a time). An output row is then a blend of two such rows, computed for a vector of
// pixels class by class, where maximum, class and sums stay in registers. The gradient goes back
// the same way: it is added up for the two rows, at the output's width, and contracted along x when
// the output moves on to other rows.
//
// As in softmax_loss.cpp an image is split into chunks of input rows, whatever the number of
// threads; a chunk's contribution to the row behind its last one is added afterwards, in a fixed
// order. So loss and gradient have the same bits for any number of threads.
#include "../../interp.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include "../../epilogue.h"
#include "loss_tile.h"

namespace fcn {
namespace {

constexpr int64_t kChunks = 16;  // per image

template <typename Acc>
int64_t padded(int64_t n) {
  return (n + Lanes<Acc>::count - 1) / Lanes<Acc>::count * Lanes<Acc>::count;
}

// Places of all outputs along x
template <typename Acc>
struct Across {
  int64_t in, out;
  std::vector<int32_t> i, next;
  std::vector<Acc> near, far;  // 1 - t and t

  explicit Across(const Resize& axis)
      : in(axis.in), out(axis.out), i(axis.out), next(axis.out), near(axis.out), far(axis.out) {
    const Acc ratio = ratio_of<Acc>(axis);
    for (int64_t o = 0; o < axis.out; ++o) {
      const Between<Acc> at = between(axis, ratio, o);
      i[o] = static_cast<int32_t>(at.i), next[o] = static_cast<int32_t>(at.next);
      near[o] = Acc(1) - at.t, far[o] = at.t;
    }
  }
};

template <typename Acc>
FCN_CLONES void widen_row(const Acc* row, const int32_t* i, const int32_t* next, const Acc* near,
                          const Acc* far, int64_t n, Acc* __restrict__ to) {
  for (int64_t o = 0; o < n; ++o) to[o] = near[o] * row[i[o]] + far[o] * row[next[o]];
}

// The adjoint of widen_row: row += what its cells contribute to
template <typename Acc>
void contract_row(const Acc* from, const Across<Acc>& x, Acc* row) {
  for (int64_t o = 0; o < x.out; ++o) {
    row[x.i[o]] += x.near[o] * from[o];
    row[x.next[o]] += x.far[o] * from[o];
  }
}

// Two input rows of all classes at the output's width, in slots by the parity of their number
template <typename Acc>
struct WideRows {
  const InterpScores& op;
  const Across<Acc>& x;
  int64_t pitch;  // values per class, in whole vectors
  AlignedBuffer<Acc> rows;
  int64_t held[2] = {-1, -1};

  WideRows(const InterpScores& op, const Across<Acc>& x)
      : op(op), x(x), pitch(padded<Acc>(x.out)), rows(2 * op.classes * pitch) {}

  const Acc* row(int64_t n, int64_t i) {
    const int64_t index = n * op.y.in + i, slot = i & 1;
    Acc* to = rows.data() + slot * op.classes * pitch;
    if (held[slot] != index) {
      const Acc* image = op.x.template const_data_ptr<Acc>() + n * op.classes * op.y.in * x.in;
      for (int64_t c = 0; c < op.classes; ++c)
        widen_row(image + (c * op.y.in + i) * x.in, x.i.data(), x.next.data(), x.near.data(),
                  x.far.data(), x.out, to + c * pitch);
      held[slot] = index;
    }
    return to;
  }
};

// The two rows that an output row blends
template <typename Acc>
struct RowBlend {
  const Acc *first, *second;
  Acc near, far;

  FCN_INLINE VecOf<Acc> at(int64_t offset) const {
    return near * load(first + offset) + far * load(second + offset);
  }
};

template <typename Acc>
RowBlend<Acc> blend_of(WideRows<Acc>& rows, int64_t n, const Between<Acc>& at) {
  const Acc* first = rows.row(n, at.i);
  return RowBlend<Acc>{first, rows.row(n, at.next), Acc(1) - at.t, at.t};
}

template <typename Acc>
FCN_CLONES void best_of_row(const RowBlend<Acc>& blend, int64_t classes, int64_t pitch,
                            typename Lanes<Acc>::Int* index, Acc* probability) {
  using V = VecOf<Acc>;
  using I = IntsOf<Acc>;
  for (int64_t lane = 0; lane < pitch; lane += Lanes<Acc>::count) {
    Best<V, I> best;
    best.init(blend.at(lane), I{});
    I at{};
    for (int64_t c = 1; c < classes; ++c) {
      at += 1;
      best.update(blend.at(c * pitch + lane), at);
    }
    store(index + lane, best.index);
    if (probability == nullptr) continue;
    V sum{};
    for (int64_t c = 0; c < classes; ++c)
      sum += exp_lanes(blend.at(c * pitch + lane) - best.value);
    store(probability + lane, Acc(1) / sum);
  }
}

template <typename Acc, typename Label>
void argmax_rows(const InterpArgmax& op, const Across<Acc>& x, int64_t begin, int64_t end) {
  const InterpScores& s = op.scores;
  WideRows<Acc> rows(s, x);
  AlignedBuffer<typename Lanes<Acc>::Int> index(rows.pitch);
  AlignedBuffer<Acc> probability(op.with_probability ? rows.pitch : 0);
  const Acc ratio = ratio_of<Acc>(s.y);
  for (int64_t at = begin; at < end; ++at) {
    const RowBlend<Acc> blend = blend_of(rows, at / s.y.out, between(s.y, ratio, at % s.y.out));
    best_of_row(blend, s.classes, rows.pitch, index.data(), probability.data());
    Label* labels = op.labels.mutable_data_ptr<Label>() + at * x.out;
    for (int64_t o = 0; o < x.out; ++o) labels[o] = static_cast<Label>(index.data()[o]);
    if (!op.with_probability) continue;
    float* p = op.probability.mutable_data_ptr<float>() + at * x.out;
    for (int64_t o = 0; o < x.out; ++o) p[o] = static_cast<float>(probability.data()[o]);
  }
}

std::tuple<at::Tensor, at::Tensor> interp_argmax_cpu(const at::Tensor& x, at::IntArrayRef size,
                                                     at::ScalarType dtype, bool probability) {
  const InterpArgmax op = prepare_interp_argmax(x, size, dtype, probability);
  const InterpScores& s = op.scores;
  if (op.labels.numel() == 0) return {op.labels, op.probability};
  AT_DISPATCH_FLOATING_TYPES(s.x.scalar_type(), "interp_argmax", [&] {
    const Across<scalar_t> across(s.x_axis);
    const int64_t work = s.classes * s.x_axis.out;
    at::parallel_for(0, s.batch * s.y.out, std::max<int64_t>(1, 65536 / work),
                     [&](int64_t b, int64_t e) {
      dtype == at::kByte ? argmax_rows<scalar_t, uint8_t>(op, across, b, e)
                         : argmax_rows<scalar_t, int64_t>(op, across, b, e);
    });
  });
  return {op.labels, op.probability};
}

// ---- loss ---------------------------------------------------------------------------------------

template <typename Acc>
struct RowLoss {
  const typename Lanes<Acc>::Int* label;  // -1 where the pixel is ignored
  const Acc* weight;                      // nullptr without
  int64_t classes, pitch;
  Acc* exps;              // (class, one vector)
  Acc *first, *second;    // gradients of the two rows, (class, pitch), accumulated; or nullptr
};

// The loss of an output row, and its gradient with respect to the two rows that it blends
template <typename Acc>
FCN_CLONES double loss_of_row(const RowBlend<Acc>& blend, const RowLoss<Acc>& args) {
  using V = VecOf<Acc>;
  using I = IntsOf<Acc>;
  constexpr int64_t size = Lanes<Acc>::count;
  double sum = 0;
  for (int64_t lane = 0; lane < args.pitch; lane += size) {
    const I label = load_ints<Acc>(args.label + lane);
    V largest = broadcast(-std::numeric_limits<Acc>::infinity()), own{}, total{};
    for (int64_t c = 0; c < args.classes; ++c) {
      const V score = blend.at(c * args.pitch + lane);
      store(args.exps + c * size, score);
      largest = score > largest ? score : largest;
      own = label == broadcast_int<Acc>(c) ? score : own;
    }
    for (int64_t c = 0; c < args.classes; ++c) {
      const V e = exp_lanes(load(args.exps + c * size) - largest);
      store(args.exps + c * size, e);
      total += e;
    }
    // bit operations: gcc 12 fails on a comparison here in cloned functions
    const I counts = ~(label >> (8 * static_cast<int>(sizeof(Acc)) - 1));
    V counted = reinterpret_cast<V>(reinterpret_cast<I>(broadcast(Acc(1))) & counts);
    if (args.weight) counted *= load(args.weight + lane);
    const V lost = log_probability(own, largest, log_lanes(total), broadcast(Acc(kLeastLog)));
    const V losses = reinterpret_cast<V>(reinterpret_cast<I>(lost * counted) & counts);
    for (int64_t i = 0; i < size; ++i) sum -= losses[i];
    if (args.first == nullptr) continue;
    const V scale = counted / total;
    for (int64_t c = 0; c < args.classes; ++c) {
      V slope = load(args.exps + c * size) * scale;
      slope -= label == broadcast_int<Acc>(c) ? counted : V{};
      slope = label >= 0 ? slope : V{};  // also where an ignored pixel has a NaN
      Acc* first = args.first + c * args.pitch + lane;
      Acc* second = args.second + c * args.pitch + lane;
      store(first, load(first) + blend.near * slope);
      store(second, load(second) + blend.far * slope);
    }
  }
  return sum;
}

// Labels, class weights and gradients of the output rows that one thread works on
template <typename Acc>
struct LossRows {
  using Int = typename Lanes<Acc>::Int;
  const InterpLoss& op;
  const Across<Acc>& x;
  WideRows<Acc> rows;
  AlignedBuffer<Int> label;
  AlignedBuffer<Acc> weight, exps, first, second;

  LossRows(const InterpLoss& op, const Across<Acc>& x)
      : op(op),
        x(x),
        rows(op.scores, x),
        label(rows.pitch),
        weight(op.weight ? rows.pitch : 0),
        exps(op.scores.classes * Lanes<Acc>::count),
        first(op.gradient ? op.scores.classes * rows.pitch : 0),
        second(op.gradient ? op.scores.classes * rows.pitch : 0) {
    std::fill_n(label.data(), rows.pitch, Int(-1));
  }

  // Read a row of labels; returns whether any pixel counts
  bool read(int64_t at, Sum* sum) {
    const int64_t before = sum->valid;
    read_classes<Acc>(op, op.scores.classes, at * x.out, x.out, label.data(), sum);
    if (op.weight) {
      const Acc* weights = op.weight->template const_data_ptr<Acc>();
      for (int64_t o = 0; o < x.out; ++o)
        weight.data()[o] = label.data()[o] < 0 ? Acc(0) : weights[label.data()[o]];
    }
    return sum->valid > before;
  }

  double compute(int64_t n, const Between<Acc>& at) {
    const RowBlend<Acc> blend = blend_of(rows, n, at);
    return loss_of_row(blend, RowLoss<Acc>{.label = label.data(),
                                           .weight = weight.data(),
                                           .classes = op.scores.classes,
                                           .pitch = rows.pitch,
                                           .exps = exps.data(),
                                           .first = first.data(),
                                           .second = second.data()});
  }
};

// Destination of a chunk's gradient: its own rows in `grad`, the one behind them in `halo`
template <typename Acc>
struct ChunkGradient {
  Acc* grad;    // (C, in, in) of the image
  Acc* halo;    // (C, in), for input row `end`
  int64_t end;  // behind the rows that the chunk owns

  Acc* row(const Resize& y, int64_t width, int64_t c, int64_t i) const {
    return i < end ? grad + (c * y.in + i) * width : halo + c * width;
  }
};

// Contract the gradients of the two rows into the input's, and clear them
template <typename Acc>
void flush(LossRows<Acc>& work, const ChunkGradient<Acc>& to, const Between<Acc>& at) {
  const InterpScores& s = work.op.scores;
  for (int64_t c = 0; c < s.classes; ++c) {
    contract_row(work.first.data() + c * work.rows.pitch, work.x, to.row(s.y, work.x.in, c, at.i));
    contract_row(work.second.data() + c * work.rows.pitch, work.x,
                 to.row(s.y, work.x.in, c, at.next));
  }
  std::fill_n(work.first.data(), s.classes * work.rows.pitch, Acc(0));
  std::fill_n(work.second.data(), s.classes * work.rows.pitch, Acc(0));
}

// The loss of the outputs of image n whose first input row is among begin .. end - 1
template <typename Acc>
Sum loss_chunk(const InterpLoss& op, const Across<Acc>& x, int64_t n, int64_t begin, int64_t end,
               const ChunkGradient<Acc>& to) {
  const Resize& y = op.scores.y;
  const Acc ratio = ratio_of<Acc>(y);
  LossRows<Acc> work(op, x);
  Sum sum;
  Between<Acc> pending{-1, -1, 0};  // of the gradients that are not in the input's yet
  for (int64_t oy = 0; oy < y.out; ++oy) {
    const Between<Acc> at = between(y, ratio, oy);
    if (at.i < begin) continue;
    if (at.i >= end) break;
    if (!work.read(n * y.out + oy, &sum)) continue;
    if (op.gradient && at.i != pending.i) {
      if (pending.i >= 0) flush(work, to, pending);
      pending = at;
    }
    sum.loss += work.compute(n, at);
  }
  if (op.gradient && pending.i >= 0) flush(work, to, pending);
  return sum;
}

template <typename Acc>
void loss_images(const InterpLoss& op) {
  const InterpScores& s = op.scores;
  const Across<Acc> across(s.x_axis);
  const int64_t chunks = std::min(kChunks, s.y.in), row = s.classes * s.x_axis.in;
  const int64_t halo = op.gradient ? row : 0;
  const auto start = [=](int64_t chunk) { return s.y.in * chunk / chunks; };
  std::vector<Sum> sums(s.batch * chunks);
  std::vector<Acc> halos(sums.size() * halo);
  Acc* grad = op.gradient ? op.grad.mutable_data_ptr<Acc>() : nullptr;
  at::parallel_for(0, static_cast<int64_t>(sums.size()), 1, [&](int64_t b, int64_t e) {
    for (int64_t at = b; at < e; ++at) {
      const int64_t n = at / chunks, begin = start(at % chunks), end = start(at % chunks + 1);
      const ChunkGradient<Acc> to{.grad = grad ? grad + n * row * s.y.in : nullptr,
                                  .halo = halos.data() + at * halo,
                                  .end = end};
      sums[at] = loss_chunk(op, across, n, begin, end, to);
    }
  });
  const Sum all = total_of(sums);
  check_labels(op.name, s.classes, op.ignore, all.bad, all.example);
  const double norm = normalizer(op.normalization, all.valid, s.batch, s.y.out * s.x_axis.out);
  *op.loss.mutable_data_ptr<Acc>() = static_cast<Acc>(all.loss / norm);
  if (!op.gradient) return;
  for (int64_t at = 0; at < static_cast<int64_t>(sums.size()); ++at) {
    const int64_t n = at / chunks, i = start(at % chunks + 1);
    for (int64_t c = 0; i < s.y.in && c < s.classes; ++c)
      add_row(halos.data() + at * halo + c * s.x_axis.in, s.x_axis.in,
              grad + n * row * s.y.in + (c * s.y.in + i) * s.x_axis.in);
  }
  op.grad.div_(norm);
}

std::tuple<at::Tensor, at::Tensor> interp_loss_cpu(
    const at::Tensor& x, const at::Tensor& label, int64_t normalization,
    std::optional<int64_t> ignore, const std::optional<at::Tensor>& weight,
    const std::optional<at::Tensor>& mask, bool gradient, bool check) {
  const InterpLoss op = prepare_interp_loss(x, label, normalization, ignore, weight, mask,
                                            gradient);
  AT_DISPATCH_FLOATING_TYPES(op.scores.x.scalar_type(), "interp_softmax_loss",
                             [&] { loss_images<scalar_t>(op); });
  return {op.loss, gradient_like(op, x)};
}

}  // namespace

TORCH_LIBRARY_IMPL(fcn_repro, CPU, m) {
  m.impl("interp_argmax", interp_argmax_cpu);
  m.impl("interp_softmax_loss", interp_loss_cpu);
}

}  // namespace fcn
