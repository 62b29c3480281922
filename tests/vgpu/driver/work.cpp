// What the device does when it runs: kernels, copies, fills, host functions; and how streams are
// given them.
#include <setjmp.h>

#include <algorithm>
#include <cstring>

#include "tests/vgpu/driver/device.h"
#include "tests/vgpu/simt/machine.h"

namespace vgpu {

namespace {

CUresult run_copy(const CUDA_MEMCPY3D& c) {
  auto* to = c.dstMemoryType == CU_MEMORYTYPE_HOST ? static_cast<char*>(c.dstHost)
                                                   : reinterpret_cast<char*>(c.dstDevice);
  const auto* from = c.srcMemoryType == CU_MEMORYTYPE_HOST
                         ? static_cast<const char*>(c.srcHost)
                         : reinterpret_cast<const char*>(c.srcDevice);
  to += c.dstXInBytes + c.dstY * c.dstPitch;
  from += c.srcXInBytes + c.srcY * c.srcPitch;
  for (size_t row = 0; row < c.Height; ++row) {
    std::memmove(to + row * c.dstPitch, from + row * c.srcPitch, c.WidthInBytes);
  }
  return CUDA_SUCCESS;
}

CUresult run_fill(const CUDA_MEMSET_NODE_PARAMS& f) {
  for (size_t row = 0; row < f.height; ++row) {
    char* const at = reinterpret_cast<char*>(f.dst) + row * f.pitch;
    for (size_t i = 0; i < f.width; ++i) {
      std::memcpy(at + i * f.elementSize, &f.value, f.elementSize);
    }
  }
  return CUDA_SUCCESS;
}

template <class F>
CUresult guarded(const std::string& what, F body) {
  sigjmp_buf exit;
  sigjmp_buf* const outer = exchange_fault_exit(&exit);
  if (sigsetjmp(exit, 1)) {
    exchange_fault_exit(outer);
    device().host_depth = 0;
    return fault(CUDA_ERROR_ILLEGAL_ADDRESS, what + ": access to an illegal address");
  }
  const CUresult result = body();
  exchange_fault_exit(outer);
  return result;
}

CUresult run_host_function(const CUDA_HOST_NODE_PARAMS& host) {
  return guarded("host function", [&] {
    ++device().host_depth;
    host.fn(host.userData);
    --device().host_depth;
    return CUDA_SUCCESS;
  });
}

size_t last_byte(size_t x, size_t y, size_t pitch, size_t width, size_t height) {
  return x + width + (y + height - 1) * pitch;
}

}  // namespace

CUresult run_launch(const Launch& given) {
  if (!alive(given.kernel)) {
    return fault(CUDA_ERROR_ILLEGAL_ADDRESS, "a kernel ran after its library was unloaded");
  }
  Launch l = given;  // kernels may overwrite their parameters
  const CUkern_st& k = *l.kernel;
  std::vector<void*> params;
  for (uint32_t i = 0; i < k.param_count(); ++i) {
    params.push_back(l.blob.data() + k.param(i).offset);
  }
  ++device().kernels_run;
  if (k.host) {
    const std::string name = std::string("kernel ") + k.name();
    const CUresult result = guarded(name, [&] {
      ++device().host_depth;
      const int failed = k.host->run(params.data(), k.host->user);
      --device().host_depth;
      return failed ? fault(CUDA_ERROR_LAUNCH_FAILED, name + ": host function failed")
                    : CUDA_SUCCESS;
    });
    return result ? result : check_red_zones(k.name());
  }
  const simt::Job job{k.code,
                      k.image,
                      l.grid,
                      l.block,
                      l.shared_bytes,
                      params.data(),
                      device().seed ? draw() | 1 : 0};
  std::string error;
  const simt::Outcome outcome = simt::run(job, &error);
  if (outcome == simt::Outcome::kFine) return check_red_zones(k.name());
  return fault(outcome == simt::Outcome::kIllegalAddress ? CUDA_ERROR_ILLEGAL_ADDRESS
               : outcome == simt::Outcome::kMisaligned   ? CUDA_ERROR_MISALIGNED_ADDRESS
                                                         : CUDA_ERROR_LAUNCH_FAILED,
               error);
}

CUresult run_work(const Work& w) {
  switch (w.type) {
    case CU_GRAPH_NODE_TYPE_KERNEL:
      return run_launch(w.launch);
    case CU_GRAPH_NODE_TYPE_MEMCPY:
      return guarded("copy", [&] { return run_copy(w.copy); });
    case CU_GRAPH_NODE_TYPE_MEMSET:
      return guarded("fill", [&] { return run_fill(w.fill); });
    case CU_GRAPH_NODE_TYPE_HOST:
      return run_host_function(w.host);
    case CU_GRAPH_NODE_TYPE_MEM_FREE:
      return CUDA_SUCCESS;
    default:
      return CUDA_SUCCESS;
  }
}

CUresult check_copy(const CUDA_MEMCPY3D& c) {
  const auto supported = [](CUmemorytype t) {
    return t == CU_MEMORYTYPE_HOST || t == CU_MEMORYTYPE_DEVICE || t == CU_MEMORYTYPE_UNIFIED;
  };
  VGPU_NEED(supported(c.srcMemoryType) && supported(c.dstMemoryType), CUDA_ERROR_NOT_SUPPORTED);
  VGPU_NEED(c.Depth == 1 && !c.srcZ && !c.dstZ && !c.srcLOD && !c.dstLOD, CUDA_ERROR_NOT_SUPPORTED);
  VGPU_NEED(c.WidthInBytes && c.Height, CUDA_ERROR_INVALID_VALUE);
  VGPU_NEED(c.Height == 1 || (c.srcPitch >= c.WidthInBytes && c.dstPitch >= c.WidthInBytes),
            CUDA_ERROR_INVALID_VALUE);
  const auto reachable = [&](CUmemorytype type, CUdeviceptr at, const void* host, size_t bytes) {
    if (type == CU_MEMORYTYPE_HOST) return host != nullptr;
    return device_range(at, bytes) || pinned_range(reinterpret_cast<const void*>(at), bytes);
  };
  VGPU_NEED(reachable(c.srcMemoryType, c.srcDevice, c.srcHost,
                      last_byte(c.srcXInBytes, c.srcY, c.srcPitch, c.WidthInBytes, c.Height)),
            CUDA_ERROR_INVALID_VALUE);
  VGPU_NEED(reachable(c.dstMemoryType, c.dstDevice, c.dstHost,
                      last_byte(c.dstXInBytes, c.dstY, c.dstPitch, c.WidthInBytes, c.Height)),
            CUDA_ERROR_INVALID_VALUE);
  return CUDA_SUCCESS;
}

CUresult check_fill(const CUDA_MEMSET_NODE_PARAMS& f) {
  VGPU_NEED(f.elementSize == 1 || f.elementSize == 2 || f.elementSize == 4,
            CUDA_ERROR_INVALID_VALUE);
  VGPU_NEED(f.width && f.height && f.dst % f.elementSize == 0, CUDA_ERROR_INVALID_VALUE);
  VGPU_NEED(f.height == 1 || f.pitch >= f.width * f.elementSize, CUDA_ERROR_INVALID_VALUE);
  const size_t bytes = (f.height - 1) * f.pitch + f.width * f.elementSize;
  VGPU_NEED(device_range(f.dst, bytes) || pinned_range(reinterpret_cast<const void*>(f.dst), bytes),
            CUDA_ERROR_INVALID_VALUE);
  return CUDA_SUCCESS;
}

namespace {

enum class Side { kHost, kDevice };

CUresult submit_copy(CUstream given, Side to_side, CUdeviceptr to, Side from_side, CUdeviceptr from,
                     size_t bytes) {
  VGPU_RESOLVE(s, given);
  if (bytes == 0) return CUDA_SUCCESS;
  Work w;
  w.type = CU_GRAPH_NODE_TYPE_MEMCPY;
  w.copy.dstMemoryType = to_side == Side::kHost ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE;
  w.copy.srcMemoryType = from_side == Side::kHost ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE;
  if (to_side == Side::kHost)
    w.copy.dstHost = reinterpret_cast<void*>(to);
  else
    w.copy.dstDevice = to;
  if (from_side == Side::kHost)
    w.copy.srcHost = reinterpret_cast<void*>(from);
  else
    w.copy.srcDevice = from;
  w.copy.WidthInBytes = bytes;
  w.copy.Height = w.copy.Depth = 1;
  if (const CUresult r = check_copy(w.copy)) return r;
  const bool pageable_source =
      from_side == Side::kHost && !pinned_range(reinterpret_cast<const void*>(from), bytes);
  const bool pageable_target =
      to_side == Side::kHost && !pinned_range(reinterpret_cast<const void*>(to), bytes);
  if (s->capture || device().options.null_device) return submit(s, std::move(w));
  if (pageable_source) {  // documented: copied to staging memory before the call returns
    auto staged = std::make_shared<std::vector<char>>(bytes);
    std::memcpy(staged->data(), reinterpret_cast<const void*>(from), bytes);
    if (const CUresult r = use(s)) return r;
    w.copy.srcHost = staged->data();
    s->tail = enqueue({{s->tail}, {device().legacy.tail}}, [w, staged] { return run_work(w); });
    s->tail_is_kernel = false;
    return CUDA_SUCCESS;
  }
  if (const CUresult r = submit(s, std::move(w))) return r;
  return pageable_target ? run_until(s->tail) : CUDA_SUCCESS;  // documented: returns when complete
}

CUresult submit_fill(CUstream given, CUdeviceptr to, unsigned value, unsigned size, size_t count) {
  VGPU_RESOLVE(s, given);
  if (count == 0) return CUDA_SUCCESS;
  Work w;
  w.type = CU_GRAPH_NODE_TYPE_MEMSET;
  w.fill.dst = to;
  w.fill.pitch = count * size;
  w.fill.value = value;
  w.fill.elementSize = size;
  w.fill.width = count;
  w.fill.height = 1;
  if (const CUresult r = check_fill(w.fill)) return r;
  return submit(s, std::move(w));
}

}  // namespace
}  // namespace vgpu

