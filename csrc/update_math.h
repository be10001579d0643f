// Caffe's solver update of one element, in the order and with the roundings of solver/rules.py: a
// tensor's add with alpha is one fused multiply-add, every other operation rounds separately.
// Shared by host (built without contraction) and device, so it includes nothing of ATen or c10.
#pragma once

#include <cmath>
#include <cstdint>

#if defined(__CUDACC__)
#define FCN_UPDATE_HD __host__ __device__ __forceinline__
#else
#define FCN_UPDATE_HD inline __attribute__((always_inline))
#endif

namespace fcn {

enum class Rule { SGD, Nesterov, AdaGrad, RMSProp, AdaDelta, Adam };
enum class Decay { None, L1, L2 };

FCN_UPDATE_HD constexpr bool has_second(Rule rule) {
  return rule == Rule::AdaDelta || rule == Rule::Adam;
}

#if defined(__CUDA_ARCH__)
FCN_UPDATE_HD float times(float a, float b) { return __fmul_rn(a, b); }
FCN_UPDATE_HD double times(double a, double b) { return __dmul_rn(a, b); }
FCN_UPDATE_HD float plus(float a, float b) { return __fadd_rn(a, b); }
FCN_UPDATE_HD double plus(double a, double b) { return __dadd_rn(a, b); }
FCN_UPDATE_HD float over(float a, float b) { return __fdiv_rn(a, b); }
FCN_UPDATE_HD double over(double a, double b) { return __ddiv_rn(a, b); }
FCN_UPDATE_HD float root(float a) { return __fsqrt_rn(a); }
FCN_UPDATE_HD double root(double a) { return __dsqrt_rn(a); }
FCN_UPDATE_HD float fused(float a, float b, float c) { return __fmaf_rn(a, b, c); }
FCN_UPDATE_HD double fused(double a, double b, double c) { return __fma_rn(a, b, c); }
#else
template <typename T> FCN_UPDATE_HD T times(T a, T b) { return a * b; }
template <typename T> FCN_UPDATE_HD T plus(T a, T b) { return a + b; }
template <typename T> FCN_UPDATE_HD T over(T a, T b) { return a / b; }
template <typename T> FCN_UPDATE_HD T root(T a) { return std::sqrt(a); }
template <typename T> FCN_UPDATE_HD T fused(T a, T b, T c) { return std::fma(a, b, c); }
#endif

// The constants of one update, in the precision of its arrays
template <typename T>
struct Rates {
  T clip;            // factor of the diff: gradient clipping, 1 / iter_size
  T keep, fresh;     // momentum or decay rate of the mean, and 1 - keep
  T keep2, fresh2;   // likewise for the second history
  T back, ahead;     // Nesterov's -momentum and 1 + momentum
  T delta;

  Rates(double clip, double keep, double keep2, double delta)
      : clip(static_cast<T>(clip)),
        keep(static_cast<T>(keep)),
        fresh(static_cast<T>(1 - keep)),
        keep2(static_cast<T>(keep2)),
        fresh2(static_cast<T>(1 - keep2)),
        back(static_cast<T>(-keep)),
        ahead(static_cast<T>(1 + keep)),
        delta(static_cast<T>(delta)) {}
};

// history = keep * history + fresh * value
template <typename T>
FCN_UPDATE_HD T mean(T history, T value, T keep, T fresh) {
  return fused(fresh, value, times(history, keep));
}

// One step of a rule: returns what to subtract from the data and updates diff and both histories.
// `diff` is already clipped and includes the weight decay.
template <Rule rule, typename T>
FCN_UPDATE_HD T step(T& diff, T& first, T& second, T rate, const Rates<T>& p) {
  if constexpr (rule == Rule::SGD) {
    return first = fused(rate, diff, times(first, p.keep));
  } else if constexpr (rule == Rule::Nesterov) {
    const T back = times(first, p.back);
    first = fused(rate, diff, times(first, p.keep));
    return fused(p.ahead, first, back);
  } else if constexpr (rule == Rule::AdaGrad || rule == Rule::RMSProp) {
    const T square = times(diff, diff);
    first = rule == Rule::AdaGrad ? plus(first, square) : mean(first, square, p.keep, p.fresh);
    return diff = times(over(diff, plus(root(first), p.delta)), rate);
  } else if constexpr (rule == Rule::AdaDelta) {
    first = mean(first, times(diff, diff), p.keep, p.fresh);
    diff = times(diff, root(over(plus(second, p.delta), plus(first, p.delta))));
    second = mean(second, times(diff, diff), p.keep, p.fresh);
    return diff = times(diff, rate);
  } else {
    first = mean(first, diff, p.keep, p.fresh);
    second = mean(second, times(diff, diff), p.keep2, p.fresh2);
    return times(over(first, plus(root(second), p.delta)), rate);
  }
}

template <Rule rule, Decay kind, typename T>
FCN_UPDATE_HD void update_at(T& data, T& diff, T& first, T& second, T rate, T decay, bool moves,
                             const Rates<T>& p) {
  diff = times(diff, p.clip);
  if constexpr (kind == Decay::L2) diff = fused(decay, data, diff);
  if constexpr (kind == Decay::L1) {
    const T sign = static_cast<T>((data > T(0)) - (data < T(0)));
    diff = fused(decay, sign, diff);
  }
  const T change = step<rule>(diff, first, second, rate, p);
  data = moves ? plus(data, -change) : data;
}

// Dispatch run-time values to f<rule, kind>()
template <Decay kind, typename F>
void with_rule(Rule rule, F&& f) {
  switch (rule) {
    case Rule::SGD: return f.template operator()<Rule::SGD, kind>();
    case Rule::Nesterov: return f.template operator()<Rule::Nesterov, kind>();
    case Rule::AdaGrad: return f.template operator()<Rule::AdaGrad, kind>();
    case Rule::RMSProp: return f.template operator()<Rule::RMSProp, kind>();
    case Rule::AdaDelta: return f.template operator()<Rule::AdaDelta, kind>();
    case Rule::Adam: return f.template operator()<Rule::Adam, kind>();
  }
}

template <typename F>
void with_rule(Rule rule, Decay kind, F&& f) {
  if (kind == Decay::None) return with_rule<Decay::None>(rule, f);
  if (kind == Decay::L1) return with_rule<Decay::L1>(rule, f);
  with_rule<Decay::L2>(rule, f);
}

}  // namespace fcn
