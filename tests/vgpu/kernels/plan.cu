// One kernel for tests of plans: launches differ in what they read and write.
#include "mg/device.cuh"

// out[i] = a[i] * k + b[i]
extern "C" __global__ void axpb(const float* a, const float* b, float* out, float k, int n) {
  mg::pdl_wait();
  const int i = int(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) out[i] = a[i] * k + b[i];
  mg::pdl_launch();
}
KERNEL_EXPORT(axpb)
