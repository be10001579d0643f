// What functions shared by host and device begin with.
#pragma once

#if defined(__CUDACC__)
#define FCN_HD __host__ __device__ __forceinline__
#else
#define FCN_HD inline
#endif

namespace fcn {

// Storage type to the type that sums; the 16-bit types of a backend add overloads of their own.
FCN_HD float widen(float value) { return value; }
FCN_HD double widen(double value) { return value; }

}  // namespace fcn