using namespace vgpu;
extern "C" {

CUresult cuMemcpyHtoDAsync(CUdeviceptr to, const void* from, size_t bytes, CUstream s) {
  VGPU_API(MemcpyHtoDAsync, kSafe, kCtx);
  return submit_copy(s, Side::kDevice, to, Side::kHost, reinterpret_cast<CUdeviceptr>(from), bytes);
}
CUresult cuMemcpyDtoHAsync(void* to, CUdeviceptr from, size_t bytes, CUstream s) {
  VGPU_API(MemcpyDtoHAsync, kSafe, kCtx);
  return submit_copy(s, Side::kHost, reinterpret_cast<CUdeviceptr>(to), Side::kDevice, from, bytes);
}
CUresult cuMemcpyDtoDAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream s) {
  VGPU_API(MemcpyDtoDAsync, kSafe, kCtx);
  return submit_copy(s, Side::kDevice, to, Side::kDevice, from, bytes);
}
CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t count, CUstream s) {
  VGPU_API(MemsetD8Async, kSafe, kCtx);
  return submit_fill(s, to, value, 1, count);
}
CUresult cuMemsetD16Async(CUdeviceptr to, unsigned short value, size_t count, CUstream s) {
  VGPU_API(MemsetD16Async, kSafe, kCtx);
  return submit_fill(s, to, value, 2, count);
}
CUresult cuMemsetD32Async(CUdeviceptr to, unsigned value, size_t count, CUstream s) {
  VGPU_API(MemsetD32Async, kSafe, kCtx);
  return submit_fill(s, to, value, 4, count);
}

