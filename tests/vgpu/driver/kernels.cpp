// Kernel libraries: host shared objects, or functions that the client has registered.
#include <dlfcn.h>
#include <elf.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "tests/vgpu/driver/device.h"
#include "tests/vgpu/simt/machine.h"

namespace vgpu {
namespace {

constexpr char kPathMagic[] = "vgpu-so:";
constexpr char kHostMagic[] = "vgpu-host:";

struct Registered {
  VgpuHostKernel run;
  void* user;
  std::vector<size_t> sizes;
};
std::map<std::string, Registered>& host_kernels() {
  static auto* const all = new std::map<std::string, Registered>;
  return *all;
}

bool starts_with(const void* image, const char* magic) {
  return std::strncmp(static_cast<const char*>(image), magic, std::strlen(magic)) == 0;
}

CUkernel add_kernel(CUlibrary library) {
  library->kernels.push_back(std::make_unique<CUkern_st>());
  CUkernel const k = enlist(library->kernels.back().get());
  k->library = library;
  return k;
}

CUresult load_host(CUlibrary* out, const std::string& name) {
  const auto found = host_kernels().find(name);
  VGPU_NEED(found != host_kernels().end(), CUDA_ERROR_NO_BINARY_FOR_GPU);
  auto* const library = enlist(new CUlib_st);
  library->host = std::make_unique<HostKernel>();
  library->host->name = name;
  library->host->run = found->second.run;
  library->host->user = found->second.user;
  uint32_t at = 0;
  for (const size_t size : found->second.sizes) {
    const auto align = static_cast<uint32_t>(std::min<size_t>(size & (~size + 1), 16));
    at = (at + align - 1) / align * align;
    library->host->params.push_back({at, static_cast<uint32_t>(size)});
    at += static_cast<uint32_t>(size);
  }
  add_kernel(library)->host = library->host.get();
  *out = library;
  return CUDA_SUCCESS;
}

CUresult load_object(CUlibrary* out, const std::string& path) {
  void* const handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle) return fault(CUDA_ERROR_SHARED_OBJECT_INIT_FAILED, dlerror());
  const auto get = reinterpret_cast<const simt::Image* (*)()>(dlsym(handle, "simt_image"));
  const simt::Image* const image = get ? get() : nullptr;
  if (!image || image->abi != simt::kAbi) {
    dlclose(handle);
    return fault(CUDA_ERROR_INVALID_IMAGE, path + " is no kernel image of this version");
  }
  *image->core = simt::core();
  auto* const library = enlist(new CUlib_st);
  library->handle = handle;
  for (uint32_t i = 0; i < image->kernel_count; ++i) {
    CUkernel const k = add_kernel(library);
    k->code = &image->kernels[i];
    k->image = image;
  }
  *out = library;
  return CUDA_SUCCESS;
}

// The bytes of a shared object; its length is read off the header, as for a cubin.
CUresult load_elf(CUlibrary* out, const void* image) {
  const auto* const elf = static_cast<const Elf64_Ehdr*>(image);
  VGPU_NEED(elf->e_machine == EM_X86_64, CUDA_ERROR_NO_BINARY_FOR_GPU);
  const size_t bytes = elf->e_shoff + size_t(elf->e_shnum) * elf->e_shentsize;
  const int fd = memfd_create("vgpu-image", MFD_CLOEXEC);
  VGPU_NEED(fd >= 0, CUDA_ERROR_OPERATING_SYSTEM);
  CUresult result = CUDA_ERROR_OPERATING_SYSTEM;
  if (write(fd, image, bytes) == static_cast<ssize_t>(bytes)) {
    result = load_object(out, "/proc/self/fd/" + std::to_string(fd));
  }
  // Open for the library's life: a reused number would name the image loaded before.
  if (result == CUDA_SUCCESS) {
    (*out)->file = fd;
  } else {
    close(fd);
  }
  return result;
}

}  // namespace

