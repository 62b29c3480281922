// Device memory. Each allocation has pages of its own that end against a guard page; what lies
// between the allocation and its page borders is a red zone. All of it is closed to the host while
// no work runs.
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "tests/vgpu/driver/device.h"

namespace vgpu {
namespace {

constexpr size_t kPage = 4096, kAlign = 256, kGranularity = size_t(2) << 20;
constexpr char kRedZone = '\xcb';

struct Allocation {
  char* pages;
  size_t page_bytes, size;
  uint64_t id;
};
struct Physical {
  int fd;
  size_t size;
  int mappings = 0;
  bool released = false;
};
struct Mapping {
  CUmemGenericAllocationHandle handle;
  size_t size;
  bool accessible = false;
};
struct Memory {
  std::map<CUdeviceptr, Allocation> allocations;
  std::map<CUdeviceptr, size_t> reservations;
  std::map<CUdeviceptr, Mapping> mappings;
  std::map<CUmemGenericAllocationHandle, Physical> physical;
  std::map<const char*, size_t> pinned, registered;
  uint64_t in_use = 0, peak = 0, next_handle = 1, next_id = 1;
  int open = 0;
};
Memory& memory() {
  static auto* const instance = new Memory;
  return *instance;
}

size_t pages(size_t bytes) {
  return (bytes + kPage - 1) / kPage * kPage;
}
char* payload(const Allocation& a) {
  return a.pages + a.page_bytes - (a.size + kAlign - 1) / kAlign * kAlign;
}
char* pointer(CUdeviceptr at) {
  return reinterpret_cast<char*>(at);
}

void protect(void* at, size_t bytes, bool open) {
  if (mprotect(at, bytes, open ? PROT_READ | PROT_WRITE : PROT_NONE)) {
    std::perror("vgpu: mprotect");
    std::abort();
  }
}
void protect_all(bool open) {
  for (const auto& [at, a] : memory().allocations) protect(a.pages, a.page_bytes, open);
  for (const auto& [at, m] : memory().mappings) {
    if (m.accessible) protect(pointer(at), m.size, open);
  }
}
bool host_open() {
  return memory().open > 0 || !device().options.protect;
}

bool charge(size_t bytes) {
  Memory& m = memory();
  if (bytes > device().options.memory_bytes - std::min(m.in_use, device().options.memory_bytes)) {
    return false;
  }
  m.in_use += bytes;
  m.peak = std::max(m.peak, m.in_use);
  return true;
}

template <class Map>
bool covers(const Map& map, const char* at, size_t bytes) {
  auto it = map.upper_bound(at);
  if (it == map.begin()) return false;
  --it;
  return at + bytes <= it->first + it->second;
}

thread_local sigjmp_buf* fault_exit;
void on_fault(int signal_number, siginfo_t*, void*) {
  if (fault_exit) siglongjmp(*fault_exit, signal_number);
  signal(signal_number, SIG_DFL);
}

}  // namespace

Open::Open() {
  if (memory().open++ == 0 && device().options.protect) protect_all(true);
}
Open::~Open() {
  if (--memory().open == 0 && device().options.protect) protect_all(false);
}

void register_fault_handler() {
  static char stack[64 << 10];  // faults inside a fiber, overflow of its stack included
  stack_t alternate{};
  alternate.ss_sp = stack;
  alternate.ss_size = sizeof stack;
  sigaltstack(&alternate, nullptr);
  struct sigaction action {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaction(SIGSEGV, &action, nullptr);
  sigaction(SIGBUS, &action, nullptr);
  sigaction(SIGILL, &action, nullptr);  // compiled into images where an access is misaligned
}

sigjmp_buf* exchange_fault_exit(sigjmp_buf* exit) {
  return std::exchange(fault_exit, exit);
}

bool device_range(CUdeviceptr at, size_t bytes) {
  Memory& m = memory();
  auto a = m.allocations.upper_bound(at);
  if (a != m.allocations.begin() && (--a, at + bytes <= a->first + a->second.size)) return true;
  auto v = m.mappings.upper_bound(at);
  if (v == m.mappings.begin()) return false;
  --v;
  for (CUdeviceptr end = at + bytes;; ++v) {  // neighbouring mappings make one range
    if (v == m.mappings.end() || at < v->first || !v->second.accessible) return false;
    at = v->first + v->second.size;
    if (at >= end) return true;
  }
}

bool pinned_range(const void* at, size_t bytes) {
  const auto* const from = static_cast<const char*>(at);
  return covers(memory().pinned, from, bytes) || covers(memory().registered, from, bytes);
}

CUresult allocate(CUdeviceptr* out, size_t bytes) {
  if (!charge(bytes)) return CUDA_ERROR_OUT_OF_MEMORY;
  Allocation a{nullptr, pages(bytes), bytes, memory().next_id++};
  void* const mapped = mmap(nullptr, a.page_bytes + 2 * kPage, PROT_NONE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) {
    memory().in_use -= bytes;
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  a.pages = static_cast<char*>(mapped) + kPage;
  protect(a.pages, a.page_bytes, true);
  char* const start = payload(a);
  std::memset(a.pages, kRedZone, static_cast<size_t>(start - a.pages));
  std::memset(start, device().options.poison, bytes);
  std::memset(start + bytes, kRedZone, static_cast<size_t>(a.pages + a.page_bytes - start) - bytes);
  if (!host_open()) protect(a.pages, a.page_bytes, false);
  *out = reinterpret_cast<CUdeviceptr>(start);
  memory().allocations[*out] = a;
  return CUDA_SUCCESS;
}

bool is_allocation(CUdeviceptr at) {
  return memory().allocations.count(at) != 0;
}

std::shared_ptr<void> own_allocation(CUdeviceptr at) {
  const uint64_t id = memory().allocations.at(at).id;
  return {pointer(at), [at, id](void*) {
            const auto found = memory().allocations.find(at);
            if (found != memory().allocations.end() && found->second.id == id) release(at);
          }};
}

CUresult release(CUdeviceptr at) {
  const auto found = memory().allocations.find(at);
  VGPU_NEED(found != memory().allocations.end(), CUDA_ERROR_INVALID_VALUE);
  const Allocation a = found->second;
  memory().allocations.erase(found);
  memory().in_use -= a.size;
  munmap(a.pages - kPage, a.page_bytes + 2 * kPage);
  return CUDA_SUCCESS;
}

CUresult check_red_zones(const char* after) {
  const auto hit = [](char c) { return c != kRedZone; };
  for (const auto& [at, a] : memory().allocations) {
    const char* const low = payload(a);
    const char* const high = low + a.size;
    if (std::any_of<const char*>(a.pages, low, hit) ||
        std::any_of<const char*>(high, a.pages + a.page_bytes, hit)) {
      return fault(CUDA_ERROR_ILLEGAL_ADDRESS, std::string(after) +
                                                   " wrote outside an allocation of " +
                                                   std::to_string(a.size) + " bytes");
    }
  }
  return CUDA_SUCCESS;
}

void describe_memory(std::map<std::string, size_t>* kinds) {
  const Memory& m = memory();
  const auto add = [&](const char* name, size_t n) {
    if (n) (*kinds)[name] = n;
  };
  add("device allocation", m.allocations.size());
  add("address reservation", m.reservations.size());
  add("physical allocation", m.physical.size());
  add("mapping", m.mappings.size());
  add("pinned allocation", m.pinned.size());
  add("registered host range", m.registered.size());
}

uint64_t take_peak_bytes() {
  return std::exchange(memory().peak, memory().in_use);
}

}  // namespace vgpu

// ---- entry points ----
using namespace vgpu;
extern "C" {

CUresult cuMemAlloc(CUdeviceptr* out, size_t bytes) {
  VGPU_API(MemAlloc, kUnsafe, kCurrent);
  VGPU_NEED(out && bytes, CUDA_ERROR_INVALID_VALUE);
  return allocate(out, bytes);
}

CUresult cuMemFree(CUdeviceptr at) {
  VGPU_ENTER(MemFree, kUnsafe, kCtx);
  if (status == CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED) return status;
  VGPU_NEED(at, status);
  run_all();  // documented: may synchronise; releasing memory under running work is never right
  const CUresult result = release(at);
  return status ? status : result;
}

CUresult cuMemGetInfo(size_t* free, size_t* total) {
  VGPU_API(MemGetInfo, kSafe, kCurrent);
  VGPU_NEED(free && total, CUDA_ERROR_INVALID_VALUE);
  *total = device().options.memory_bytes;
  *free = *total - std::min<uint64_t>(memory().in_use, *total);
  return CUDA_SUCCESS;
}

CUresult cuMemGetAddressRange(CUdeviceptr* base, size_t* bytes, CUdeviceptr at) {
  VGPU_API(MemGetAddressRange, kSafe, kCtx);
  Memory& m = memory();
  auto a = m.allocations.upper_bound(at);
  if (a != m.allocations.begin() && (--a, at < a->first + a->second.size)) {
    if (base) *base = a->first;
    if (bytes) *bytes = a->second.size;
    return CUDA_SUCCESS;
  }
  auto v = m.mappings.upper_bound(at);
  if (v != m.mappings.begin() && (--v, at < v->first + v->second.size)) {
    if (base) *base = v->first;
    if (bytes) *bytes = v->second.size;
    return CUDA_SUCCESS;
  }
  return CUDA_ERROR_NOT_FOUND;
}

CUresult cuPointerGetAttribute(void* data, CUpointer_attribute attribute, CUdeviceptr at) {
  VGPU_API(PointerGetAttribute, kSafe, kCtx);
  VGPU_NEED(data, CUDA_ERROR_INVALID_VALUE);
  const bool on_device = device_range(at, 1), on_host = pinned_range(pointer(at), 1);
  VGPU_NEED(on_device || on_host, CUDA_ERROR_INVALID_VALUE);
  switch (attribute) {
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
      *static_cast<unsigned*>(data) = on_device ? CU_MEMORYTYPE_DEVICE : CU_MEMORYTYPE_HOST;
      return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
      *static_cast<CUdeviceptr*>(data) = at;
      return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_HOST_POINTER:
      VGPU_NEED(on_host, CUDA_ERROR_INVALID_VALUE);
      *static_cast<void**>(data) = pointer(at);
      return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
      *static_cast<int*>(data) = 0;
      return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_CONTEXT:
      *static_cast<CUcontext*>(data) = &device().context;
      return CUDA_SUCCESS;
    default:
      return CUDA_ERROR_NOT_SUPPORTED;  // answers only what a test has decided on
  }
}

// ---- page-locked host memory: host pointer and device pointer are the same ----
CUresult cuMemHostAlloc(void** out, size_t bytes, unsigned flags) {
  VGPU_API(MemHostAlloc, kUnsafe, kCurrent);
  VGPU_NEED(out && bytes && flags <= 7, CUDA_ERROR_INVALID_VALUE);
  void* const at = std::aligned_alloc(kPage, pages(bytes));
  VGPU_NEED(at, CUDA_ERROR_OUT_OF_MEMORY);
  std::memset(at, device().options.poison, bytes);
  memory().pinned[static_cast<char*>(at)] = bytes;
  *out = at;
  return CUDA_SUCCESS;
}

CUresult cuMemFreeHost(void* at) {
  VGPU_ENTER(MemFreeHost, kUnsafe, kCtx);
  if (status == CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED) return status;
  const auto found = memory().pinned.find(static_cast<char*>(at));
  VGPU_NEED(found != memory().pinned.end(), CUDA_ERROR_INVALID_VALUE);
  run_all();
  memory().pinned.erase(found);
  std::free(at);
  return status;
}

CUresult cuMemHostGetDevicePointer(CUdeviceptr* out, void* at, unsigned flags) {
  VGPU_API(MemHostGetDevicePointer, kSafe, kCtx);
  VGPU_NEED(out && !flags && pinned_range(at, 1), CUDA_ERROR_INVALID_VALUE);
  *out = reinterpret_cast<CUdeviceptr>(at);
  return CUDA_SUCCESS;
}

CUresult cuMemHostRegister(void* at, size_t bytes, unsigned flags) {
  VGPU_API(MemHostRegister, kUnsafe, kCurrent);
  VGPU_NEED(at && bytes && flags <= 0xf, CUDA_ERROR_INVALID_VALUE);
  const auto* const from = static_cast<const char*>(at);
  const auto next = memory().registered.lower_bound(from);
  VGPU_NEED(next == memory().registered.end() || from + bytes <= next->first,
            CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
  VGPU_NEED(!covers(memory().registered, from, 1), CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
  memory().registered[from] = bytes;
  return CUDA_SUCCESS;
}

CUresult cuMemHostUnregister(void* at) {
  VGPU_ENTER(MemHostUnregister, kUnsafe, kCtx);
  if (status == CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED) return status;
  const auto found = memory().registered.find(static_cast<const char*>(at));
  VGPU_NEED(found != memory().registered.end(), CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
  run_all();
  memory().registered.erase(found);
  return status;
}

// ---- virtual-memory reservation ----
CUresult cuMemGetAllocationGranularity(size_t* out, const CUmemAllocationProp* prop,
                                       CUmemAllocationGranularity_flags) {
  VGPU_API(MemGetAllocationGranularity, kSafe, kInit);
  VGPU_NEED(out && prop && prop->location.type == CU_MEM_LOCATION_TYPE_DEVICE,
            CUDA_ERROR_INVALID_VALUE);
  *out = kGranularity;
  return CUDA_SUCCESS;
}

CUresult cuMemAddressReserve(CUdeviceptr* out, size_t bytes, size_t alignment, CUdeviceptr wish,
                             unsigned long long flags) {
  VGPU_API(MemAddressReserve, kSafe, kInit);
  VGPU_NEED(out && bytes && bytes % kGranularity == 0 && !flags, CUDA_ERROR_INVALID_VALUE);
  VGPU_NEED((alignment & (alignment - 1)) == 0 && !wish, CUDA_ERROR_INVALID_VALUE);
  alignment = std::max(alignment, kGranularity);
  const size_t whole = bytes + alignment + kPage;  // the last page stays a guard
  void* const at =
      mmap(nullptr, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  VGPU_NEED(at != MAP_FAILED, CUDA_ERROR_OUT_OF_MEMORY);
  const auto low = reinterpret_cast<CUdeviceptr>(at);
  *out = (low + alignment - 1) / alignment * alignment;
  if (*out > low) munmap(at, *out - low);
  const CUdeviceptr end = *out + bytes + kPage;
  if (low + whole > end) munmap(pointer(end), low + whole - end);
  memory().reservations[*out] = bytes;
  return CUDA_SUCCESS;
}

CUresult cuMemAddressFree(CUdeviceptr at, size_t bytes) {
  VGPU_ENTER(MemAddressFree, kSafe, kInit);
  Memory& m = memory();
  const auto found = m.reservations.find(at);
  VGPU_NEED(found != m.reservations.end() && found->second == bytes, CUDA_ERROR_INVALID_VALUE);
  const auto mapped = m.mappings.lower_bound(at);
  VGPU_NEED(mapped == m.mappings.end() || mapped->first >= at + bytes, CUDA_ERROR_INVALID_VALUE);
  munmap(pointer(at), bytes + kPage);
  m.reservations.erase(found);
  return status;
}

CUresult cuMemCreate(CUmemGenericAllocationHandle* out, size_t bytes,
                     const CUmemAllocationProp* prop, unsigned long long flags) {
  VGPU_API(MemCreate, kUnsafe, kInit);
  VGPU_NEED(out && prop && !flags && bytes && bytes % kGranularity == 0, CUDA_ERROR_INVALID_VALUE);
  VGPU_NEED(prop->type == CU_MEM_ALLOCATION_TYPE_PINNED &&
                prop->location.type == CU_MEM_LOCATION_TYPE_DEVICE && prop->location.id == 0,
            CUDA_ERROR_INVALID_VALUE);
  VGPU_NEED(charge(bytes), CUDA_ERROR_OUT_OF_MEMORY);
  const int fd = memfd_create("vgpu", MFD_CLOEXEC);
  void* fresh = MAP_FAILED;
  if (fd >= 0 && ftruncate(fd, static_cast<off_t>(bytes)) == 0) {
    fresh = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  }
  if (fresh == MAP_FAILED) {
    if (fd >= 0) close(fd);
    memory().in_use -= bytes;
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  std::memset(fresh, device().options.poison, bytes);
  munmap(fresh, bytes);
  *out = memory().next_handle++;
  memory().physical[*out] = {fd, bytes};
  return CUDA_SUCCESS;
}

static void drop_physical(std::map<CUmemGenericAllocationHandle, Physical>::iterator it) {
  if (!it->second.released || it->second.mappings) return;  // lives on while it is mapped
  close(it->second.fd);
  memory().in_use -= it->second.size;
  memory().physical.erase(it);
}

CUresult cuMemRelease(CUmemGenericAllocationHandle handle) {
  VGPU_ENTER(MemRelease, kSafe, kInit);
  const auto found = memory().physical.find(handle);
  VGPU_NEED(found != memory().physical.end() && !found->second.released, CUDA_ERROR_INVALID_VALUE);
  found->second.released = true;
  drop_physical(found);
  return status;
}

CUresult cuMemMap(CUdeviceptr at, size_t bytes, size_t offset, CUmemGenericAllocationHandle handle,
                  unsigned long long flags) {
  VGPU_API(MemMap, kSafe, kInit);
  Memory& m = memory();
  const auto physical = m.physical.find(handle);
  VGPU_NEED(!flags && !offset && physical != m.physical.end() && physical->second.size == bytes,
            CUDA_ERROR_INVALID_VALUE);
  auto r = m.reservations.upper_bound(at);
  VGPU_NEED(r != m.reservations.begin() && (--r, at + bytes <= r->first + r->second),
            CUDA_ERROR_INVALID_VALUE);
  auto next = m.mappings.lower_bound(at);
  VGPU_NEED(next == m.mappings.end() || at + bytes <= next->first, CUDA_ERROR_INVALID_VALUE);
  VGPU_NEED(next == m.mappings.begin() || (--next, next->first + next->second.size <= at),
            CUDA_ERROR_INVALID_VALUE);
  void* const mapped =
      mmap(pointer(at), bytes, PROT_NONE, MAP_SHARED | MAP_FIXED, physical->second.fd, 0);
  VGPU_NEED(mapped != MAP_FAILED, CUDA_ERROR_OUT_OF_MEMORY);
  ++physical->second.mappings;
  m.mappings[at] = {handle, bytes};
  return CUDA_SUCCESS;
}

CUresult cuMemUnmap(CUdeviceptr at, size_t bytes) {
  VGPU_ENTER(MemUnmap, kSafe, kInit);
  Memory& m = memory();
  for (auto it = m.mappings.lower_bound(at); it != m.mappings.end() && it->first < at + bytes;) {
    VGPU_NEED(it->first + it->second.size <= at + bytes, CUDA_ERROR_INVALID_VALUE);
    mmap(pointer(it->first), it->second.size, PROT_NONE,
         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    const auto physical = m.physical.find(it->second.handle);
    --physical->second.mappings;
    drop_physical(physical);
    it = m.mappings.erase(it);
  }
  return status;  // a range without mappings is no error (seen on a real driver)
}

CUresult cuMemSetAccess(CUdeviceptr at, size_t bytes, const CUmemAccessDesc* access, size_t count) {
  VGPU_API(MemSetAccess, kSafe, kInit);
  VGPU_NEED(access && count == 1 && access->location.type == CU_MEM_LOCATION_TYPE_DEVICE &&
                access->location.id == 0,
            CUDA_ERROR_INVALID_VALUE);
  Memory& m = memory();
  for (CUdeviceptr end = at + bytes; at < end;) {
    const auto it = m.mappings.find(at);
    VGPU_NEED(it != m.mappings.end() && at + it->second.size <= end, CUDA_ERROR_INVALID_VALUE);
    it->second.accessible = access->flags == CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
    protect(pointer(at), it->second.size, it->second.accessible && host_open());
    at += it->second.size;
  }
  return CUDA_SUCCESS;
}

}  // extern "C"