CUresult cuLaunchHostFunc(CUstream given, CUhostFn fn, void* user) {
  VGPU_API(LaunchHostFunc, kSafe, kCtx);
  VGPU_RESOLVE(s, given);
  VGPU_NEED(fn, CUDA_ERROR_INVALID_VALUE);
  Work w;
  w.type = CU_GRAPH_NODE_TYPE_HOST;
  w.host = {fn, user};
  return submit(s, std::move(w));
}

// Stream-ordered allocation: the address exists at once; captured, it becomes a memory node.
CUresult cuMemAllocAsync(CUdeviceptr* out, size_t bytes, CUstream given) {
  VGPU_API(MemAllocAsync, kSafe, kCtx);
  VGPU_RESOLVE(s, given);
  VGPU_NEED(out && bytes, CUDA_ERROR_INVALID_VALUE);
  if (s->capture && s->capture->invalid) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  if (const CUresult r = use(s)) return r;
  if (const CUresult r = allocate(out, bytes)) return r;
  if (!s->capture) return CUDA_SUCCESS;
  Work w;
  w.type = CU_GRAPH_NODE_TYPE_MEM_ALLOC;
  w.memory = *out;
  w.memory_owner = own_allocation(*out);
  return submit(s, std::move(w));
}

CUresult cuMemFreeAsync(CUdeviceptr at, CUstream given) {
  VGPU_API(MemFreeAsync, kSafe, kCtx);
  VGPU_RESOLVE(s, given);
  VGPU_NEED(is_allocation(at), CUDA_ERROR_INVALID_VALUE);
  if (s->capture) {
    Work w;
    w.type = CU_GRAPH_NODE_TYPE_MEM_FREE;
    w.memory = at;
    return submit(s, std::move(w));
  }
  if (const CUresult r = use(s)) return r;
  s->tail = enqueue({{s->tail}, {device().legacy.tail}}, [at] { return release(at); });
  s->tail_is_kernel = false;
  return CUDA_SUCCESS;
}

}  // extern "C"
