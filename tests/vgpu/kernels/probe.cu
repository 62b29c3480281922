// Single kernels for the tests of the emulator; the `bad_` ones are wrong on purpose.
#include "mg/device.cuh"

#if defined(__CUDACC__)
#error "uses the emulator's names for asynchronous copies and matrix instructions"
#endif

extern "C" __global__ void nothing() {}
KERNEL_EXPORT(nothing)

extern "C" __global__ void fill(float* out, float value, int n) {
  const int i = int(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) out[i] = value;
}
KERNEL_EXPORT(fill)

// out[i] = a[i] + 2 b, to test parameter layouts: a char before a double.
extern "C" __global__ void layout(char c, double b, float* out, short s) {
  out[threadIdx.x] = float(c) + 2.0f * float(b) + float(s);
}
KERNEL_EXPORT(layout)

extern "C" __global__ void bad_divergent(int* out) {
  if (threadIdx.x & 1) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  out[threadIdx.x] = 1;
}
KERNEL_EXPORT(bad_divergent)

extern "C" __global__ void bad_deadlock(int* out) {
  int v = 0;
  if (threadIdx.x % 32 < 31) {
    v = __shfl_sync(0xffffffffu, int(threadIdx.x), 0);
  } else {
    __syncthreads();
  }
  out[threadIdx.x] = v;
}
KERNEL_EXPORT(bad_deadlock)

extern "C" __global__ void bad_exit(int* out) {
  if (threadIdx.x == 0) return;
  __syncthreads();
  out[threadIdx.x] = 1;
}
KERNEL_EXPORT(bad_exit)

extern "C" __global__ void bad_bounds(int* out, int n) {
  out[n + int(threadIdx.x)] = 1;
}
KERNEL_EXPORT(bad_bounds)

extern "C" __global__ void bad_alignment(char* out) {
  *reinterpret_cast<uint4*>(out + 4) = make_uint4(1, 2, 3, 4);
}
KERNEL_EXPORT(bad_alignment)

extern "C" __global__ void bad_shared(int* out, int n) {
  extern __shared__ int smem[];
  smem[n + int(threadIdx.x)] = 1;
  __syncthreads();
  out[threadIdx.x] = smem[threadIdx.x];
}
KERNEL_EXPORT(bad_shared)

// Counts values without atomics: a lost update on hardware, a race here.
extern "C" __global__ void bad_count(const int* values, int* counts, int n) {
  const int i = int(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) counts[values[i]] += 1;
}
KERNEL_EXPORT(bad_count)
extern "C" __global__ void count(const int* values, int* counts, int n) {
  const int i = int(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) atomicAdd(&counts[values[i]], 1);
}
KERNEL_EXPORT(count)

// Neighbours in a warp exchange through shared memory, with and without __syncwarp.
extern "C" __global__ void bad_exchange(int* out) {
  __shared__ int slot[32];
  slot[threadIdx.x] = int(threadIdx.x);
  const int seen = slot[threadIdx.x ^ 1];
  out[threadIdx.x] = seen;
}
KERNEL_EXPORT(bad_exchange)
extern "C" __global__ void exchange(int* out) {
  __shared__ int slot[32];
  slot[threadIdx.x] = int(threadIdx.x);
  __syncwarp();
  out[threadIdx.x] = slot[threadIdx.x ^ 1];
}
KERNEL_EXPORT(exchange)

// Warp operations of all kinds; out[0..9) gets one figure each from lane 5.
extern "C" __global__ void warp_operations(int* out) {
  const int lane = int(threadIdx.x);
  const int r[9] = {__shfl_sync(~0u, lane * 10, 7),   __shfl_up_sync(~0u, lane, 2),
                    __shfl_down_sync(~0u, lane, 30),  __shfl_xor_sync(~0u, lane, 16),
                    __shfl_sync(~0u, lane, 1, 4),     int(__ballot_sync(~0u, lane % 2 == 0)),
                    __any_sync(~0u, lane == 31),      __all_sync(~0u, lane < 31),
                    __shfl_down_sync(~0u, lane, 3, 8)};
  if (lane == 5) {
    for (int i = 0; i < 9; ++i) out[i] = r[i];
  }
}
KERNEL_EXPORT(warp_operations)

