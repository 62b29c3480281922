// A small model for the virtual GPU's own tests: a normalisation, split matrix-vector products and
// a gated product. -DDROP_SYNC=n leaves out barrier n, -DDROP_FENCE=1 the fences.
#include "mg/device.cuh"

#ifndef DROP_SYNC
#define DROP_SYNC 0
#endif
#ifndef DROP_FENCE
#define DROP_FENCE 0
#endif
#define BARRIER(n)                       \
  do {                                   \
    if (DROP_SYNC != n) __syncthreads(); \
  } while (0)
#define FENCE()                       \
  do {                                \
    if (!DROP_FENCE) __threadfence(); \
  } while (0)

using mg::bf16;

__device__ __forceinline__ void load8(const bf16* p, float (&v)[8]) {
  mg::unpack(*reinterpret_cast<const uint4*>(p), v, p);
}
__device__ __forceinline__ void store8(bf16* p, const float (&v)[8]) {
  *reinterpret_cast<uint4*>(p) = mg::pack(v, p);
}

// y[row] = x[row] * weight / rms(x[row]); a block a row, `columns` a multiple of 8.
extern "C" __global__ void normalise(const bf16* x, const bf16* weight, bf16* y, int columns,
                                     float epsilon) {
  __shared__ float partial[32];
  mg::pdl_wait();
  const int thread = int(threadIdx.x), lane = thread % 32, warp = thread / 32;
  const bf16* const row = x + size_t(blockIdx.x) * columns;
  float v[8], w[8], sum = 0;
  for (int c = thread * 8; c < columns; c += int(blockDim.x) * 8) {
    load8(row + c, v);
    for (int i = 0; i < 8; ++i) sum += v[i] * v[i];
  }
  sum = mg::warp_sum(sum);
  if (lane == 0) partial[warp] = sum;
  BARRIER(1);
  if (warp == 0) {
    sum = mg::warp_sum(lane < int(blockDim.x) / 32 ? partial[lane] : 0.0f);
    __syncwarp();
    if (lane == 0) partial[0] = rsqrtf(sum / float(columns) + epsilon);
  }
  BARRIER(2);
  const float scale = partial[0];
  mg::pdl_launch();
  for (int c = thread * 8; c < columns; c += int(blockDim.x) * 8) {
    load8(row + c, v);
    load8(weight + c, w);
    for (int i = 0; i < 8; ++i) v[i] *= scale * w[i];
    store8(y + size_t(blockIdx.x) * columns + c, v);
  }
}
KERNEL_EXPORT(normalise)

// y = W x with a warp a row; gridDim.y blocks share the columns, and the last of them to finish
// adds the parts in a fixed order. `tickets` is zero before and after.
extern "C" __global__ void matvec(const bf16* weight, const bf16* x, bf16* y, float* parts,
                                  unsigned* tickets, int rows, int columns) {
  extern __shared__ float smem[];  // this block's part of x
  __shared__ unsigned is_last;
  mg::pdl_wait();
  const int thread = int(threadIdx.x), lane = thread % 32, warps = int(blockDim.x) / 32;
  const int width = columns / int(gridDim.y), from = int(blockIdx.y) * width;
  const int first_row = int(blockIdx.x) * warps, row = first_row + thread / 32;
  for (int c = thread * 8; c < width; c += int(blockDim.x) * 8) {
    float v[8];
    load8(x + from + c, v);
    for (int i = 0; i < 8; ++i) smem[c + i] = v[i];
  }
  BARRIER(3);
  float sum = 0;
  for (int c = lane * 8; row < rows && c < width; c += 256) {
    float v[8];
    load8(weight + size_t(row) * columns + from + c, v);
    for (int i = 0; i < 8; ++i) sum += v[i] * smem[c + i];
  }
  sum = mg::warp_sum(sum);
  if (lane == 0 && row < rows) parts[size_t(blockIdx.y) * rows + row] = sum;
  FENCE();
  BARRIER(4);
  if (thread == 0) is_last = atomicAdd(&tickets[blockIdx.x], 1u) == gridDim.y - 1;
  BARRIER(5);
  if (!is_last) return;
  FENCE();
  if (thread < warps && first_row + thread < rows) {
    float total = 0;
    for (unsigned s = 0; s < gridDim.y; ++s) {
      total += mg::load_coherent(parts + size_t(s) * rows + first_row + thread);
    }
    y[first_row + thread] = mg::float_to_bf16(total);
  }
  if (thread == 0) tickets[blockIdx.x] = 0;
}
KERNEL_EXPORT(matvec)

// y = gate / (1 + exp(-gate)) * up, eight elements a thread.
extern "C" __global__ void gated(const bf16* gate, const bf16* up, bf16* y, int eights) {
  mg::pdl_wait();
  const int i = int(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= eights) return;
  float g[8], u[8];
  load8(gate + 8 * i, g);
  load8(up + 8 * i, u);
  for (int k = 0; k < 8; ++k) u[k] *= g[k] / (1.0f + __expf(-g[k]));
  store8(y + 8 * i, u);
}
KERNEL_EXPORT(gated)