CUkern_st* as_kernel(CUfunction function, CUkernel kernel) {
  return function ? reinterpret_cast<CUkern_st*>(function) : kernel;
}

CUresult make_launch(Launch* out, CUkern_st* k, simt::Dim grid, simt::Dim block,
                     uint32_t shared_bytes, void** params, void** extra) {
  VGPU_NEED(alive(k), CUDA_ERROR_INVALID_HANDLE);
  VGPU_NEED(grid.x && grid.y && grid.z && block.x && block.y && block.z, CUDA_ERROR_INVALID_VALUE);
  VGPU_NEED(grid.x <= 0x7fffffffu && grid.y <= 65535 && grid.z <= 65535, CUDA_ERROR_INVALID_VALUE);
  VGPU_NEED(block.x <= 1024 && block.y <= 1024 && block.z <= 64 &&
                uint64_t(block.x) * block.y * block.z <= simt::kMaxThreads,
            CUDA_ERROR_INVALID_VALUE);
  VGPU_NEED(shared_bytes <= static_cast<uint32_t>(k->max_dynamic), CUDA_ERROR_INVALID_VALUE);
  VGPU_NEED(!extra, CUDA_ERROR_NOT_SUPPORTED);
  VGPU_NEED(params || !k->param_count(), CUDA_ERROR_INVALID_VALUE);
  Launch made;
  made.kernel = k;
  made.grid = grid;
  made.block = block;
  made.shared_bytes = shared_bytes;
  if (const uint32_t n = k->param_count()) {
    made.blob.resize(k->param(n - 1).offset + k->param(n - 1).size);
  }
  for (uint32_t i = 0; i < k->param_count(); ++i) {
    VGPU_NEED(params[i], CUDA_ERROR_INVALID_VALUE);
    std::memcpy(made.blob.data() + k->param(i).offset, params[i], k->param(i).size);
  }
  *out = std::move(made);
  return CUDA_SUCCESS;
}

namespace {

// Launch attributes: what is understood is checked, what is harmless is ignored, the rest refused.
CUresult read_attributes(const CUlaunchConfig& c, Serialization* serialization) {
  for (unsigned i = 0; i < c.numAttrs; ++i) {
    const CUlaunchAttribute& a = c.attrs[i];
    switch (a.id) {
      case CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION:
        serialization->programmatic = a.value.programmaticStreamSerializationAllowed != 0;
        break;
      case CU_LAUNCH_ATTRIBUTE_PRIORITY:
      case CU_LAUNCH_ATTRIBUTE_IGNORE:
      case CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW:
        break;
      case CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION:
        VGPU_NEED(a.value.clusterDim.x * a.value.clusterDim.y * a.value.clusterDim.z == 1,
                  CUDA_ERROR_NOT_SUPPORTED);
        break;
      case CU_LAUNCH_ATTRIBUTE_COOPERATIVE:
        VGPU_NEED(!a.value.cooperative, CUDA_ERROR_NOT_SUPPORTED);
        break;
      default:
        return CUDA_ERROR_NOT_SUPPORTED;
    }
  }
  return CUDA_SUCCESS;
}

CUresult launch(const CUlaunchConfig& c, CUfunction f, void** params, void** extra) {
  VGPU_RESOLVE(s, c.hStream);
  Serialization serialization;
  if (const CUresult r = read_attributes(c, &serialization)) return spoil(s, r);
  Work w;
  w.type = CU_GRAPH_NODE_TYPE_KERNEL;
  if (const CUresult r =
          make_launch(&w.launch, as_kernel(f, nullptr), {c.gridDimX, c.gridDimY, c.gridDimZ},
                      {c.blockDimX, c.blockDimY, c.blockDimZ}, c.sharedMemBytes, params, extra)) {
    return spoil(s, r);
  }
  return submit(s, std::move(w), serialization);
}

CUresult get_attribute(int* out, CUfunction_attribute which, const CUkern_st& k) {
  VGPU_NEED(out, CUDA_ERROR_INVALID_VALUE);
  switch (which) {
    case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
      *out = simt::kMaxThreads;
      break;
    case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES:
      *out = k.image ? static_cast<int>(simt::static_shared_bytes(*k.image)) : 0;
      break;
    case CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES:
    case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES:
      *out = 0;
      break;
    case CU_FUNC_ATTRIBUTE_NUM_REGS:
      *out = 32;
      break;
    case CU_FUNC_ATTRIBUTE_PTX_VERSION:
    case CU_FUNC_ATTRIBUTE_BINARY_VERSION:
      *out = 90;
      break;
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
      *out = k.max_dynamic;
      break;
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
  return CUDA_SUCCESS;
}

CUresult set_attribute(CUfunction_attribute which, int value, CUkern_st* k) {
  VGPU_NEED(which == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES ||
                which == CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT,
            CUDA_ERROR_INVALID_VALUE);
  if (which == CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT) return CUDA_SUCCESS;
  VGPU_NEED(value >= 0 && value <= static_cast<int>(simt::kSmemMax), CUDA_ERROR_INVALID_VALUE);
  k->max_dynamic = value;
  return CUDA_SUCCESS;
}

}  // namespace
}  // namespace vgpu