// c[16,8] = a[16,16] b[16,8]: rows of a through shared memory and ldmatrix, b column by column.
extern "C" __global__ void tile_product(const mg::bf16* a, const mg::bf16* b, float* c) {
  __shared__ __align__(16) mg::bf16 tile[16 * 16];
  const int lane = int(threadIdx.x);
  for (int i = lane; i < 256; i += 32) tile[i] = a[i];
  __syncwarp();
  unsigned fa[4], fb[2];
  // matrices in the order of the fragment: top left, bottom left, top right, bottom right
  simt::ldmatrix<4>(fa, tile + (lane % 16) * 16 + lane / 16 * 8);
  const int g = lane / 4, t = lane % 4;
  for (int half = 0; half < 2; ++half) {
    const int k = 8 * half + 2 * t;
    fb[half] = b[k * 8 + g].bits | unsigned(b[(k + 1) * 8 + g].bits) << 16;
  }
  float d[4];
  const float zero[4] = {0, 0, 0, 0};
  simt::mma_m16n8k16_bf16(d, fa, fb, zero);
  for (int i = 0; i < 4; ++i) c[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = d[i];
}
KERNEL_EXPORT(tile_product)

// Sums `tiles` tiles of 32 x 4 floats through a two-stage asynchronous pipeline.
template <bool kWait>
__device__ void pipeline(const float* in, float* out, int tiles) {
  __shared__ __align__(16) float stage[2][128];
  const int lane = int(threadIdx.x);
  float sum = 0;
  simt::cp_async(&stage[0][lane * 4], in + lane * 4, 16);
  simt::cp_async_commit();
  for (int i = 0; i < tiles; ++i) {
    if (i + 1 < tiles) {
      simt::cp_async(&stage[(i + 1) % 2][lane * 4], in + (i + 1) * 128 + lane * 4, 16);
    }
    simt::cp_async_commit();
    if (kWait) simt::cp_async_wait(1);
    __syncwarp();
    for (int k = 0; k < 4; ++k) sum += stage[i % 2][(lane * 4 + k + 4) % 128];
    __syncwarp();
  }
  out[lane] = sum;
}
extern "C" __global__ void pipelined(const float* in, float* out, int tiles) {
  pipeline<true>(in, out, tiles);
}
KERNEL_EXPORT(pipelined)
extern "C" __global__ void bad_pipelined(const float* in, float* out, int tiles) {
  pipeline<false>(in, out, tiles);
}
KERNEL_EXPORT(bad_pipelined)

// One bulk copy of 1 KiB that every thread reads.
template <bool kWait>
__device__ void bulk(const float* in, float* out) {
  __shared__ __align__(16) float tile[256];
  __shared__ uint64_t arrived;
  if (threadIdx.x == 0) {
    simt::mbarrier_init(&arrived, 1);
    simt::mbarrier_arrive_expect_tx(&arrived, sizeof tile);
    simt::bulk_copy(tile, in, sizeof tile, &arrived);
  }
  __syncthreads();
  if (kWait || threadIdx.x == 0) simt::mbarrier_wait(&arrived, 0);
  out[threadIdx.x] = tile[threadIdx.x];
}
extern "C" __global__ void bulk_copied(const float* in, float* out) {
  bulk<true>(in, out);
}
KERNEL_EXPORT(bulk_copied)
extern "C" __global__ void bad_bulk_copied(const float* in, float* out) {
  bulk<false>(in, out);
}
KERNEL_EXPORT(bad_bulk_copied)

// A chain of two for programmatic edges: the dependent reads before or after it waits.
extern "C" __global__ void produce(float* out, float value) {
  mg::pdl_wait();
  mg::pdl_launch();
  out[threadIdx.x] = value;
}
KERNEL_EXPORT(produce)
extern "C" __global__ void consume(const float* in, float* out) {
  mg::pdl_wait();
  out[threadIdx.x] = in[threadIdx.x] + 1;
}
KERNEL_EXPORT(consume)
extern "C" __global__ void bad_consume(const float* in, float* out) {
  const float early = in[threadIdx.x];
  mg::pdl_wait();
  out[threadIdx.x] = early + 1;
}
KERNEL_EXPORT(bad_consume)
