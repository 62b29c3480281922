#include "bench/minilm/device.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <monograph/error.h>

#include <algorithm>
#include <filesystem>

#include "runtime/exec/backend.h"

namespace monograph::bench {
namespace {

namespace fs = std::filesystem;

/// Folder of libmonograph.
fs::path own_folder() {
  Dl_info info{};
  if (::dladdr(reinterpret_cast<void*>(&exec::find_backend), &info) == 0) return {};
  return fs::absolute(info.dli_fname).parent_path();
}

/// Loads `library`; why that failed, or an empty string. It registers itself, and stays loaded.
std::string load(const fs::path& library) {
  if (::dlopen(library.c_str(), RTLD_NOW | RTLD_GLOBAL) != nullptr) return {};
  const char* why = ::dlerror();
  return why != nullptr ? why : "unknown reason";
}

std::string why_no_cuda(const Options& options) {
  const auto all = exec::registered_backends();
  if (std::ranges::find(all, "cuda") == all.end()) {
    return "this build has no CUDA back end: CUDA's headers were missing";
  }
  const exec::Backend& cuda = exec::find_backend("cuda");
  return cuda.unavailable ? cuda.unavailable(options) : "";
}

/// A GPU, with LibTorch's kernels for operators that have none of ours.
std::string why_no_gpu() {
  const std::string why = why_no_cuda({});
  return why.empty() ? load(own_folder() / "libmonograph_aten_cuda.so") : why;
}

Device virtual_gpu() {
  const Device device{"cuda", (own_folder() / "libvgpu.so").string(), true};
  std::string why = why_no_cuda(device.options());
  if (why.empty()) why = load(own_folder() / "libvgpu_client.so");
  if (!why.empty()) {
    throw Error(
        Code::kDeviceUnavailable,
        "the virtual GPU can't be used here (build the targets vgpu and vgpu_client): " + why);
  }
  return device;
}

}  // namespace

Options Device::options() const {
  Options options;
  options.backend = backend;
  options.cuda_driver = driver;
  return options;
}

Device select_device(const std::string& name) {
  if (name == "host") return {"host", "", false};
  if (name == "virtual") return virtual_gpu();
  std::string why = why_no_gpu();
  if (why.empty()) return {"cuda", "", false};
  if (name == "auto") return {"host", "", false};
  const std::string code = fmt::format("{}: ", code_name(Code::kDeviceUnavailable));
  if (why.starts_with(code)) why.erase(0, code.size());
  throw Error(Code::kDeviceUnavailable, "--device cuda: " + why);
}

}  // namespace monograph::bench
