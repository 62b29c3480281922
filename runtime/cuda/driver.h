// The CUDA driver as a table of entry points, opened at run time and never linked.
//
// One binary serves machines with and without a GPU: without a driver, `Driver::open` throws
// Error(kDeviceUnavailable) and says why. The same table drives the virtual GPU of the tests when
// the option that names the driver library points to it.
#pragma once

#include <cuda.h>
#include <cudaTypedefs.h>
#include <sys/types.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

namespace monograph::cuda {

/// Groups of entry points (the third column of entry_points.def). `kCore` must be complete; every
/// other group is on when the driver has all of its entry points.
enum class Feature : unsigned char {
  kCore,
  kStreamOrderedMemory,  ///< cuMemAllocAsync and its free
  kHostRegister,         ///< page-locking of existing host memory
  kVirtualMemory,        ///< address reservation and mapping
  kParamInfo,            ///< parameter layout of a kernel
  kOccupancy,            ///< resident blocks per multiprocessor
  kGraphDot,             ///< the driver's own dot print of a graph
  kGraphUpdate,          ///< update of a whole executable graph
  kNodeEnable,           ///< switching single nodes of an executable graph off and on
  kCount
};

/// Spelling of `feature` without the leading k, e.g. "VirtualMemory".
std::string_view feature_name(Feature feature) noexcept;

class Driver;

/// One row of the table: a checked call. `driver.StreamCreate(&stream, flags)` throws a
/// monograph::Error if the driver refuses; `driver.StreamQuery.raw(stream)` hands back the result.
template <class Pfn>
class Entry;

template <class... Args>
class Entry<CUresult(CUDAAPI*)(Args...)> {
 public:
  using Pfn = CUresult(CUDAAPI*)(Args...);

  /// Whether the driver has this entry point. Always true for the core.
  bool available() const noexcept { return function_ != nullptr; }
  /// Full name, e.g. "cuMemAlloc".
  const char* name() const noexcept { return name_; }

  /// The driver's own result; CUDA_ERROR_NOT_SUPPORTED if the entry point is missing.
  CUresult raw(Args... args) const noexcept {
    return function_ != nullptr ? function_(args...) : CUDA_ERROR_NOT_SUPPORTED;
  }
  /// Throws Error naming the call, the node of the innermost NodeScope and the driver's text.
  void operator()(Args... args) const {
    const CUresult result = raw(args...);
    if (result != CUDA_SUCCESS) [[unlikely]] {
      fail(result);
    }
  }

 private:
  friend class Driver;
  [[noreturn, gnu::cold, gnu::noinline]] void fail(CUresult result) const;  // also: missing

  const char* name_ = nullptr;
  Pfn function_ = nullptr;
  const Driver* driver_ = nullptr;
};

/// The function table; every member is named after its entry point without the "cu".
struct Table {
#define MONOGRAPH_CU_ENTRY(name, version, feature) Entry<PFN_cu##name##_v##version> name;
#include "runtime/cuda/entry_points.def"
#undef MONOGRAPH_CU_ENTRY
};

/// Names the plan node that the driver calls of this thread belong to while it lives. Scopes nest.
/// The text is not copied: it has to outlive the scope.
class NodeScope {
 public:
  explicit NodeScope(std::string_view node) noexcept;
  ~NodeScope();
  NodeScope(const NodeScope&) = delete;
  NodeScope& operator=(const NodeScope&) = delete;
  /// Node of the innermost scope of the calling thread, empty if there is none.
  static std::string_view current() noexcept;

