// csrc/cpu/gemm/micro_kernel.h by itself: tests/test_product.py calls it.
#include "../csrc/cpu/gemm/micro_kernel.h"

extern "C" void multiply_float(const fcn::Product<float>* p) { fcn::multiply(*p); }
extern "C" void multiply_double(const fcn::Product<double>* p) { fcn::multiply(*p); }
