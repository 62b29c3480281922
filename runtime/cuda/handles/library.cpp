#include "runtime/cuda/handles/library.h"

#include <fmt/format.h>
#include <monograph/error.h>

namespace monograph::cuda {

Library Library::load(ContextRef context, std::span<const std::byte> image) {
  if (image.empty()) throw Error(Code::kInvalidArgument, "an empty kernel image");
  const CurrentContext current(*context);
  CUlibrary raw = nullptr;
  context->driver().LibraryLoadData(&raw, image.data(), nullptr, nullptr, 0, nullptr, nullptr, 0);
  return Library(std::move(context), raw);
}

void Library::destroy(const Driver& driver, CUlibrary raw) noexcept {
  report_release(driver, driver.LibraryUnload.name(), driver.LibraryUnload.raw(raw));
}

Kernel Library::kernel(const std::string& name) const {
  const Driver& cu = driver();
  const CurrentContext current(*context());
  Kernel kernel;
  const CUresult found = cu.LibraryGetKernel.raw(&kernel.kernel_, get(), name.c_str());
  if (found == CUDA_ERROR_NOT_FOUND) {
    throw Error(Code::kDeviceFault, fmt::format("the image has no kernel named {}", name),
                std::string(NodeScope::current()), cu.describe(found));
  }
  if (found != CUDA_SUCCESS) cu.fail(cu.LibraryGetKernel.name(), found);
  cu.KernelGetFunction(&kernel.function_, kernel.kernel_);
  kernel.context_ = context().get();
  kernel.name_ = name;
  return kernel;
}

void Kernel::allow_dynamic_shared(std::size_t bytes) {
  if (context_ == nullptr) fail_empty("kernel");
  if (bytes > context_->info().shared_memory_per_block_optin) {
    throw Error(
        Code::kDeviceFault,
        fmt::format("kernel {} wants {} bytes of dynamic shared memory; {} has {}", name_, bytes,
                    context_->info().name, context_->info().shared_memory_per_block_optin));
  }
  context_->driver().KernelSetAttribute(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                        static_cast<int>(bytes), kernel_, context_->device());
}

int Kernel::attribute(CUfunction_attribute which) const {
  if (context_ == nullptr) fail_empty("kernel");
  int value = 0;
  context_->driver().KernelGetAttribute(&value, which, kernel_, context_->device());
  return value;
}

std::vector<Kernel::Param> Kernel::params() const {
  if (context_ == nullptr) fail_empty("kernel");
  const Driver& cu = context_->driver();
  cu.require(Feature::kParamInfo, "the parameter layout of a kernel");
  std::vector<Param> all;
  for (;;) {
    Param param{};
    const CUresult result =
        cu.KernelGetParamInfo.raw(kernel_, all.size(), &param.offset, &param.size);
    if (result == CUDA_ERROR_INVALID_VALUE) return all;  // one past the last parameter
    if (result != CUDA_SUCCESS) cu.fail(cu.KernelGetParamInfo.name(), result);
    all.push_back(param);
  }
}

int Kernel::max_active_blocks(int block_threads, std::size_t dynamic_shared_bytes) const {
  if (context_ == nullptr) fail_empty("kernel");
  const Driver& cu = context_->driver();
  cu.require(Feature::kOccupancy, "the occupancy of a kernel");
  const CurrentContext current(*context_);
  int blocks = 0;
  cu.OccupancyMaxActiveBlocksPerMultiprocessor(&blocks, function_, block_threads,
                                               dynamic_shared_bytes);
  return blocks;
}

}  // namespace monograph::cuda
