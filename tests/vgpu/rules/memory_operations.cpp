// Calls on device, pinned and reserved memory.
#include "tests/vgpu/rules/vocabulary.h"

namespace vgpu_rules {
namespace {

using O = Objects;
using W = Words;
using V = std::string;

constexpr std::size_t kUnit = std::size_t(2) << 20;
CUmemAllocationProp device_memory() {
  CUmemAllocationProp p{};
  p.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  p.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  return p;
}

const Named kMemoryOperations[] = {
    {"alloc",
     [](O& o, const W& a, V*) {
       CUdeviceptr at = 0;
       const std::size_t bytes = a.size() > 1 ? std::stoull(a[1]) : 256;
       const CUresult r = o.cu.MemAlloc.raw(&at, bytes);
       if (r == CUDA_SUCCESS) o.memory[a.at(0)] = at;
       return r;
     }},
    {"free", [](O& o, const W& a,
                V*) { return forget(o.memory, a.at(0), o.cu.MemFree.raw(o.get(o.memory, a[0]))); }},
    {"free_null", [](O& o, const W&, V*) { return o.cu.MemFree.raw(0); }},
    {"stale_free",
     [](O& o, const W& a, V*) {
       const CUdeviceptr at = o.get(o.memory, a.at(0));
       o.cu.MemFree.raw(at);
       o.memory.erase(a[0]);
       return o.cu.MemFree.raw(at);
     }},
    {"free_inside",
     [](O& o, const W& a, V*) { return o.cu.MemFree.raw(o.get(o.memory, a.at(0)) + 16); }},
    {"meminfo",
     [](O& o, const W&, V*) {
       std::size_t free = 0, total = 0;
       return o.cu.MemGetInfo.raw(&free, &total);
     }},
    {"hostalloc",
     [](O& o, const W& a, V*) {
       void* at = nullptr;
       const CUresult r = o.cu.MemHostAlloc.raw(&at, 256, 0);
       if (r == CUDA_SUCCESS) o.pinned[a.at(0)] = at;
       return r;
     }},
    {"hostfree",
     [](O& o, const W& a, V*) {
       return forget(o.pinned, a.at(0), o.cu.MemFreeHost.raw(o.get(o.pinned, a[0])));
     }},
    {"register",
     [](O& o, const W&, V*) { return o.cu.MemHostRegister.raw(o.host.data(), o.host.size(), 0); }},
    {"unregister", [](O& o, const W&, V*) { return o.cu.MemHostUnregister.raw(o.host.data()); }},
    {"allocasync",
     [](O& o, const W& a, V*) {
       CUdeviceptr at = 0;
       const CUresult r = o.cu.MemAllocAsync.raw(&at, 256, o.get(o.streams, a.at(1)));
       if (r == CUDA_SUCCESS) o.memory[a[0]] = at;
       return r;
     }},
    {"freeasync",
     [](O& o, const W& a, V*) {
       return forget(o.memory, a.at(0),
                     o.cu.MemFreeAsync.raw(o.get(o.memory, a[0]), o.get(o.streams, a.at(1))));
     }},
    {"memset",
     [](O& o, const W& a, V*) {
       const std::size_t words = a.size() > 2 ? std::stoull(a[2]) : 16;
       return o.cu.MemsetD32Async.raw(o.get(o.memory, a.at(0)), 1, words,
                                      o.get(o.streams, a.at(1)));
     }},
    {"htod",
     [](O& o, const W& a, V*) {
       const void* from = a.at(2) == "pinned" ? o.get(o.pinned, "m") : o.host.data();
       return o.cu.MemcpyHtoDAsync.raw(o.get(o.memory, a.at(0)), from, 256,
                                       o.get(o.streams, a.at(1)));
     }},
    {"dtoh",
     [](O& o, const W& a, V*) {
       void* to = a.at(2) == "pinned" ? o.get(o.pinned, "m") : o.host.data();
       return o.cu.MemcpyDtoHAsync.raw(to, o.get(o.memory, a.at(0)), 256,
                                       o.get(o.streams, a.at(1)));
     }},
    {"dtod",
     [](O& o, const W& a, V*) {
       const std::size_t bytes = a.size() > 3 ? std::stoull(a[3]) : 256;
       return o.cu.MemcpyDtoDAsync.raw(o.get(o.memory, a.at(0)), o.get(o.memory, a.at(1)), bytes,
                                       o.get(o.streams, a.at(2)));
     }},
    {"pointer",
     [](O& o, const W& a, V* value) {
       const auto at = a.at(0) == "pinned"  ? reinterpret_cast<CUdeviceptr>(o.get(o.pinned, "m"))
                       : a[0] == "pageable" ? reinterpret_cast<CUdeviceptr>(o.host.data())
                                            : o.get(o.memory, a[0]);
       unsigned type = 0;
       const CUresult r = o.cu.PointerGetAttribute.raw(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, at);
       *value = type == CU_MEMORYTYPE_DEVICE ? "device"
                : type == CU_MEMORYTYPE_HOST ? "host"
                                             : "none";
       return r;
     }},
    {"reserve",
     [](O& o, const W& a, V*) {
       CUdeviceptr at = 0;
       const std::size_t bytes = kUnit * std::stoull(a.at(1));
       const CUresult r = o.cu.MemAddressReserve.raw(&at, bytes, 0, 0, 0);
       if (r == CUDA_SUCCESS) o.reservations[a[0]] = {at, bytes};
       return r;
     }},
    {"reserve_odd",
     [](O& o, const W&, V*) {
       CUdeviceptr at = 0;
       return o.cu.MemAddressReserve.raw(&at, kUnit + 1, 0, 0, 0);
     }},
    {"unreserve",
     [](O& o, const W& a, V*) {
       const auto r = o.get(o.reservations, a.at(0));
       return forget(o.reservations, a[0], o.cu.MemAddressFree.raw(r.first, r.second));
     }},
    {"physical",
     [](O& o, const W& a, V*) {
       const CUmemAllocationProp prop = device_memory();
       CUmemGenericAllocationHandle handle = 0;
       const std::size_t bytes = kUnit * std::stoull(a.at(1));
       const CUresult r = o.cu.MemCreate.raw(&handle, bytes, &prop, 0);
       if (r == CUDA_SUCCESS) o.physical[a[0]] = {handle, bytes};
       return r;
     }},
    {"physical_odd",
     [](O& o, const W&, V*) {
       const CUmemAllocationProp prop = device_memory();
       CUmemGenericAllocationHandle handle = 0;
       return o.cu.MemCreate.raw(&handle, 4096, &prop, 0);
     }},
    {"release",
     [](O& o, const W& a, V*) {
       return forget(o.physical, a.at(0), o.cu.MemRelease.raw(o.get(o.physical, a[0]).first));
     }},
    // map RANGE BLOCK UNIT: at that many units into the range; becomes memory object RANGE
    {"map",
     [](O& o, const W& a, V*) {
       const auto block = o.get(o.physical, a.at(1));
       const CUdeviceptr at = o.get(o.reservations, a.at(0)).first + kUnit * std::stoull(a.at(2));
       const CUresult r = o.cu.MemMap.raw(at, block.second, 0, block.first, 0);
       return r;
     }},
    {"access",
     [](O& o, const W& a, V*) {
       CUmemAccessDesc access{};
       access.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
       access.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
       const auto range = o.get(o.reservations, a.at(0));
       return o.cu.MemSetAccess.raw(range.first, kUnit * std::stoull(a.at(1)), &access, 1);
     }},
    {"unmap",
     [](O& o, const W& a, V*) {
       const auto at = o.get(o.reservations, a.at(0)).first;
       const CUresult r = o.cu.MemUnmap.raw(at, kUnit * std::stoull(a.at(1)));
       return r;
     }},
    {"memset_range",
     [](O& o, const W& a, V*) {
       return o.cu.MemsetD32Async.raw(o.get(o.reservations, a.at(0)).first, 1, 16,
                                      o.get(o.streams, a.at(1)));
     }},
};

}  // namespace

std::span<const Named> memory_operations() {
  return kMemoryOperations;
}

}  // namespace vgpu_rules
