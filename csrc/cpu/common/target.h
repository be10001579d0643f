// Compiler attributes (instruction sets, inlining, contraction) and the probe of the processor.
//
// A local build compiles for the machine's own instruction set. A portable build (FCN_PORTABLE)
// compiles hot functions once per x86-64 micro-architecture level and dispatches at run time.
#pragma once

#define FCN_INLINE inline __attribute__((always_inline))

// FCN_CLONES: a loop compiled for each micro-architecture level of a portable build.
#if defined(FCN_PORTABLE) && defined(__x86_64__) && !defined(__clang__) && __GNUC__ >= 12
#define FCN_CLONES \
  __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define FCN_CLONES
#endif

// FCN_AVX512: a function that is only called where has_avx512_bf16() holds.
#if defined(FCN_PORTABLE) && defined(__x86_64__)
#define FCN_AVX512 __attribute__((target("arch=x86-64-v4")))
#else
#define FCN_AVX512
#endif

// The sources are built with -ffp-contract=off, so that a value has the same bits in every clone.
// FCN_CONTRACT allows fused multiply-adds in one function: as an attribute of it for gcc, for clang
// as a pragma in the body that multiplies and adds.
#if defined(__clang__)
#define FCN_CONTRACT
#define FCN_CONTRACT_BODY _Pragma("clang fp contract(fast)")
#else
#define FCN_CONTRACT __attribute__((optimize("fp-contract=fast")))
#define FCN_CONTRACT_BODY
#endif

#pragma GCC diagnostic ignored "-Wpsabi"  // vectors are only passed to inlined functions

namespace fcn {

// Whether the bfloat16 kernels can run: the processor has AVX512-BF16, and the build uses AVX-512.
inline bool has_avx512_bf16() {
#if defined(__x86_64__) && (defined(FCN_PORTABLE) || defined(__AVX512F__))
  return __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

}  // namespace fcn