 private:
  std::string_view outer_;
};

/// What is fixed about a device; read once at start. Sizes are bytes.
struct DeviceInfo {
  CUdevice handle = 0;
  std::string name;
  int major = 0, minor = 0;  ///< compute capability
  int multiprocessors = 0;
  int warp_size = 0;
  int max_threads_per_block = 0;
  int max_threads_per_multiprocessor = 0;
  std::size_t shared_memory_per_block = 0;        ///< without opting in
  std::size_t shared_memory_per_block_optin = 0;  ///< most dynamic memory a kernel can ask for
  std::size_t l2_bytes = 0;
  std::size_t total_bytes = 0;
  bool virtual_memory = false;       ///< address reservation works on this device
  bool programmatic_launch = false;  ///< programmatic dependent launch (compute capability 9.0+)
};

/// A loaded driver. Owned by the process: opened once per library name, never unloaded (LibTorch
/// may share the library, and the driver does not survive dlclose), so a `const Driver&` stays
/// valid to the end of the process. Immutable after opening except for the record of the first
/// sticky error; every member may be used from any thread.
class Driver : public Table {
 public:
  static constexpr const char* kDefaultLibrary = "libcuda.so.1";

  /// Opens `library` (a file name for the loader, or a path), fills the table through
  /// cuGetProcAddress and initialises the driver. The same name gives the same object.
  /// Throws Error: kDeviceUnavailable (no library, no device, driver refuses to start) with the
  /// reason, kDeviceDriverTooOld naming the missing required entry point. A failed open is not
  /// remembered: the next call tries again.
  static const Driver& open(const std::string& library = kDefaultLibrary);

  /// Why `open(library)` would fail, or an empty string if it succeeds. Does not throw for it.
  static std::string why_unavailable(const std::string& library = kDefaultLibrary);

  Driver(const Driver&) = delete;
  Driver& operator=(const Driver&) = delete;

  const std::string& library() const noexcept { return library_; }
  /// As cuDriverGetVersion gives it, e.g. 13000.
  int version() const noexcept { return version_; }
  int device_count() const noexcept { return device_count_; }
  /// Properties of device `ordinal`; Error(kInvalidArgument) if there is no such device.
  DeviceInfo device(int ordinal) const;

  bool has(Feature feature) const noexcept { return features_[static_cast<std::size_t>(feature)]; }
  /// Error(kDeviceDriverTooOld), naming the feature, its first missing entry point and `what` needs
  /// it, unless the driver has `feature`.
  void require(Feature feature, std::string_view what) const;

  /// Turns a failed result into the Error that the wrapper would throw. `call` is the entry
  /// point's name or, for a library on top of the driver, what was being done.
  [[noreturn]] void fail(const char* call, CUresult result) const;
  /// The driver's name and sentence for `result`, e.g. "CUDA_ERROR_NOT_READY (600): device not
  /// ready".
  std::string describe(CUresult result) const;

  /// Whether `result` means that the context is lost: every later call will fail and only a new
  /// process helps.
  static bool is_sticky(CUresult result) noexcept;
  /// Whether a sticky error has been seen by any call on this driver.
  bool poisoned() const noexcept { return poisoned_.load(std::memory_order_acquire); }
  /// First sticky error: call, node and driver text in one line; empty if there was none.
  std::string poison_reason() const;

  /// A symbol that is not part of the driver's interface (controls of the virtual GPU), or null.
  void* extension(const char* symbol) const noexcept;

 private:
  template <class Pfn>
  friend class Entry;
  friend class Context;

  explicit Driver(std::string library);
  [[noreturn]] void fail_missing(const char* call) const;
  void forget_poison() const;  // a new context starts without the errors of the last
  void load_table();
  void start();
  void note_sticky(const char* call, CUresult result) const;

  std::string library_;
  void* handle_ = nullptr;
  int version_ = 0;
  int device_count_ = 0;
  pid_t pid_ = 0;
  std::array<bool, static_cast<std::size_t>(Feature::kCount)> features_{};
  std::array<const char*, static_cast<std::size_t>(Feature::kCount)> missing_{};
  mutable std::atomic<bool> poisoned_{false};
  mutable std::mutex poison_mutex_;
  mutable std::string poison_reason_;
};

template <class... Args>
void Entry<CUresult(CUDAAPI*)(Args...)>::fail(CUresult result) const {
  if (function_ == nullptr) driver_->fail_missing(name_);
  driver_->fail(name_, result);
}

}  // namespace monograph::cuda
