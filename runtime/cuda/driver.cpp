#include "runtime/cuda/driver.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <monograph/error.h>
#include <unistd.h>

#include <map>
#include <utility>

#include "runtime/cuda/ranges.h"

namespace monograph::cuda {
namespace {

thread_local std::string_view current_node;

struct Row {
  const char* name;
  int version;
  Feature feature;
};

constexpr Row kRows[] = {
#define MONOGRAPH_CU_ENTRY(name, version, feature) {"cu" #name, version, Feature::feature},
#include "runtime/cuda/entry_points.def"
#undef MONOGRAPH_CU_ENTRY
};

Code code_of(CUresult result) {
  if (Driver::is_sticky(result)) return Code::kDevicePoisoned;
  switch (result) {
    case CUDA_ERROR_OUT_OF_MEMORY:
      return Code::kDeviceOutOfMemory;
    case CUDA_ERROR_NO_DEVICE:
    case CUDA_ERROR_STUB_LIBRARY:
    case CUDA_ERROR_DEVICE_UNAVAILABLE:
    case CUDA_ERROR_SYSTEM_NOT_READY:
    case CUDA_ERROR_SYSTEM_DRIVER_MISMATCH:
    case CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE:
    case CUDA_ERROR_NOT_INITIALIZED:
    case CUDA_ERROR_DEINITIALIZED:
      return Code::kDeviceUnavailable;
    case CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED:
    case CUDA_ERROR_STREAM_CAPTURE_INVALIDATED:
    case CUDA_ERROR_STREAM_CAPTURE_MERGE:
    case CUDA_ERROR_STREAM_CAPTURE_UNMATCHED:
    case CUDA_ERROR_STREAM_CAPTURE_UNJOINED:
    case CUDA_ERROR_STREAM_CAPTURE_ISOLATION:
    case CUDA_ERROR_STREAM_CAPTURE_IMPLICIT:
    case CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD:
    case CUDA_ERROR_CAPTURED_EVENT:
      return Code::kDeviceCaptureFailed;
    default:
      return Code::kDeviceFault;
  }
}

// Calls that report what asynchronous work did, so the failing call itself is rarely to blame.
bool reports_earlier_work(std::string_view call) {
  return call.find("Synchronize") != std::string_view::npos ||
         call.find("Query") != std::string_view::npos;
}

struct Registry {
  std::mutex mutex;
  std::map<std::string, const Driver*> drivers;
};

// Never destroyed: handles with static lifetime may still need their driver at exit.
Registry& registry() {
  static auto* const instance = new Registry;
  return *instance;
}

}  // namespace

std::string_view feature_name(Feature feature) noexcept {
  switch (feature) {
    case Feature::kCore:
      return "Core";
    case Feature::kStreamOrderedMemory:
      return "StreamOrderedMemory";
    case Feature::kHostRegister:
      return "HostRegister";
    case Feature::kVirtualMemory:
      return "VirtualMemory";
    case Feature::kParamInfo:
      return "ParamInfo";
    case Feature::kOccupancy:
      return "Occupancy";
    case Feature::kGraphDot:
      return "GraphDot";
    case Feature::kGraphUpdate:
      return "GraphUpdate";
    case Feature::kNodeEnable:
      return "NodeEnable";
    case Feature::kCount:
      break;
  }
  return "Unknown";
}

NodeScope::NodeScope(std::string_view node) noexcept : outer_(current_node) {
  current_node = node;
  if (ranges_wanted()) open_range(node);
}
NodeScope::~NodeScope() {
  current_node = outer_;
  if (ranges_wanted()) close_range();
}
std::string_view NodeScope::current() noexcept {
  return current_node;
}

const Driver& Driver::open(const std::string& library) {
  Registry& all = registry();
  {
    const std::lock_guard lock(all.mutex);
    if (const auto found = all.drivers.find(library); found != all.drivers.end()) {
      return *found->second;
    }
  }
  // Loaded without the lock: the driver has locks of its own, under which it calls host functions.
  std::unique_ptr<Driver> driver(new Driver(library));
  const std::lock_guard lock(all.mutex);
  const auto [entry, is_first] = all.drivers.emplace(library, driver.get());
  if (is_first) driver.release();  // otherwise another thread was faster, and its table is as good
  return *entry->second;
}

std::string Driver::why_unavailable(const std::string& library) {
  try {
    open(library);
    return {};
  } catch (const Error& error) {
    return error.what();
  }
}

Driver::Driver(std::string library) : library_(std::move(library)), pid_(getpid()) {
  // The library stays loaded also when the start fails: it may have started threads.
  handle_ = dlopen(library_.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle_ == nullptr) {
    const char* const reason = dlerror();
    throw Error(Code::kDeviceUnavailable,
                fmt::format("no CUDA driver: {} can't be opened", library_), {},
                reason != nullptr ? reason : "");
  }
  load_table();
  start();
}

void Driver::load_table() {
  const auto get =
      reinterpret_cast<PFN_cuGetProcAddress_v12000>(dlsym(handle_, "cuGetProcAddress_v2"));
  if (get == nullptr) {
    throw Error(
        Code::kDeviceDriverTooOld,
        fmt::format("{} has no cuGetProcAddress_v2; a driver of CUDA 12.3 or later is needed",
                    library_));
  }
  features_.fill(true);
  const auto load = [&](auto& entry, const Row& row) {
    using Pfn = typename std::remove_reference_t<decltype(entry)>::Pfn;
    void* address = nullptr;
    CUdriverProcAddressQueryResult found = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    const CUresult result =
        get(row.name, &address, row.version, CU_GET_PROC_ADDRESS_DEFAULT, &found);
    entry.name_ = row.name;
    entry.driver_ = this;
    // Success with a null pointer is documented, so all three have to agree.
    if (result == CUDA_SUCCESS && found == CU_GET_PROC_ADDRESS_SUCCESS) {
      entry.function_ = reinterpret_cast<Pfn>(address);
    }
    if (entry.available()) return;
    if (row.feature == Feature::kCore) {
      throw Error(Code::kDeviceDriverTooOld,
                  fmt::format("{} lacks {} (ABI {}.{}); a driver of CUDA 12.3 or later is needed",
                              library_, row.name, row.version / 1000, row.version % 1000 / 10));
    }
    const auto feature = static_cast<std::size_t>(row.feature);
    features_[feature] = false;
    if (missing_[feature] == nullptr) missing_[feature] = row.name;
  };
  std::size_t i = 0;
#define MONOGRAPH_CU_ENTRY(name, version, feature) load(name, kRows[i++]);
#include "runtime/cuda/entry_points.def"
#undef MONOGRAPH_CU_ENTRY
}

void Driver::start() {
  const auto check = [&](const char* call, CUresult result) {
    if (result == CUDA_SUCCESS) return;
    throw Error(Code::kDeviceUnavailable,
                fmt::format("the CUDA driver {} does not start: {} failed", library_, call), {},
                describe(result));
  };
  check("cuInit", Init.raw(0));
  check("cuDriverGetVersion", DriverGetVersion.raw(&version_));
  check("cuDeviceGetCount", DeviceGetCount.raw(&device_count_));
  if (device_count_ == 0) {
    throw Error(Code::kDeviceUnavailable,
                fmt::format("the CUDA driver {} sees no device", library_));
  }
}

DeviceInfo Driver::device(int ordinal) const {
  if (ordinal < 0 || ordinal >= device_count_) {
    throw Error(Code::kInvalidArgument,
                fmt::format("no CUDA device {}; there are {}", ordinal, device_count_));
  }
  DeviceInfo info;
  DeviceGet(&info.handle, ordinal);
  std::array<char, 256> name{};
  DeviceGetName(name.data(), static_cast<int>(name.size()) - 1, info.handle);
  info.name = name.data();
  DeviceTotalMem(&info.total_bytes, info.handle);
  const auto attribute = [&](CUdevice_attribute which) {
    int value = 0;
    DeviceGetAttribute(&value, which, info.handle);
    return value;
  };
  info.major = attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
  info.minor = attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
  info.multiprocessors = attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
  info.warp_size = attribute(CU_DEVICE_ATTRIBUTE_WARP_SIZE);
  info.max_threads_per_block = attribute(CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK);
  info.max_threads_per_multiprocessor =
      attribute(CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR);
  const auto bytes = [&](CUdevice_attribute which) {
    return static_cast<std::size_t>(attribute(which));
  };
  info.shared_memory_per_block = bytes(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK);
  info.shared_memory_per_block_optin = bytes(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
  info.l2_bytes = bytes(CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE);
  info.virtual_memory = has(Feature::kVirtualMemory) &&
                        attribute(CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED) != 0;
  info.programmatic_launch = info.major >= 9;
  return info;
}

void Driver::require(Feature feature, std::string_view what) const {
  if (has(feature)) return;
  throw Error(
      Code::kDeviceDriverTooOld,
      fmt::format("{} needs the driver feature {}, but {} lacks {}", what, feature_name(feature),
                  library_, missing_[static_cast<std::size_t>(feature)]),
      std::string(NodeScope::current()));
}

std::string Driver::describe(CUresult result) const {
  const char* name = nullptr;
  const char* text = nullptr;
  GetErrorName.raw(result, &name);
  GetErrorString.raw(result, &text);
  return fmt::format("{} ({}): {}", name != nullptr ? name : "unknown CUresult",
                     static_cast<int>(result), text != nullptr ? text : "no description");
}

bool Driver::is_sticky(CUresult result) noexcept {
  switch (result) {
    case CUDA_ERROR_ECC_UNCORRECTABLE:
    case CUDA_ERROR_NVLINK_UNCORRECTABLE:
    case CUDA_ERROR_CONTAINED:
    case CUDA_ERROR_ILLEGAL_ADDRESS:
    case CUDA_ERROR_LAUNCH_TIMEOUT:
    case CUDA_ERROR_CONTEXT_IS_DESTROYED:
    case CUDA_ERROR_ASSERT:
    case CUDA_ERROR_HARDWARE_STACK_ERROR:
    case CUDA_ERROR_ILLEGAL_INSTRUCTION:
    case CUDA_ERROR_MISALIGNED_ADDRESS:
    case CUDA_ERROR_INVALID_ADDRESS_SPACE:
    case CUDA_ERROR_INVALID_PC:
    case CUDA_ERROR_LAUNCH_FAILED:
    case CUDA_ERROR_TENSOR_MEMORY_LEAK:
    case CUDA_ERROR_MPS_CLIENT_TERMINATED:
      return true;
    default:
      return false;
  }
}

void Driver::note_sticky(const char* call, CUresult result) const {
  const std::lock_guard lock(poison_mutex_);
  if (!poison_reason_.empty()) return;
  const std::string_view node = NodeScope::current();
  poison_reason_ =
      fmt::format("{}{}{}: {}", call, node.empty() ? "" : " at node ", node, describe(result));
  poisoned_.store(true, std::memory_order_release);
}

std::string Driver::poison_reason() const {
  const std::lock_guard lock(poison_mutex_);
  return poison_reason_;
}

void Driver::forget_poison() const {
  const std::lock_guard lock(poison_mutex_);
  poison_reason_.clear();
  poisoned_.store(false, std::memory_order_release);
}

void Driver::fail_missing(const char* call) const {
  throw Error(Code::kDeviceDriverTooOld, fmt::format("{} lacks {}", library_, call),
              std::string(NodeScope::current()));
}

void Driver::fail(const char* call, CUresult result) const {
  const std::string node(NodeScope::current());
  std::string message = fmt::format("{} failed", call);
  if (getpid() != pid_) {
    message += fmt::format(
        "; the driver was opened by process {} and does not survive fork: open the device in the "
        "child only",
        pid_);
  } else if (is_sticky(result)) {
    const std::string first = poison_reason();
    if (!first.empty()) {
      message += fmt::format("; the device was lost earlier by {}; restart the process", first);
    } else {
      message += reports_earlier_work(call)
                     ? "; the fault arose in work enqueued before it; restart the process"
                     : "; the device is lost, restart the process";
    }
    note_sticky(call, result);
  } else if (result == CUDA_ERROR_OUT_OF_MEMORY) {
    std::size_t free = 0;
    std::size_t total = 0;
    if (MemGetInfo.raw(&free, &total) == CUDA_SUCCESS) {
      message += fmt::format("; {} of {} bytes of device memory are free", free, total);
    }
  }
  throw Error(code_of(result), message, node, describe(result));
}

void* Driver::extension(const char* symbol) const noexcept {
  return dlsym(handle_, symbol);
}

}  // namespace monograph::cuda