using namespace vgpu;
extern "C" {

CUresult cuLibraryLoadData(CUlibrary* out, const void* image, CUjit_option*, void**, unsigned,
                           CUlibraryOption*, void**, unsigned) {
  VGPU_API(LibraryLoadData, kSafe, kInit);
  VGPU_NEED(out && image, CUDA_ERROR_INVALID_VALUE);
  if (starts_with(image, kHostMagic)) {
    return load_host(out, static_cast<const char*>(image) + sizeof kHostMagic - 1);
  }
  if (starts_with(image, kPathMagic)) {
    return load_object(out, static_cast<const char*>(image) + sizeof kPathMagic - 1);
  }
  if (std::memcmp(image, ELFMAG, SELFMAG) == 0) return load_elf(out, image);
  return CUDA_ERROR_INVALID_IMAGE;
}

CUresult cuLibraryUnload(CUlibrary library) {
  VGPU_ENTER(LibraryUnload, kSafe, kInit);
  VGPU_NEED(alive(library), CUDA_ERROR_INVALID_HANDLE);
  for (const auto& k : library->kernels) device().live.erase(k.get());
  if (library->handle) dlclose(library->handle);
  if (library->file >= 0) close(library->file);
  discard(library);
  return status;
}

CUresult cuLibraryGetKernel(CUkernel* out, CUlibrary library, const char* name) {
  VGPU_API(LibraryGetKernel, kSafe, kInit);
  VGPU_NEED(alive(library), CUDA_ERROR_INVALID_HANDLE);
  VGPU_NEED(out && name, CUDA_ERROR_INVALID_VALUE);
  for (const auto& k : library->kernels) {
    if (!std::strcmp(k->name(), name)) {
      *out = k.get();
      return CUDA_SUCCESS;
    }
  }
  return CUDA_ERROR_NOT_FOUND;
}

CUresult cuKernelGetFunction(CUfunction* out, CUkernel k) {
  VGPU_API(KernelGetFunction, kSafe, kCurrent);
  VGPU_NEED(alive(k), CUDA_ERROR_INVALID_HANDLE);
  VGPU_NEED(out, CUDA_ERROR_INVALID_VALUE);
  *out = reinterpret_cast<CUfunction>(k);
  return CUDA_SUCCESS;
}

CUresult cuKernelGetParamInfo(CUkernel k, size_t i, size_t* offset, size_t* size) {
  VGPU_API(KernelGetParamInfo, kSafe, kInit);
  VGPU_NEED(alive(k), CUDA_ERROR_INVALID_HANDLE);
  VGPU_NEED(offset && i < k->param_count(), CUDA_ERROR_INVALID_VALUE);
  *offset = k->param(i).offset;
  if (size) *size = k->param(i).size;
  return CUDA_SUCCESS;
}

CUresult cuKernelGetAttribute(int* out, CUfunction_attribute which, CUkernel k, CUdevice dev) {
  VGPU_API(KernelGetAttribute, kSafe, kCtx);
  VGPU_NEED(alive(k), CUDA_ERROR_INVALID_HANDLE);
  VGPU_NEED(dev == 0, CUDA_ERROR_INVALID_DEVICE);
  return get_attribute(out, which, *k);
}
CUresult cuKernelSetAttribute(CUfunction_attribute which, int value, CUkernel k, CUdevice dev) {
  VGPU_API(KernelSetAttribute, kSafe, kCtx);
  VGPU_NEED(alive(k), CUDA_ERROR_INVALID_HANDLE);
  VGPU_NEED(dev == 0, CUDA_ERROR_INVALID_DEVICE);
  return set_attribute(which, value, k);
}
CUresult cuFuncGetAttribute(int* out, CUfunction_attribute which, CUfunction f) {
  VGPU_API(FuncGetAttribute, kSafe, kCtx);
  CUkern_st* const k = as_kernel(f, nullptr);
  VGPU_NEED(alive(k), CUDA_ERROR_INVALID_HANDLE);
  return get_attribute(out, which, *k);
}
CUresult cuFuncSetAttribute(CUfunction f, CUfunction_attribute which, int value) {
  VGPU_API(FuncSetAttribute, kSafe, kCtx);
  CUkern_st* const k = as_kernel(f, nullptr);
  VGPU_NEED(alive(k), CUDA_ERROR_INVALID_HANDLE);
  return set_attribute(which, value, k);
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int* out, CUfunction f, int block,
                                                     size_t shared_bytes) {
  VGPU_API(OccupancyMaxActiveBlocksPerMultiprocessor, kSafe, kCtx);
  CUkern_st* const k = as_kernel(f, nullptr);
  VGPU_NEED(alive(k), CUDA_ERROR_INVALID_HANDLE);
  VGPU_NEED(out && block > 0 && block <= 1024, CUDA_ERROR_INVALID_VALUE);
  const size_t used = shared_bytes + 1024;  // as on compute capability 9.0
  *out = static_cast<int>(std::min<size_t>(
      {size_t(2048) / static_cast<size_t>(block), 32, (simt::kSmemMax + 1024) / used}));
  return CUDA_SUCCESS;
}

CUresult cuLaunchKernelEx(const CUlaunchConfig* c, CUfunction f, void** params, void** extra) {
  VGPU_API(LaunchKernelEx, kSafe, kCtx);
  VGPU_NEED(c && (c->attrs || !c->numAttrs), CUDA_ERROR_INVALID_VALUE);
  return launch(*c, f, params, extra);
}

CUresult cuLaunchKernel(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx,
                        unsigned by, unsigned bz, unsigned shared_bytes, CUstream s, void** params,
                        void** extra) {
  VGPU_API(LaunchKernel, kSafe, kCtx);
  return launch({gx, gy, gz, bx, by, bz, shared_bytes, s, nullptr, 0}, f, params, extra);
}

__attribute__((visibility("default"))) int vgpu_register_host_kernel(
    const char* name, VgpuHostKernel kernel, void* user, const size_t* sizes, size_t count) {
  const std::lock_guard lock(device().mutex);
  if (!name || !kernel || (count && !sizes)) return -1;
  for (size_t i = 0; i < count; ++i) {
    if (!sizes[i]) return -1;
  }
  host_kernels()[name] = {kernel, user, std::vector<size_t>(sizes, sizes + count)};
  return 0;
}

__attribute__((visibility("default"))) void vgpu_unregister_host_kernel(const char* name) {
  const std::lock_guard lock(device().mutex);
  host_kernels().erase(name);
}

}  // extern "C"
