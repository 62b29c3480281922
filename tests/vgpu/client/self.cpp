#include "tests/vgpu/client/self.h"

#include <dlfcn.h>

namespace monograph::vgpu {

thread_local const cuda::ContextRef* Opening::now_ = nullptr;

std::string path_of_self() {
  Dl_info info{};
  return dladdr(reinterpret_cast<void*>(&path_of_self), &info) != 0 ? info.dli_fname : "";
}

bool is_virtual(const cuda::Driver& driver) {
  return driver.extension("vgpu_register_host_kernel") != nullptr;
}

}  // namespace monograph::vgpu
