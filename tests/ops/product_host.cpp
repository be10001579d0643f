// csrc/cpu/gemm/micro_kernel.h by itself: tests/test_product.py calls it.
#include "../../csrc/cpu/gemm/micro_kernel.h"

extern "C" void multiply_float(const fcn::Gemm<float>* p) { fcn::gemm(*p); }
extern "C" void multiply_double(const fcn::Gemm<double>* p) { fcn::gemm(*p); }
