// 64-byte vectors (GCC vector extensions, lowered to the widest instructions of the target), and
// exp and log on them: float32 by polynomials (Cephes) within 2 ulp, float64 by the C library.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <new>
#include <type_traits>
#include <vector>

#include "target.h"

namespace fcn {

template <typename Acc>
struct Lanes {
  static constexpr int64_t count = 64 / sizeof(Acc);
  using Int = std::conditional_t<sizeof(Acc) == 4, int32_t, int64_t>;
  typedef Acc V __attribute__((vector_size(64)));
  typedef Int I __attribute__((vector_size(64)));
};

template <typename Acc> using VecOf = typename Lanes<Acc>::V;
template <typename Acc> using IntsOf = typename Lanes<Acc>::I;

// A zero-initialised buffer of n values, aligned to cache lines
template <typename T>
struct AlignedBuffer {
  struct alignas(64) Line { T values[64 / sizeof(T)]; };
  std::vector<Line> lines;
  explicit AlignedBuffer(int64_t n) : lines(lines_of(n)) {}
  static size_t lines_of(int64_t n) {
    if (n < 0 || n > int64_t(1) << 56) throw std::bad_alloc();  // its bytes would overflow
    return (n * sizeof(T) + 63) / 64;
  }
  T* data() { return lines.empty() ? nullptr : lines[0].values; }
  const T* data() const { return lines.empty() ? nullptr : lines[0].values; }
};

// (deduced return type: clang instantiates a named one for all overloads of load)
template <typename Acc>
FCN_INLINE auto load(const Acc* from) {
  VecOf<Acc> v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

template <typename V, typename T>
FCN_INLINE void store(T* to, V v) { std::memcpy(to, &v, sizeof v); }

template <typename Acc>
FCN_INLINE IntsOf<Acc> load_ints(const typename Lanes<Acc>::Int* from) {
  IntsOf<Acc> v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

template <typename Acc>
FCN_INLINE VecOf<Acc> broadcast(Acc value) {
  return value - VecOf<Acc>{};
}

template <typename Acc>
FCN_INLINE IntsOf<Acc> broadcast_int(int64_t value) {
  return static_cast<typename Lanes<Acc>::Int>(value) - IntsOf<Acc>{};
}

// exp(x) for x <= 0: 0 below -87, NaN for NaN
FCN_INLINE VecOf<float> exp_lanes(VecOf<float> x) {
  using V = VecOf<float>;
  typedef uint32_t U __attribute__((vector_size(64)));
  constexpr float shifter = 12583039.0f;  // 1.5 * 2^23 + 127: adding it rounds to an integer n,
  const V shifted = x * 1.44269504f + shifter;  // whose biased exponent n + 127 is in the low bits
  const V n = shifted - shifter;
  const V r = (x - n * 0.693359375f) + n * 2.12194440e-4f;  // x - n * log(2), split as Cody-Waite
  V p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  const V e = p * (r * r) + r + 1.0f;
  const V scale = reinterpret_cast<V>(reinterpret_cast<U>(shifted) << 23);
  return x < -87.0f ? V{} : e * scale;
}

// log(x) for normal x > 0: NaN for NaN
FCN_INLINE VecOf<float> log_lanes(VecOf<float> x) {
  using V = VecOf<float>;
  using I = IntsOf<float>;
  const I bits = reinterpret_cast<I>(x);
  V m = reinterpret_cast<V>((bits & 0x7fffff) | 0x3f800000);  // in [1, 2)
  const auto high = m > 1.41421356f;
  m = high ? m * 0.5f : m;
  const I exponent = (bits >> 23) - 127 - high;  // true is -1 in a lane
  const V e = __builtin_convertvector(exponent, V);
  const V f = m - 1.0f, z = f * f;
  V p = f * 7.0376836292e-2f - 1.1514610310e-1f;
  p = p * f + 1.1676998740e-1f;
  p = p * f - 1.2420140846e-1f;
  p = p * f + 1.4249322787e-1f;
  p = p * f - 1.6668057665e-1f;
  p = p * f + 2.0000714765e-1f;
  p = p * f - 2.4999993993e-1f;
  p = p * f + 3.3333331174e-1f;
  const V tail = p * f * z - e * 2.12194440e-4f - 0.5f * z;
  const V value = (f + tail) + e * 0.693359375f;
  return x == x ? value : x;
}

FCN_INLINE VecOf<double> exp_lanes(VecOf<double> x) {
  for (int i = 0; i < Lanes<double>::count; ++i) x[i] = std::exp(x[i]);
  return x;
}

FCN_INLINE VecOf<double> log_lanes(VecOf<double> x) {
  for (int i = 0; i < Lanes<double>::count; ++i) x[i] = std::log(x[i]);
  return x;
}

}  // namespace fcn
