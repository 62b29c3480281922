// Start, device, primary context, errors, and the table through which clients find everything.
#include <cudaTypedefs.h>

#include <algorithm>
#include <cstring>

#include "tests/vgpu/driver/device.h"

namespace vgpu {
namespace {

std::vector<CUcontext>& context_stack() {
  thread_local std::vector<CUcontext> stack;
  return stack;
}

struct Text {
  CUresult code;
  const char* name;
  const char* text;
};
#define VGPU_CODE(code, text) \
  { code, #code, text }
constexpr Text kTexts[] = {
    VGPU_CODE(CUDA_SUCCESS, "no error"),
    VGPU_CODE(CUDA_ERROR_INVALID_VALUE, "invalid argument"),
    VGPU_CODE(CUDA_ERROR_OUT_OF_MEMORY, "out of memory"),
    VGPU_CODE(CUDA_ERROR_NOT_INITIALIZED, "initialization error"),
    VGPU_CODE(CUDA_ERROR_DEINITIALIZED, "driver shutting down"),
    VGPU_CODE(CUDA_ERROR_NO_DEVICE, "no CUDA-capable device is detected"),
    VGPU_CODE(CUDA_ERROR_INVALID_DEVICE, "invalid device ordinal"),
    VGPU_CODE(CUDA_ERROR_INVALID_IMAGE, "device kernel image is invalid"),
    VGPU_CODE(CUDA_ERROR_INVALID_CONTEXT, "invalid device context"),
    VGPU_CODE(CUDA_ERROR_NO_BINARY_FOR_GPU, "no kernel image is available for this device"),
    VGPU_CODE(CUDA_ERROR_ECC_UNCORRECTABLE, "uncorrectable ECC error encountered"),
    VGPU_CODE(CUDA_ERROR_SHARED_OBJECT_INIT_FAILED, "shared object initialization failed"),
    VGPU_CODE(CUDA_ERROR_OPERATING_SYSTEM, "OS call failed"),
    VGPU_CODE(CUDA_ERROR_INVALID_HANDLE, "invalid resource handle"),
    VGPU_CODE(CUDA_ERROR_ILLEGAL_STATE, "operation not permitted in the object's state"),
    VGPU_CODE(CUDA_ERROR_LOSSY_QUERY, "the query would lose edge data"),
    VGPU_CODE(CUDA_ERROR_NOT_FOUND, "named symbol not found"),
    VGPU_CODE(CUDA_ERROR_NOT_READY, "device not ready"),
    VGPU_CODE(CUDA_ERROR_ILLEGAL_ADDRESS, "an illegal memory access was encountered"),
    VGPU_CODE(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, "too many resources requested for launch"),
    VGPU_CODE(CUDA_ERROR_LAUNCH_TIMEOUT, "the launch timed out and was terminated"),
    VGPU_CODE(CUDA_ERROR_CONTEXT_IS_DESTROYED, "context is destroyed"),
    VGPU_CODE(CUDA_ERROR_MISALIGNED_ADDRESS, "misaligned address"),
    VGPU_CODE(CUDA_ERROR_ASSERT, "device-side assert triggered"),
    VGPU_CODE(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, "host memory is already registered"),
    VGPU_CODE(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, "host memory is not registered"),
    VGPU_CODE(CUDA_ERROR_LAUNCH_FAILED, "unspecified launch failure"),
    VGPU_CODE(CUDA_ERROR_NOT_PERMITTED, "operation not permitted"),
    VGPU_CODE(CUDA_ERROR_NOT_SUPPORTED, "operation not supported"),
    VGPU_CODE(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "not permitted when stream is capturing"),
    VGPU_CODE(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, "failed due to a previous capture error"),
    VGPU_CODE(CUDA_ERROR_STREAM_CAPTURE_MERGE, "would merge two separate captures"),
    VGPU_CODE(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED, "capture was not begun in this stream"),
    VGPU_CODE(CUDA_ERROR_STREAM_CAPTURE_UNJOINED, "capturing stream has unjoined work"),
    VGPU_CODE(CUDA_ERROR_STREAM_CAPTURE_ISOLATION, "dependency on uncaptured work in a stream"),
    VGPU_CODE(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT, "implicit dependency on a capturing stream"),
    VGPU_CODE(CUDA_ERROR_CAPTURED_EVENT, "not permitted on an event last recorded in a capture"),
    VGPU_CODE(CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD, "capture was begun by another thread"),
    VGPU_CODE(CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE, "the graph update violates its constraints"),
    VGPU_CODE(CUDA_ERROR_UNKNOWN, "unknown error"),
};
const Text* find_text(CUresult code) {
  const auto* const found = std::find_if(std::begin(kTexts), std::end(kTexts),
                                         [&](const Text& t) { return t.code == code; });
  return found == std::end(kTexts) ? nullptr : found;
}

}  // namespace

CUcontext current_context() {
  return context_stack().empty() ? nullptr : context_stack().back();
}

}  // namespace vgpu

using namespace vgpu;
extern "C" {

CUresult cuInit(unsigned flags) {
  VGPU_API(Init, kSafe, kNothing);
  VGPU_NEED(!flags, CUDA_ERROR_INVALID_VALUE);
  if (!device().initialised) {
    register_fault_handler();
    device().live[&device().legacy] = Kind::kNone;
  }
  device().initialised = true;
  return CUDA_SUCCESS;
}

CUresult cuDriverGetVersion(int* out) {
  VGPU_API(DriverGetVersion, kSafe, kNothing);
  VGPU_NEED(out, CUDA_ERROR_INVALID_VALUE);
  *out = CUDA_VERSION;
  return CUDA_SUCCESS;
}

CUresult cuGetErrorName(CUresult code, const char** out) {
  VGPU_API(GetErrorName, kSafe, kNothing);
  const Text* const t = find_text(code);
  *out = t ? t->name : nullptr;
  return t ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGetErrorString(CUresult code, const char** out) {
  VGPU_API(GetErrorString, kSafe, kNothing);
  const Text* const t = find_text(code);
  *out = t ? t->text : nullptr;
  return t ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuDeviceGetCount(int* out) {
  VGPU_API(DeviceGetCount, kSafe, kInit);
  VGPU_NEED(out, CUDA_ERROR_INVALID_VALUE);
  *out = 1;
  return CUDA_SUCCESS;
}
CUresult cuDeviceGet(CUdevice* out, int ordinal) {
  VGPU_API(DeviceGet, kSafe, kInit);
  VGPU_NEED(ordinal == 0, CUDA_ERROR_INVALID_DEVICE);
  *out = 0;
  return CUDA_SUCCESS;
}
CUresult cuDeviceGetName(char* out, int length, CUdevice dev) {
  VGPU_API(DeviceGetName, kSafe, kInit);
  VGPU_NEED(dev == 0, CUDA_ERROR_INVALID_DEVICE);
  VGPU_NEED(out && length > 0, CUDA_ERROR_INVALID_VALUE);
  std::snprintf(out, static_cast<size_t>(length), "Monograph virtual GPU");
  return CUDA_SUCCESS;
}
CUresult cuDeviceTotalMem(size_t* out, CUdevice dev) {
  VGPU_API(DeviceTotalMem, kSafe, kInit);
  VGPU_NEED(dev == 0, CUDA_ERROR_INVALID_DEVICE);
  *out = device().options.memory_bytes;
  return CUDA_SUCCESS;
}
CUresult cuDeviceGetAttribute(int* out, CUdevice_attribute which, CUdevice dev) {
  VGPU_API(DeviceGetAttribute, kSafe, kInit);
  VGPU_NEED(dev == 0, CUDA_ERROR_INVALID_DEVICE);
  VGPU_NEED(out, CUDA_ERROR_INVALID_VALUE);
  static const std::map<int, int> values{
      {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 9},
      {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, 0},
      {CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 4},
      {CU_DEVICE_ATTRIBUTE_WARP_SIZE, 32},
      {CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK, simt::kMaxThreads},
      {CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR, 2048},
      {CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR, 32},
      {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK, 48 << 10},
      {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, simt::kSmemMax},
      {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR, simt::kSmemMax + 1024},
      {CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK, 1024},
      {CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK, 65536},
      {CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, 50 << 20},
      {CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING, 1},
      {CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY, 1},
      {CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED, 1},
      {CU_DEVICE_ATTRIBUTE_STREAM_PRIORITIES_SUPPORTED, 1},
      {CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED, 1},
      {CU_DEVICE_ATTRIBUTE_CLOCK_RATE, 1000000},
      {CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE, 1000000},
      {CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH, 5120},
      {CU_DEVICE_ATTRIBUTE_PCI_BUS_ID, 0},
      {CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID, 0},
      {CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID, 0},
  };
  const auto found = values.find(which);
  VGPU_NEED(found != values.end(), CUDA_ERROR_INVALID_VALUE);  // only what a test has decided on
  *out = found->second;
  return CUDA_SUCCESS;
}

// ---- primary context ----
CUresult cuDevicePrimaryCtxRetain(CUcontext* out, CUdevice dev) {
  VGPU_API(DevicePrimaryCtxRetain, kSafe, kInit);
  VGPU_NEED(dev == 0, CUDA_ERROR_INVALID_DEVICE);
  VGPU_NEED(out, CUDA_ERROR_INVALID_VALUE);
  ++device().retained;
  *out = &device().context;
  return CUDA_SUCCESS;
}
CUresult cuDevicePrimaryCtxRelease(CUdevice dev) {
  VGPU_ENTER(DevicePrimaryCtxRelease, kSafe, kInit);
  VGPU_NEED(dev == 0, CUDA_ERROR_INVALID_DEVICE);
  VGPU_NEED(device().retained > 0, CUDA_ERROR_INVALID_CONTEXT);
  --device().retained;
  return status;
}
CUresult cuDevicePrimaryCtxGetState(CUdevice dev, unsigned* flags, int* active) {
  VGPU_API(DevicePrimaryCtxGetState, kSafe, kInit);
  VGPU_NEED(dev == 0, CUDA_ERROR_INVALID_DEVICE);
  if (flags) *flags = 0;
  if (active) *active = device().retained > 0;
  return CUDA_SUCCESS;
}
CUresult cuCtxPushCurrent(CUcontext c) {
  VGPU_API(CtxPushCurrent, kSafe, kInit);
  VGPU_NEED(c == &device().context && device().retained, CUDA_ERROR_INVALID_CONTEXT);
  context_stack().push_back(c);
  return CUDA_SUCCESS;
}
CUresult cuCtxPopCurrent(CUcontext* out) {
  VGPU_ENTER(CtxPopCurrent, kSafe, kInit);
  VGPU_NEED(!context_stack().empty(), CUDA_ERROR_INVALID_CONTEXT);
  if (out) *out = context_stack().back();
  context_stack().pop_back();
  return status;
}
CUresult cuCtxSetCurrent(CUcontext c) {
  VGPU_API(CtxSetCurrent, kSafe, kInit);
  VGPU_NEED(!c || (c == &device().context && device().retained), CUDA_ERROR_INVALID_CONTEXT);
  if (!context_stack().empty()) context_stack().pop_back();
  if (c) context_stack().push_back(c);
  return CUDA_SUCCESS;
}
CUresult cuCtxGetCurrent(CUcontext* out) {
  VGPU_API(CtxGetCurrent, kSafe, kInit);
  VGPU_NEED(out, CUDA_ERROR_INVALID_VALUE);
  *out = current_context();
  return CUDA_SUCCESS;
}
CUresult cuCtxGetDevice(CUdevice* out) {
  VGPU_API(CtxGetDevice, kSafe, kCurrent);
  *out = 0;
  return CUDA_SUCCESS;
}
CUresult cuCtxSynchronize() {
  VGPU_API(CtxSynchronize, kUnsafe, kCurrent);
  if (!device()
           .captures.empty()) {  // documented for capture: a context with one can't be waited for
    for (const CaptureRef& c : device().captures) c->invalid = true;
    return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  }
  return run_all();
}

// ---- the table ----
// Each address is checked against the type that cudaTypedefs.h gives for the pinned version.
struct Export {
  const char* name;
  int version;
  void* address;
};
static const Export kExports[] = {
#define MONOGRAPH_CU_ENTRY(name, version, feature) \
  {"cu" #name, version, reinterpret_cast<void*>(static_cast<PFN_cu##name##_v##version>(&cu##name))},
#include "runtime/cuda/entry_points.def"
#undef MONOGRAPH_CU_ENTRY
};

__attribute__((visibility("default"))) CUresult cuGetProcAddress(
    const char* symbol, void** out, int version, cuuint64_t flags,
    CUdriverProcAddressQueryResult* found) {
  VGPU_NEED(symbol && out && version <= CUDA_VERSION &&
                flags <= CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM,
            CUDA_ERROR_INVALID_VALUE);
  auto result = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
  *out = nullptr;
  for (const Export& e : kExports) {
    if (std::strcmp(e.name, symbol)) continue;
    // One ABI a name: asking for an older one fails rather than mixing two.
    result = version < e.version ? CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT
                                 : CU_GET_PROC_ADDRESS_SUCCESS;
    if (result == CU_GET_PROC_ADDRESS_SUCCESS) *out = e.address;
  }
  if (found) *found = result;
  return CUDA_SUCCESS;  // documented: success with a null pointer, clients have to test it
}

}  // extern "C"
